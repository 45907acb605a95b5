"""The main job on real and synthetic speech whose times are known, through the commands that users type."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from hmm_align import EvaluationReport, evaluate


def hmm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the hmm command of this environment."""
    command = [str(Path(sys.executable).with_name("hmm")), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def aligned(corpus: Path, out: Path) -> EvaluationReport:
    """Train on a corpus, align it, and score it against the times that lie beside it."""
    done = hmm("align", "corpus", corpus, out, "--g2p", "--quiet")
    assert done.returncode == 0, done.stderr
    return evaluate(out, corpus)


def test_a_voice_with_exact_times_is_aligned_from_nothing_else(speech_data: Path, tmp_path: Path) -> None:
    report = aligned(speech_data / "synth" / "en_hts", tmp_path / "out")
    assert report.num_files == 40
    assert report.phones.coverage > 0.98
    assert report.phones.within[0.020] >= 0.95
    assert report.phones.within[0.050] >= 0.97
    assert report.phones.mean <= 0.008


def test_twenty_minutes_of_a_reader_are_aligned_from_nothing_else(speech_data: Path, tmp_path: Path) -> None:
    report = aligned(speech_data / "ljspeech", tmp_path / "out")
    assert report.num_files == 186
    assert report.phones.coverage > 0.98
    assert report.phones.within[0.020] >= 0.76
    assert report.phones.within[0.050] >= 0.92


def test_the_demonstration_speaks_trains_aligns_and_scores(tmp_path: Path) -> None:
    done = hmm("demo", "align", "--out", tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    assert "within 20 ms" in done.stdout
    assert len(list((tmp_path / "demo").rglob("*.TextGrid"))) >= 200, "alignments and references"
    assert len(list((tmp_path / "demo").rglob("*.png"))) == 1


@pytest.fixture
def corpus_with_damage(speech_data: Path, tmp_path: Path) -> Path:
    """Make a corpus of sixteen good clips and five that cannot be aligned."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    source = speech_data / "synth" / "en_hts"
    known = [
        path for path in sorted(source.glob("*.txt")) if path.stem not in {"hts_LJ004-0068", "hts_LJ004-0099"}
    ]
    for text in known[:16]:
        for suffix in (".txt", ".flac"):
            (corpus / f"{text.stem}{suffix}").write_bytes(text.with_suffix(suffix).read_bytes())
    good = known[16].with_suffix(".flac").read_bytes()
    (corpus / "corrupt.flac").write_bytes(good[: len(good) // 3])
    (corpus / "corrupt.txt").write_text("a good text")
    (corpus / "empty.flac").write_bytes(good)
    (corpus / "empty.txt").write_text(" \n")
    (corpus / "unknown.flac").write_bytes(good)
    (corpus / "unknown.txt").write_text("this is a flurbelwock")
    noise = np.random.default_rng(0).normal(scale=0.1, size=3200)
    sf.write(corpus / "short.wav", noise, 16_000)
    (corpus / "short.txt").write_text("ten words take much longer than this to be spoken")
    sf.write(corpus / "silent.wav", np.zeros(16_000), 16_000)
    (corpus / "silent.txt").write_text("nobody speaks")
    return corpus


def test_damaged_utterances_are_named_with_their_reasons_and_the_rest_is_aligned(
    corpus_with_damage: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = hmm("align", "corpus", corpus_with_damage, out, "--quiet")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert len(list(out.glob("*.TextGrid"))) == 16
    reasons = dict(
        line.removeprefix("problem: ").split(": ", 1)
        for line in done.stderr.splitlines()
        if line.startswith("problem: ")
    )
    assert set(reasons) == {"corrupt", "empty", "unknown", "short", "silent"}
    assert "cut short" in reasons["corrupt"] or "decoded" in reasons["corrupt"]
    assert "empty" in reasons["empty"]
    assert "flurbelwock" in reasons["unknown"]
    assert "0.200 s" in reasons["short"]
    assert "silent" in reasons["silent"]
