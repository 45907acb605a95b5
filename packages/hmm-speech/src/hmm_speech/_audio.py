"""Decode audio files into mono float32 tensors."""

import os
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

_BLOCK = 1 << 20


class AudioError(ValueError):
    """An audio file cannot be used.

    Parameters
    ----------
    path : Path
        The file.
    reason : str
        What is wrong with it, in one line.

    Examples
    --------
    >>> error = AudioError(Path("a.wav"), "the file is empty")
    >>> str(error)
    'a.wav: the file is empty'
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class Audio(NamedTuple):
    """A mono signal.

    Attributes
    ----------
    waveform : Tensor of float32, shape (n,)
        Samples; full scale is [-1, 1].
    sample_rate : int
        Samples per second.

    Examples
    --------
    >>> Audio(torch.zeros(8000), 16000).duration
    0.5
    """

    waveform: Tensor
    sample_rate: int

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.waveform.shape[-1] / self.sample_rate


def load_audio(path: str | os.PathLike[str], sample_rate: int | None = 16000) -> Audio:
    """Read an audio file as one channel of float32 samples.

    Parameters
    ----------
    path : str or path-like
        A file that libsndfile decodes: wav, flac, ogg (Vorbis, Opus), mp3, aiff, ...
    sample_rate : int or None
        Rate of the result in Hz, >= 1. ``None`` keeps the rate of the file.

    Returns
    -------
    Audio
        ``waveform`` (n,) float32, the mean of the file's channels; ``sample_rate``.

    Raises
    ------
    AudioError
        If the file is missing, empty, not audio, corrupt, cut short, or holds no samples or non-finite ones.
        The error carries ``path`` and ``reason``.
    ValueError
        If ``sample_rate`` is below 1.

    Notes
    -----
    Resampling is soxr's "HQ" (linear phase, 20 bits); m samples become about
    ``m * sample_rate / rate_of_file``.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "tone.wav"
    >>> stereo = np.stack([np.ones(44100), np.zeros(44100)], axis=1)
    >>> soundfile.write(path, stereo, 44100)
    >>> audio = load_audio(path)
    >>> audio.waveform.shape, audio.sample_rate, audio.duration
    (torch.Size([16000]), 16000, 1.0)
    >>> folder.cleanup()
    """
    if sample_rate is not None and sample_rate < 1:
        raise ValueError(f"sample_rate must be >= 1 Hz or None; got {sample_rate}")
    path = Path(path)
    samples, file_rate = _decode(path)
    if not np.isfinite(samples).all():
        raise AudioError(path, "the file holds NaN or infinite samples")
    if sample_rate is not None and sample_rate != file_rate:
        samples = soxr.resample(samples, file_rate, sample_rate, quality="HQ")
    if samples.size == 0:
        raise AudioError(path, "the file holds no samples")
    return Audio(torch.from_numpy(np.ascontiguousarray(samples)), sample_rate or file_rate)


def _decode(path: Path) -> tuple[np.ndarray[tuple[int], np.dtype[np.float32]], int]:
    """Mean of the channels, and the sample rate of the file."""
    try:
        missing = _missing_bytes(path)
    except OSError as error:
        raise AudioError(path, f"the file cannot be read: {error.strerror}") from error
    if missing > 0:
        raise AudioError(path, f"the file is cut short: its header announces {missing} more bytes")
    blocks = []
    failure = "cannot be decoded"
    try:
        with soundfile.SoundFile(path) as file:
            failure = "is cut short or damaged"
            if file.frames == np.iinfo(np.int64).max:
                # libsndfile decodes such a FLAC, but soundfile cannot find its end.
                raise AudioError(
                    path, "the header does not give the length (written to a pipe?); convert the file"
                )
            # Read block by block: the length in the header may be an estimate (mp3).
            while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
                blocks.append(block.mean(axis=1))
            rate = int(file.samplerate)
    except (soundfile.SoundFileError, TypeError) as error:
        # soundfile answers headerless formats (".raw") with a TypeError.
        raise AudioError(path, f"the file {failure}: {_reason(error)}") from error
    samples = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    return samples, rate


def _reason(error: Exception) -> str:
    """Give libsndfile's own words, without soundfile's prefix that repeats the path."""
    text = getattr(error, "error_string", None) or str(error)
    return text.strip().rstrip(".")


def _missing_bytes(path: Path) -> int:
    """Bytes that a WAV or AIFF header announces beyond the end of the file; libsndfile would not tell."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if not head:
            raise AudioError(path, "the file is empty")
        if head[8:] not in {b"WAVE", b"AIFF", b"AIFC"}:
            return 0
        order: Literal["little", "big"] = "little" if head.startswith(b"RIFF") else "big"
        while len(chunk := file.read(8)) == 8:
            length = int.from_bytes(chunk[4:], order)
            if chunk[:4] in {b"data", b"SSND"}:
                # Programs that write to a pipe cannot know the length and announce the largest one.
                return 0 if length >= 0x7FFF0000 else max(0, file.tell() + length - size)
            file.seek(length + length % 2, os.SEEK_CUR)
    return 0
