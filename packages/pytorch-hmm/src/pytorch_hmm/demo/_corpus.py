"""A small spoken corpus with exact times, made on the spot."""

import re
import wave
from importlib.resources import files
from pathlib import Path

import numpy as np

from hmm_align import AlignedInterval, Alignment, write_textgrid
from hmm_metrics import Interval

from ._espeak import speak

NOTE_NAME = "about.txt"
_NOTE = """Made by `hmm demo align`, which replaces its files here when it runs again:

corpus/             recordings by eSpeak NG, and their transcripts
reference/          exact times of words and phones, as TextGrids
aligned/            the times found, as TextGrid, JSON and CSV
model.safetensors   the model, trained on corpus/ alone
sentence_001.png    waveform, spectrogram, boundaries
"""
# What the demo writes for each sentence, and so what it may delete.
_OWN = re.compile(
    r"corpus/sentence_\d{3}\.(wav|txt)|reference/sentence_\d{3}\.TextGrid"
    r"|aligned/sentence_\d{3}\.(TextGrid|json)|sentence_\d{3}\.png"
)
_NOISE = 8.0  # standard deviation in steps of 16-bit audio: a quiet room, so that silence is not digital zero


def sentences() -> list[str]:
    """Return the sentences of the demo."""
    return (files(__package__) / "sentences.txt").read_text(encoding="utf-8").splitlines()


def claim(folder: Path) -> None:
    """Make the demo's folder, or clear what it wrote there before; refuse a folder that is not its own."""
    note = folder / NOTE_NAME
    if note.is_file():
        for path in (*folder.glob("*/*"), *folder.glob("*.png")):
            if _OWN.fullmatch(path.relative_to(folder).as_posix()):
                path.unlink()
    elif folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} holds files that are not the demo's; choose another with --out")
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(_NOTE, encoding="utf-8")


def make_corpus(folder: Path, num_sentences: int) -> tuple[Path, Path]:
    """Speak the first sentences into ``folder/corpus``, with their exact times in ``folder/reference``."""
    corpus, reference = folder / "corpus", folder / "reference"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, sentence in enumerate(sentences()[:num_sentences], start=1):
        name = f"sentence_{number:03d}"
        speech = speak(sentence, words_per_minute=150 + 7 * (number % 5), pitch=44 + 4 * (number % 4))
        chance = np.random.default_rng(number)
        before, after = (round(seconds * speech.sample_rate) for seconds in chance.uniform(0.15, 0.35, 2))
        samples = np.pad(speech.samples.astype(np.float64), (before, after))
        samples += chance.normal(0.0, _NOISE, len(samples))
        with wave.open(str(corpus / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, speech.sample_rate, 0, "NONE", "not compressed"))
            file.writeframes(samples.round().clip(-32768, 32767).astype("<i2").tobytes())
        (corpus / f"{name}.txt").write_text(sentence + "\n", encoding="utf-8")
        duration = len(samples) / speech.sample_rate
        words, phones = (
            _shifted(tier, before / speech.sample_rate, duration) for tier in (speech.words, speech.phones)
        )
        write_textgrid(Alignment(name, duration, words, phones), reference / f"{name}.TextGrid")
    return corpus, reference


def _shifted(tier: tuple[Interval, ...], shift: float, duration: float) -> tuple[AlignedInterval, ...]:
    """Move a tier to where the speech begins in the recording; the silence around it grows."""
    edges = [0.0 if tier[0].label == "" else shift, *(interval.end + shift for interval in tier)]
    labels = [interval.label for interval in tier]
    if tier[0].label:
        edges, labels = [0.0, *edges], ["", *labels]
    if labels[-1]:
        edges, labels = [*edges, duration], [*labels, ""]
    edges[-1] = duration
    return tuple(
        AlignedInterval(start, end, label, 1.0)
        for start, end, label in zip(edges[:-1], edges[1:], labels, strict=True)
    )
