"""Models for whole tasks on speech: strings of digits, and features of sentences from their phonemes."""

import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from hmm_models import ModelFactory, PhonemeSynthesizer, WordRecognizer
from hmm_speech import MFCC, deltas, load_audio

# Static features and two differences, as hmm_speech.deltas makes them.
DELTA = tuple(n / 10 for n in range(-2, 3))
WINDOWS = ((1.0,), DELTA, tuple(np.convolve(DELTA, DELTA).round(12).tolist()))


class Utterances(NamedTuple):
    """Features with their transcripts."""

    x: Tensor
    lengths: Tensor
    units: list[list[int]]


def pad(sequences: list[Tensor], units: list[list[int]]) -> Utterances:
    """Make a batch."""
    lengths = torch.tensor([len(x) for x in sequences])
    return Utterances(torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True), lengths, units)


def strings(folder: Path, takes: range, seed: int) -> Utterances:
    """Join recordings of a speaker to strings of three to six digits, each recording in one string."""
    mfcc, generator = MFCC(sample_rate=8000), torch.Generator().manual_seed(seed)
    files = [file for file in sorted(folder.glob("*.flac")) if int(file.stem.split("_")[2]) in takes]
    sequences, units = [], []
    for speaker in sorted({file.stem.split("_")[1] for file in files}):
        own = [file for file in files if file.stem.split("_")[1] == speaker]
        own = [own[i] for i in torch.randperm(len(own), generator=generator)]
        while own:
            size = int(torch.randint(3, 7, (), generator=generator))
            part, own = own[:size], own[size:]
            wave = torch.cat([load_audio(file, sample_rate=8000).waveform for file in part])
            x = deltas(mfcc(wave))
            sequences.append((x - x.mean(0)) / x.std(0))
            units.append([int(file.stem[0]) for file in part])
    return pad(sequences, units)


def errors(found: list[int], said: list[int]) -> int:
    """Words to change, leave out or put in (edit distance)."""
    row = list(range(len(found) + 1))
    for i, word in enumerate(said, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(found, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


def error_rate(model: WordRecognizer, data: Utterances) -> float:
    """Word error rate."""
    found = model.decode(data.x, data.lengths)
    wrong = sum(errors(one, other) for one, other in zip(found, data.units, strict=True))
    return wrong / sum(map(len, data.units))


def test_strings_of_digits_are_recognised_after_training_without_times(
    speech_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = speech_data / "fsdd"
    if not folder.is_dir():
        pytest.skip("no recordings: HMM_SPEECH_DATA holds no fsdd")
    train, test = strings(folder, range(5, 10), 0), strings(folder, range(10, 15), 1)
    model = ModelFactory().create_asr_model(10, 39, "mixture_gaussian", states_per_unit=12)
    model.fit(*train, max_iterations=8, variance_floor=0.05)
    rate = error_rate(model, test)
    with capsys.disabled():
        said = sum(map(len, test.units))
        sys.stdout.write(f"\nword error rate {rate:.4f}, {said} digits in {len(test.units)} strings\n")
    assert rate <= 0.03


class Voice(NamedTuple):
    """Utterances with the frames that their phonemes last."""

    data: Utterances
    durations: list[Tensor]


@pytest.fixture(scope="module")
def voice(speech_data: Path) -> Voice:
    """Read the sentences of a synthetic voice, whose times are exact: cepstra every 5 ms."""
    folder = speech_data / "synth" / "en_hts"
    if not folder.is_dir():
        pytest.skip("no voice: HMM_SPEECH_DATA holds no synth/en_hts")
    mfcc = MFCC(sample_rate=16000, frame_period=0.005)
    sequences, units, durations, names = [], [], [], dict[str, int]()
    for file in sorted(folder.glob("*.json")):
        x = deltas(mfcc(load_audio(file.with_suffix(".flac")).waveform))
        phones = json.loads(file.read_text())["phones"]
        ends = torch.tensor([phone["end"] for phone in phones]).mul(200.0).round().long().clamp_max(len(x))
        ends[-1] = len(x)
        sequences.append(x)
        units.append([names.setdefault(phone["label"], len(names)) for phone in phones])
        durations.append(ends.diff(prepend=torch.zeros(1, dtype=torch.int64)))
    return Voice(pad(sequences, units), durations)


def test_a_voice_learns_from_phonemes_without_times_to_time_them_and_to_speak(
    voice: Voice, capsys: pytest.CaptureFixture[str]
) -> None:
    x, lengths, units = voice.data
    num_phonemes = 1 + max(max(row) for row in units)
    model = ModelFactory().create_tts_model(num_phonemes, 39, "gamma", max_duration=30, windows=WINDOWS)
    assert isinstance(model, PhonemeSynthesizer)
    train, test = slice(30), range(30, len(units))
    model.fit(x[train], lengths[train], units[train], max_iterations=6, batch_size=10, variance_floor=0.01)

    predicted = torch.cat([model.durations([units[b]])[0] for b in test]).double()
    natural = torch.cat([voice.durations[b] for b in test]).double()
    correlation = float(torch.corrcoef(torch.stack([predicted, natural]))[0, 1])
    error = float((predicted - natural).square().mean().sqrt() / natural.std())

    frames = torch.cat([x[b, : lengths[b], :13] for b in range(30)])
    distance = flat = right = total = 0.0
    for b in test:
        # What was heard, against what is generated with its times, and against the mean of everything.
        said = model.generate([units[b]], durations=voice.durations[b][None])
        heard = x[b, : lengths[b], :13]
        distance += float((said.features[0] - heard).norm(dim=1).sum())
        flat += float((frames.mean(0) - heard).norm(dim=1).sum())
        place = torch.arange(len(units[b])).repeat_interleave(voice.durations[b])
        found = model.viterbi(x[b : b + 1, : lengths[b]], transcripts=[units[b]]).states[0] // 5
        right += float((found == place).sum())
        total += len(heard)
    with capsys.disabled():
        sys.stdout.write(
            f"\ndurations: correlation {correlation:.3f}, error {error:.3f} of their deviation; features: "
            f"{distance / flat:.3f} of the distance of the mean; frames aligned: {right / total:.3f}\n"
        )
    assert correlation >= 0.55
    assert error <= 0.85
    assert distance / flat <= 0.68
    assert right / total >= 0.8

    natural_rate, fast = (model.generate([units[30]], rate=rate) for rate in (1.0, 2.0))
    assert abs(int(fast.lengths) - int(natural_rate.lengths) / 2) <= 1
