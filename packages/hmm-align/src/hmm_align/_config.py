"""What can be chosen about an aligner, with the reason for each default."""

import math
from dataclasses import dataclass
from typing import Any, Literal, Self

ACOUSTICS = ("monophone", "triphone", "neural")
TRANSFORMS = ("auto", "none", "mllt", "lda+mllt")
# Training keeps the number of each frame's state in 16 bits.
_MOST_STATES = 32_767


@dataclass(frozen=True, kw_only=True)
class AlignerConfig:
    """Choices of a :class:`CorpusAligner`.

    Parameters
    ----------
    acoustic : {"triphone", "monophone", "neural"}
        What places the boundaries. The mixtures of Gaussians of a ``"monophone"`` are trained first in any
        case, and choose pronunciations and silences. ``"triphone"`` then trains further mixtures for states
        that depend on the phones before and after, tied by decision trees. ``"neural"`` teaches a small
        convolutional network the states that were found, which sees a frame's surroundings: a little better
        on some recordings and a little worse on others, and slower.
    sample_rate : int
        Hz; recordings are resampled to it.
    frame_period : float
        Seconds between frames. Times are finer than that. Half of it alone makes them no better, since that
        also halves the shortest phone; `at_frame_period` keeps it as it is.
    window : float
        Seconds of signal seen by a frame. A longer one lets a loud phone be heard in a soft neighbour, a
        shorter one sees less of a low voice's periods.
    num_mels, num_ceps : int
        Mel filters, and cepstra kept (C0 included); deltas and delta-deltas triple the latter.
    delta_window : float
        Seconds before and after a frame that its deltas see. Short ones keep boundaries sharp.
    states_per_phone, silence_states : int
        A phone is left-to-right; a silence of three or more states loops among the inner ones.
    num_components : int
        Gaussians of the whole model at most, dealt out by how often each state occurs. Tied states have up to
        twice as many.
    frames_per_component : float
        Frames that a Gaussian wants, one of tied states half of them; a small corpus gets a smaller model.
    silence_components : int
        Gaussians of a silence's state at most. A silence that may have as many as its frames ask for learns
        the ends of words as well, and takes them.
    iterations : int
        Re-estimations of the model.
    start : str
        ``"class"``: the first paths know how the class of each phone sounds (vowels loud, sibilants hissing),
        in any language; a minute of speech is enough. ``"flat"``: the frames are dealt out evenly, which is
        also done where it is not known how a phone is made.
    silence_prob : float
        Probability, in (0, 1), of a silence between two words.
    variance_floor : float
        Smallest variance of a Gaussian, as a share of the global variance.
    posterior_scale : float
        Power, in (0, 1], to which densities are raised where boundaries and confidences are computed from
        posteriors: neighbouring frames are not as independent as the model takes them to be.
    tied_states : int
        States of a ``"triphone"`` model at most; each split must also leave a second of speech on either side
        and gain 200 nats for frames of 10 ms.
    feature_transform : {"auto", "none", "mllt", "lda+mllt"}
        Of a ``"triphone"`` model: with ``"mllt"`` (maximum likelihood linear transform) its features are
        turned so that their dimensions vary independently, and with ``"lda+mllt"`` they are before that the
        directions in which the cepstra 20 ms to either side part the tied states best (linear discriminant
        analysis), instead of cepstra and their slopes. ``"auto"`` takes both from ten minutes of speech on,
        and none for less, from which they learn chance.
    network_channels : int
        Width of the network.
    network_epochs : int
        Passes of the network's training over the corpus; a corpus of a few minutes gets more. Too many make
        it repeat the mixtures' errors.
    network_scale : float
        As ``posterior_scale``, where the network places the boundaries.
    filler_margin, filler_penalty, skip_penalty : float
        Of a loose alignment. Speech goes to no word where any phones in any order explain it better by so
        many nats: ``filler_margin`` for each frame and ``filler_penalty`` for each stretch. A word is left
        out where that is better by ``skip_penalty``. On one half of twenty minutes of read speech, these
        name something in less than one of twenty undamaged transcripts.
    boundary_shift : float
        Seconds added to every boundary. 0 puts them where the sound changes; a reference may hold that to be
        some milliseconds earlier or later.
    change_weight : float
        With 2, say, boundaries are moved, within their uncertainty, to where the spectrum changes most: a
        change so great that one in twenty is greater is worth so many nats. 0 leaves them where the model
        expects them. Where times are exact, or the voice is not that of the training, moved ones are nearer;
        the marks of the Montreal Forced Aligner are farther from them.
    batch_frames : int
        Frames per minibatch, padding included; bounds the memory.

    Examples
    --------
    >>> AlignerConfig(frame_period=0.005).frame_period
    0.005
    """

    acoustic: Literal["triphone", "monophone", "neural"] = "triphone"
    sample_rate: int = 16_000
    frame_period: float = 0.010
    window: float = 0.025
    num_mels: int = 40
    num_ceps: int = 16
    delta_window: float = 0.010
    states_per_phone: int = 3
    silence_states: int = 3
    num_components: int = 1000
    frames_per_component: float = 80.0
    silence_components: int = 1
    iterations: int = 28
    start: str = "class"
    silence_prob: float = 0.2
    variance_floor: float = 0.01
    posterior_scale: float = 0.05
    tied_states: int = 2000
    feature_transform: Literal["auto", "none", "mllt", "lda+mllt"] = "auto"
    network_channels: int = 128
    network_epochs: int = 6
    network_scale: float = 0.15
    filler_margin: float = 5.0
    filler_penalty: float = 40.0
    skip_penalty: float = 30.0
    boundary_shift: float = 0.0
    change_weight: float = 0.0
    batch_frames: int = 32_000

    @classmethod
    def at_frame_period(cls, frame_period: float, **choices: Any) -> Self:  # noqa: ANN401 - the fields'
        """Choose what counts frames so that it lasts as long as with frames of 10 ms.

        Parameters
        ----------
        frame_period : float
            Seconds between frames.
        **choices
            Others, as they are.

        Returns
        -------
        AlignerConfig
            With frames of 5 ms: twice the states, so that the shortest phone lasts 30 ms as before, twice the
            frames for a Gaussian, half the powers that posteriors are tempered with, and twice the penalties
            of a loose alignment, since twice as many frames speak for or against them.

        Raises
        ------
        ValueError
            If a choice is out of range.

        Notes
        -----
        Shorter frames take longer, and are not better everywhere: with frames of 5 ms, errors fall by a sixth
        to a third on three of the five sets of `nox -s bench -- align_speech` with exact times, and rise a
        little on the other two.

        Examples
        --------
        >>> config = AlignerConfig.at_frame_period(0.005, iterations=20)
        >>> config.states_per_phone, config.frames_per_component, config.iterations
        (6, 160.0, 20)
        """
        if not frame_period > 0:
            raise ValueError(f"frame_period must be positive; got {frame_period!r}")
        ratio = frame_period / cls.frame_period
        scaled: dict[str, Any] = {
            "states_per_phone": max(1, round(cls.states_per_phone / ratio)),
            "silence_states": max(1, round(cls.silence_states / ratio)),
            "frames_per_component": cls.frames_per_component / ratio,
            "posterior_scale": min(1.0, cls.posterior_scale * ratio),
            "network_scale": min(1.0, cls.network_scale * ratio),
            "filler_penalty": cls.filler_penalty / ratio,
            "skip_penalty": cls.skip_penalty / ratio,
        }
        return cls(frame_period=frame_period, **(scaled | choices))

    def __post_init__(self) -> None:
        for name in (
            "sample_rate",
            "frame_period",
            "window",
            "num_mels",
            "delta_window",
            "num_ceps",
            "states_per_phone",
            "silence_states",
            "num_components",
            "frames_per_component",
            "silence_components",
            "iterations",
            "variance_floor",
            "posterior_scale",
            "tied_states",
            "network_channels",
            "network_epochs",
            "network_scale",
            "filler_margin",
            "filler_penalty",
            "skip_penalty",
            "batch_frames",
        ):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive; got {getattr(self, name)!r}")
        if self.start not in {"class", "flat"}:
            raise ValueError(f'start must be "class" or "flat"; got {self.start!r}')
        self._check_placing()
        for name, most in (("posterior_scale", 1), ("network_scale", 1), ("tied_states", _MOST_STATES)):
            if getattr(self, name) > most:
                raise ValueError(f"{name} must lie in (0, {most}]; got {getattr(self, name)!r}")
        for name, known in (("acoustic", ACOUSTICS), ("feature_transform", TRANSFORMS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {getattr(self, name)!r}")
        if not 0 < self.silence_prob < 1:
            raise ValueError(f"silence_prob must lie in (0, 1); got {self.silence_prob!r}")

    def _check_placing(self) -> None:
        """Refuse what would move boundaries anywhere."""
        if not math.isfinite(self.boundary_shift):
            raise ValueError(f"boundary_shift must be finite; got {self.boundary_shift!r}")
        if not 0 <= self.change_weight < math.inf:
            raise ValueError(f"change_weight must lie in [0, inf); got {self.change_weight!r}")
