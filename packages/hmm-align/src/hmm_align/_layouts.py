"""Alignments in the folder layouts of the Montreal Forced Aligner and of FastSpeech 2."""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from hmm_speech import Corpus, Utterance, durations_from_intervals

from ._graph import SILENCE
from ._result import AlignedInterval, Alignment
from .export import path_of, replacing, write_textgrid

LAYOUTS = ("mfa", "fastspeech2")


@dataclass(frozen=True, kw_only=True)
class MelFrames:
    """Where the frames of a synthesiser's mel spectrogram stand.

    Parameters
    ----------
    sample_rate : int
        Samples per second.
    hop_length, window_length : int
        Samples from one frame to the next, and in a window.
    framing : {"centered", "start", "padded"}
        ``"centered"``: frame t is centred at sample ``t * hop_length`` (librosa and torch with
        ``center=True``, Tacotron 2, FastSpeech 2). ``"start"``: frame t begins there (``center=False``).
        ``"padded"``: by ``(window_length - hop_length) / 2`` samples on both sides (HiFi-GAN), so that n
        samples have ``n // hop_length`` frames.

    Raises
    ------
    ValueError
        If a length or the framing is none of these.

    Examples
    --------
    >>> MelFrames(sample_rate=22050, hop_length=256).num_frames(22050)
    87
    >>> MelFrames(sample_rate=22050, hop_length=256, framing="padded").num_frames(22050)
    86
    """

    sample_rate: int = 22_050
    hop_length: int = 256
    window_length: int = 1024
    framing: Literal["centered", "start", "padded"] = "centered"

    def __post_init__(self) -> None:
        if self.sample_rate < 1 or not 1 <= self.hop_length <= self.window_length:
            raise ValueError(
                "sample_rate must be >= 1, and 1 <= hop_length <= window_length; "
                f"got {self.sample_rate}, {self.hop_length}, {self.window_length}"
            )
        if self.framing not in {"centered", "start", "padded"}:
            raise ValueError(f'framing must be "centered", "start" or "padded"; got {self.framing!r}')

    @property
    def frame_period(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop_length / self.sample_rate

    @property
    def first_centre(self) -> float:
        """Centre of frame 0 in seconds."""
        samples = {"centered": 0.0, "start": self.window_length / 2, "padded": self.hop_length / 2}
        return samples[self.framing] / self.sample_rate

    def num_frames(self, num_samples: int) -> int:
        """Count the frames of a recording.

        Parameters
        ----------
        num_samples : int
            Its samples, at ``sample_rate``.

        Returns
        -------
        int
            Frames; 0 if it is shorter than the first.
        """
        if self.framing == "centered":
            return 1 + num_samples // self.hop_length
        if self.framing == "padded":
            return num_samples // self.hop_length
        return max(0, 1 + (num_samples - self.window_length) // self.hop_length)

    def durations(
        self, intervals: Iterable[AlignedInterval], num_samples: int, *, min_frames: int = 1
    ) -> NDArray[np.int64]:
        """Return the frames of each phone or word, which sum to those of the recording.

        Parameters
        ----------
        intervals : iterable of AlignedInterval
            A tier of an alignment, silences included.
        num_samples : int
            Samples of the recording, at ``sample_rate``.
        min_frames : int
            Fewest frames of an interval.

        Returns
        -------
        ndarray of int64, shape (N,)
            See `hmm_speech.durations_from_intervals`.

        Raises
        ------
        ValueError
            If there are more intervals than frames, or the recording is not as long as the tier.

        Examples
        --------
        >>> tier = [AlignedInterval(0.0, 0.4, "AH0", 0.9), AlignedInterval(0.4, 1.0, "", 0.9)]
        >>> MelFrames().durations(tier, 22050).tolist()
        [35, 52]
        """
        return durations_from_intervals(
            list(intervals),
            self.frame_period,
            self.num_frames(num_samples),
            min_frames=min_frames,
            first_centre=self.first_centre,
        )


def write_mfa(alignments: Iterable[Alignment], corpus: Corpus, out_dir: str | Path) -> list[Path]:
    """Write TextGrids as the Montreal Forced Aligner lays them out: ``speaker/X.TextGrid``.

    Parameters
    ----------
    alignments : iterable of Alignment
        Of utterances of ``corpus``; failed ones are left out.
    corpus : Corpus
        Knows their speakers.
    out_dir : str or Path
        Made if absent.

    Returns
    -------
    list of Path
        The files written. Their tiers are "words" and "phones", silence is "".

    Raises
    ------
    ValueError
        If an alignment is not of the corpus, or two have the same file; nothing is written then.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from hmm_speech import Utterance
    >>> corpus = Corpus(Path("."), (Utterance("clip", Path("clip.wav"), "a", "ann"),))
    >>> tier = (AlignedInterval(0.0, 0.3, "a", 0.9),)
    >>> with TemporaryDirectory() as folder:
    ...     (path,) = write_mfa([Alignment("clip", 0.3, tier, tier)], corpus, folder)
    ...     path.relative_to(folder).as_posix()
    'ann/clip.TextGrid'
    """
    written = []
    for alignment, utterance, name in _placed(alignments, corpus):
        path = Path(out_dir) / _speaker(utterance) / f"{name}.TextGrid"
        write_textgrid(alignment, path)
        written.append(path)
    return written


def write_fastspeech2(
    alignments: Iterable[Alignment],
    corpus: Corpus,
    out_dir: str | Path,
    frames: MelFrames | None = None,
    *,
    num_validation: int = 0,
) -> list[Path]:
    """Write what the FastSpeech 2 of Chien et al. reads: TextGrids, durations and lists of files.

    Parameters
    ----------
    alignments : iterable of Alignment
        Of utterances of ``corpus``; failed ones are left out.
    corpus : Corpus
        Knows their speakers, texts and recordings.
    out_dir : str or Path
        Made if absent; the ``preprocessed_path`` of its configuration.
    frames : MelFrames, optional
        Where the frames of its spectrograms stand; 22,050 Hz with a hop of 256 if omitted.
    num_validation : int
        Utterances, evenly spread, that ``val.txt`` lists instead of ``train.txt``.

    Returns
    -------
    list of Path
        ``TextGrid/SPEAKER/X.TextGrid``, whose silences are "sil" at the ends and "sp" elsewhere;
        ``duration/SPEAKER-duration-X.npy``, int64, a number of frames for each phone, silences included,
        which sum to those of the whole recording; ``train.txt`` and ``val.txt`` with lines
        ``X|SPEAKER|{phones}|text``; ``speakers.json``.

    Raises
    ------
    ValueError
        If an alignment is not of the corpus, two have the same file, a recording has fewer frames than
        phones, or ``num_validation`` is not below the number of alignments.

    Notes
    -----
    The lengths of recordings are read from their headers. One of another sample rate is taken to have
    ``ceil(n * sample_rate / its rate)`` samples once it is resampled, as librosa and soxr make them.

    References
    ----------
    .. [1] C.-M. Chien, J.-H. Lin, C. Huang, P. Hsu and H. Lee, "Investigating on incorporating pretrained and
       learnable speaker representations for multi-speaker multi-style text-to-speech", ICASSP 2021
       (github.com/ming024/FastSpeech2).

    Examples
    --------
    >>> write_fastspeech2([], Corpus(Path("."), ()), "out", num_validation=1)
    Traceback (most recent call last):
    ValueError: num_validation must lie in 0..0 for 0 alignments; got 1
    """
    frames = frames or MelFrames()
    placed = list(_placed(alignments, corpus))
    if not 0 <= num_validation <= max(0, len(placed) - 1):
        raise ValueError(
            f"num_validation must lie in 0..{max(0, len(placed) - 1)} for {len(placed)} alignments; "
            f"got {num_validation}"
        )
    out, written = Path(out_dir), []
    validated = {(2 * number + 1) * len(placed) // (2 * num_validation) for number in range(num_validation)}
    lists: dict[str, list[str]] = {"train.txt": [], "val.txt": []}
    for number, (alignment, utterance, name) in enumerate(placed):
        speaker = _speaker(utterance)
        phones = tuple(_named_silences(alignment.phones))
        grid = out / "TextGrid" / speaker / f"{name}.TextGrid"
        write_textgrid(replace(alignment, phones=phones), grid)
        try:
            durations = frames.durations(phones, _num_samples(utterance.audio, frames.sample_rate))
        except ValueError as error:
            raise ValueError(f"{alignment.id}: {error}") from error
        path = out / "duration" / f"{speaker}-duration-{name}.npy"
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, durations)
        written += [grid, path]
        spoken = " ".join(phone.label for phone in phones)
        line = f"{name}|{speaker}|{{{spoken}}}|{utterance.text.replace('|', ' ')}\n"
        lists["val.txt" if number in validated else "train.txt"].append(line)
    speakers = sorted({_speaker(utterance) for _, utterance, _ in placed})
    contents = {item: "".join(lines) for item, lines in lists.items()}
    contents["speakers.json"] = json.dumps({speaker: number for number, speaker in enumerate(speakers)})
    for item, content in contents.items():
        with replacing(out / item) as temporary:
            temporary.write_text(content, encoding="utf-8")
        written.append(out / item)
    return written


def _placed(alignments: Iterable[Alignment], corpus: Corpus) -> Iterator[tuple[Alignment, Utterance, str]]:
    """Yield each good alignment with its utterance and the name of its files, all checked beforehand."""
    known = {utterance.id: utterance for utterance in corpus}
    good = [alignment for alignment in alignments if alignment.ok]
    taken: dict[tuple[str, str], str] = {}
    for alignment in good:
        if alignment.id not in known:
            raise ValueError(f"alignments must be of the corpus; it has no utterance {alignment.id!r}")
        place = _speaker(known[alignment.id]), path_of(alignment.id).name
        if place in taken:
            raise ValueError(
                f"{taken[place]!r} and {alignment.id!r} would have the same file: {'/'.join(place)}"
            )
        taken[place] = alignment.id
    for alignment in good:
        yield alignment, known[alignment.id], path_of(alignment.id).name


def _speaker(utterance: Utterance) -> str:
    """Return the name of a speaker's folder."""
    return path_of(utterance.speaker or "speaker").as_posix().replace("/", "_")


def _named_silences(phones: Iterable[AlignedInterval]) -> Iterator[AlignedInterval]:
    """Name silences as FastSpeech 2 knows them."""
    tier = list(phones)
    for number, phone in enumerate(tier):
        silence = "sil" if number in {0, len(tier) - 1} else "sp"
        yield phone._replace(label=silence) if phone.label == SILENCE else phone


def _num_samples(path: Path, sample_rate: int) -> int:
    """Return how many samples a recording has at a sample rate."""
    info = soundfile.info(str(path))
    return math.ceil(int(info.frames) * sample_rate / int(info.samplerate))
