"""What the tests share: a small made-up language whose times are known, real speech where there is some."""

import os
import struct
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from hmm_align import AlignedInterval, AlignerConfig, Alignment, CorpusAligner, Tiers, read_textgrid
from hmm_align.sphinx._front_end import FrontEnd
from hmm_metrics import Interval
from hmm_speech import MFCC, Corpus, Lexicon, load_audio, read_corpus

SAMPLE_RATE = 16_000
# Pitch (0: none) and the frequencies in Hz between which a phone sounds.
SOUNDS = {
    "AA": (120, [(600, 1200)]),
    "IY": (120, [(200, 400), (2200, 3000)]),
    "UW": (120, [(200, 900)]),
    "EH": (120, [(500, 700), (1700, 2100)]),
    "M": (120, [(100, 250)]),
    "Z": (120, [(100, 300), (4000, 6000)]),
    "S": (0, [(4500, 7500)]),
    "SH": (0, [(2000, 4500)]),
    "HH": (0, [(400, 2500)]),
}
WORDS = {
    "masa": ["M AA S AA"],
    "shoozy": ["SH UW Z IY"],
    "hem": ["HH EH M"],
    "see": ["S IY"],
    "zoom": ["Z UW M"],
    "ash": ["AA SH"],
    "either": ["IY Z EH", "AA Z EH"],
    "of": ["UW"],
}
PAUSE = (0.15, 0.3)  # seconds, between words and at the ends
LENGTH = (0.06, 0.14)  # seconds, of a phone

# A word and which of its pronunciations is said; None is a pause.
Said = tuple[str, int] | None


class Voice(NamedTuple):
    """Phones, frames and where the phones end, of sentences one behind the other."""

    text: torch.Tensor  # (B, N, number of phones), one-hot
    audio: torch.Tensor  # (B, T, 13)
    text_lengths: torch.Tensor  # (B,)
    audio_lengths: torch.Tensor  # (B,)
    ends: torch.Tensor  # (B, N) in frames, 0 in padding


def sound(
    phone: str, seconds: float, chance: np.random.Generator
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return a phone: a buzz or a noise, band by band, or the hiss of a quiet room."""
    count = round(seconds * SAMPLE_RATE)
    hiss = chance.normal(0.0, 0.005, count)
    if not phone:
        return hiss
    pitch, bands = SOUNDS[phone]
    source = chance.normal(0.0, 1.0, count)
    if pitch:
        source *= 0.05
        source[:: SAMPLE_RATE // pitch] += 10.0
    spectrum = np.fft.rfft(source)
    frequency = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    spectrum *= sum((low <= frequency) & (frequency <= high) for low, high in bands)
    filtered = np.fft.irfft(spectrum, count)
    hiss += 0.1 * filtered / filtered.std()
    return hiss


def _write_wav(path: Path, samples: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    """Write 16-bit audio."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", "not compressed"))
        file.writeframes((samples * 32767).round().clip(-32768, 32767).astype("<i2").tobytes())


@pytest.fixture(scope="session")
def write_wav() -> Callable[..., None]:
    """Return a function that writes samples between -1 and 1 to a path."""
    return _write_wav


@pytest.fixture(scope="session")
def lexicon() -> Lexicon:
    """Return the pronunciations of the made-up language."""
    return Lexicon({word: [phones.split() for phones in variants] for word, variants in WORDS.items()})


@pytest.fixture(scope="session")
def say() -> Callable[..., Tiers]:
    """Return a function that writes a recording with its transcript, and knows its times."""

    def write(folder: Path, name: str, said: Sequence[Said], seed: int = 0, text: str | None = None) -> Tiers:
        chance = np.random.default_rng(seed)
        parts, words, phones, now = [], [], [], 0.0
        for item in said:
            labels = [""] if item is None else WORDS[item[0]][item[1]].split()
            first = now
            for label in labels:
                parts.append(sound(label, chance.uniform(*(LENGTH if label else PAUSE)), chance))
                start, now = now, now + len(parts[-1]) / SAMPLE_RATE
                phones.append(Interval(start, now, label))
            words.append(Interval(first, now, "" if item is None else item[0]))
        folder.mkdir(parents=True, exist_ok=True)
        _write_wav(folder / f"{name}.wav", np.concatenate(parts))
        spoken = " ".join(item[0] for item in said if item is not None)
        (folder / f"{name}.txt").write_text(spoken if text is None else text, encoding="utf-8")
        return Tiers(tuple(words), tuple(phones))

    return write


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the made-up corpus; `truth` fills it."""
    return tmp_path_factory.mktemp("made-up")


@pytest.fixture(scope="session")
def truth(corpus_folder: Path, say: Callable[..., Tiers]) -> dict[str, Tiers]:
    """Return the times of the made-up corpus: thirty sentences of five words with and without pauses."""
    found = {}
    for number in range(30):
        chance = np.random.default_rng(number)
        said: list[Said] = [None]
        for word in chance.choice(list(WORDS), size=5):
            # The second pronunciation is rarer: a flat start hears the first.
            said.append((str(word), int(chance.random() < 0.3) if len(WORDS[str(word)]) > 1 else 0))
            if chance.random() < 0.4:
                said.append(None)
        if said[-1] is not None and chance.random() < 0.7:
            said.append(None)
        if chance.random() < 0.2:
            del said[0]
        found[f"s{number:02d}"] = say(corpus_folder, f"s{number:02d}", said, seed=100 + number)
    return found


@pytest.fixture(scope="session")
def corpus(corpus_folder: Path, truth: dict[str, Tiers]) -> Corpus:
    """Return the made-up corpus."""
    found = read_corpus(corpus_folder)
    assert [utterance.id for utterance in found] == sorted(truth)
    return found


@pytest.fixture(scope="session")
def config() -> AlignerConfig:
    """Return choices for a corpus of a minute."""
    return AlignerConfig(
        acoustic="monophone",
        frame_period=0.005,
        window=0.015,
        delta_window=0.01,
        num_mels=26,
        num_ceps=13,
        num_components=60,
        silence_components=2,
        iterations=12,
        posterior_scale=0.3,
        boundary_shift=0.0,
    )


@pytest.fixture(scope="session")
def aligner(corpus: Corpus, lexicon: Lexicon, config: AlignerConfig) -> CorpusAligner:
    """Return an aligner trained on the made-up corpus; treat it as read-only."""
    return CorpusAligner.train(corpus, lexicon=lexicon, config=config)


@pytest.fixture(scope="session")
def alignments(aligner: CorpusAligner, corpus: Corpus) -> list[Alignment]:
    """Return the times that the aligner finds in the made-up corpus."""
    return aligner.align(corpus)


@pytest.fixture(scope="session")
def speech_data() -> Path:
    """Folder of real speech with reference times: HMM_SPEECH_DATA, or shared/data beside the repository."""
    folder = os.environ.get("HMM_SPEECH_DATA")
    path = Path(folder) if folder else Path(__file__).parents[3].parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("no speech data: set HMM_SPEECH_DATA, or put shared/data beside the repository")
    return path


@pytest.fixture(scope="session")
def voice(speech_data: Path) -> Voice:
    """Return twenty sentences of a synthetic voice whose phone times are exact, at 20 ms a frame."""
    extract = MFCC(frame_period=0.02, window=0.025, num_ceps=13)
    texts, audios, ends = [], [], []
    for path in sorted((speech_data / "synth" / "en_hts").glob("*.TextGrid"))[:20]:
        phones = read_textgrid(path).phones
        features = extract(load_audio(path.with_suffix(".flac")).waveform)
        texts.append([phone.label.rstrip("012") for phone in phones])
        audios.append((features - features.mean(0)) / features.std(0))
        # Frame t is centred at t periods: its end is half a period later.
        ends.append(torch.tensor([min(phone.end / 0.02 + 0.5, len(features)) for phone in phones]))
    known = sorted({label for text in texts for label in text})
    numbers = [torch.tensor([known.index(label) for label in text]) for text in texts]
    pad = torch.nn.utils.rnn.pad_sequence
    return Voice(
        pad([torch.nn.functional.one_hot(row, len(known)).float() for row in numbers], batch_first=True),
        pad(audios, batch_first=True),
        torch.tensor([len(text) for text in texts]),
        torch.tensor([len(audio) for audio in audios]),
        pad(ends, batch_first=True),
    )


@pytest.fixture(scope="session")
def make_alignment() -> Callable[..., Alignment]:
    """Return a function that makes an alignment of one word of half a second."""

    def make(name: str, label: str = "a") -> Alignment:
        tier = (AlignedInterval(0.0, 0.1, "", 1.0), AlignedInterval(0.1, 0.5, label, 0.75))
        return Alignment(name, 0.5, tier, tier)

    return make


SPHINX_OPTIONS = {
    "lowerf": "100",
    "upperf": "7900",
    "nfilt": "26",
    "transform": "dct",
    "lifter": "22",
    "feat": "1s_c_d_dd",
    "cmn": "batch",
}
SPHINX_PHONES = ["SIL", *sorted(SOUNDS)]  # Sphinx wants a filler; it need not be first


def _parameters(numbers: Sequence[int], values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> bytes:
    """Return a parameter file of Sphinx: header, byte order, integers, their product, floats, checksum."""
    data = struct.pack(f"<{len(numbers)}i", *numbers) + values.astype("<f4").tobytes()
    checksum = 0
    for word in np.frombuffer(data, "<u4").tolist():
        checksum = ((checksum << 20 | checksum >> 12) + word) & 0xFFFFFFFF
    header = b"s3\nversion 1.0\nchksum0 yes\nendhdr\n" + struct.pack("<I", 0x11223344)
    return header + data + struct.pack("<I", checksum)


@pytest.fixture(scope="session")
def sphinx_parameters() -> Callable[..., bytes]:
    """Return a function that makes the bytes of a parameter file from its integers and values."""
    return _parameters


@pytest.fixture(scope="session")
def sphinx_folder(tmp_path_factory: pytest.TempPathFactory, corpus: Corpus, truth: dict[str, Tiers]) -> Path:
    """Return an acoustic model of Sphinx: a Gaussian for each third of each phone of the made-up corpus."""
    folder = tmp_path_factory.mktemp("sphinx")
    front_end = FrontEnd(SPHINX_OPTIONS, None, folder)
    frames: list[list[torch.Tensor]] = [[] for _ in range(3 * len(SPHINX_PHONES))]
    for utterance in corpus:
        features = front_end(load_audio(utterance.audio))
        for phone in truth[utterance.id].phones:
            first, last = (round(time / front_end.frame_period) for time in (phone.start, phone.end))
            for third, part in enumerate(torch.tensor_split(features[first:last], 3)):
                frames[3 * SPHINX_PHONES.index(phone.label or "SIL") + third].append(part)
    means = torch.stack([torch.cat(item).mean(0) for item in frames]).numpy()
    variances = torch.stack([torch.cat(item).var(0) for item in frames]).numpy().clip(0.05)
    num_senones, dim = means.shape
    sizes = [num_senones, 1, 1, dim, num_senones * dim]
    (folder / "means").write_bytes(_parameters(sizes, means))
    (folder / "variances").write_bytes(_parameters(sizes, variances))
    sizes = [num_senones, 1, 1, num_senones]
    (folder / "mixture_weights").write_bytes(_parameters(sizes, np.ones(num_senones, np.float32)))
    steps = np.array([[8, 2, 0, 0], [0, 8, 2, 0], [0, 0, 8, 2]], np.float32)
    (folder / "transition_matrices").write_bytes(_parameters([1, 3, 4, 12], steps))
    lines = ["0.3", f"{len(SPHINX_PHONES)} n_base", "0 n_tri", f"{4 * len(SPHINX_PHONES)} n_state_map"]
    lines += [f"{num_senones} n_tied_state", f"{num_senones} n_tied_ci_state", "1 n_tied_tmat", "# columns"]
    for number, name in enumerate(SPHINX_PHONES):
        kind = "filler" if name == "SIL" else "n/a"
        states = " ".join(str(3 * number + third) for third in range(3))
        lines.append(f"{name} - - - {kind} 0 {states} N")
    (folder / "mdef").write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = "".join(f"-{name} {value}\n" for name, value in SPHINX_OPTIONS.items())
    (folder / "feat.params").write_text(options, encoding="utf-8")
    return folder
