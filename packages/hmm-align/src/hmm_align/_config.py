"""What can be chosen about an aligner, with the reason for each default."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AlignerConfig:
    """Choices of a :class:`CorpusAligner`.

    Parameters
    ----------
    sample_rate : int
        Hz; recordings are resampled to it.
    frame_period : float
        Seconds between frames; times are finer than this only as far as posteriors tell.
    window : float
        Seconds of signal seen by a frame.
    num_mels, num_ceps : int
        Mel filters, and cepstra kept (C0 included); deltas and delta-deltas triple the latter.
    states_per_phone, silence_states : int
        A phone is left-to-right; a silence loops among its inner states.
    num_components : int
        Gaussians of the whole model at most, dealt out by how often each state occurs.
    frames_per_component : float
        Frames that a Gaussian wants; a small corpus gets a smaller model.
    iterations : int
        Passes over the corpus.
    silence_prob : float
        Probability, in (0, 1), of a silence between two words.
    variance_floor : float
        Smallest variance of a Gaussian, as a share of the global variance.
    posterior_scale : float
        Power of the densities when boundaries and confidences are computed from posteriors.
    boundary_shift : float
        Seconds added to every boundary.
    batch_frames : int
        Frames per minibatch, padding included; bounds the memory.

    Examples
    --------
    >>> AlignerConfig(frame_period=0.005).frame_period
    0.005
    """

    sample_rate: int = 16_000
    frame_period: float = 0.010
    window: float = 0.025
    num_mels: int = 26
    num_ceps: int = 13
    states_per_phone: int = 3
    silence_states: int = 5
    num_components: int = 1000
    frames_per_component: float = 80.0
    iterations: int = 40
    silence_prob: float = 0.2
    variance_floor: float = 0.01
    posterior_scale: float = 1.0
    boundary_shift: float = 0.0
    batch_frames: int = 32_000

    def __post_init__(self) -> None:
        for name in (
            "sample_rate",
            "frame_period",
            "window",
            "num_mels",
            "num_ceps",
            "states_per_phone",
            "silence_states",
            "num_components",
            "frames_per_component",
            "iterations",
            "variance_floor",
            "posterior_scale",
            "batch_frames",
        ):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive; got {getattr(self, name)!r}")
        if not 0 < self.silence_prob < 1:
            raise ValueError(f"silence_prob must lie in (0, 1); got {self.silence_prob!r}")
