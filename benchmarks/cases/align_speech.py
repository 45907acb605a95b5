"""Accuracy and time of the corpus aligner, trained on each set alone.

Sets (looked for in the folder named by HMM_SPEECH_DATA): `ljspeech`, 186 clips of one reader, whose
reference is the Montreal Forced Aligner's and stands on a grid of 10 ms; `synth/en_hts`, 40 clips of an HMM
voice, whose labels are the ones it was driven by, on a grid of 5 ms; `synth/en_espeak`, 30 clips, and
`synth/ko_espeak`, `synth/ja_espeak`, `synth/cmn_espeak`, 20 clips each, by eSpeak NG, whose times are exact.
Its phones and those of these languages are scored as the nearest phones of English, so that the same pairs
count as alike. Unknown English words are guessed by hmm-speech[g2p] for everybody. Our model of `ljspeech`
also aligns `synth/en_hts`, which it has never heard.

A share within a tolerance depends on where times may stand: two on a grid of 10 ms that are up to 25 ms apart
before they are rounded may count as within 20 ms. Where the reference has a grid, every aligner is therefore
scored twice: with its times as they are, and with its times rounded to the grid of the reference, as a peer's
on that grid are anyway.

The peer is viter, a Kaldi-style trainer in Rust, with monophones as here and the same words and
pronunciations; all times are scored by the same code (hmm_metrics.boundary_errors). Without viter its rows
are left out, and the output says so. Seconds are those
of one run, training and aligning together. With --quick only the smaller set is aligned, and nothing written.
"""

import csv
import datetime as dt
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import torch

from hmm_align import AlignerConfig, Alignment, CorpusAligner, read_intervals
from hmm_bench import machine_card
from hmm_metrics import BoundarySummary, Interval, boundary_errors, summarize_boundaries
from hmm_speech import Corpus, EnglishG2P, Lexicon, PhoneSet, normalize_text, read_corpus

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("HMM_SPEECH_DATA", ROOT.parent / "shared" / "data"))
RESULTS = ROOT / "benchmarks" / "results" / "align_speech.csv"
# Language of each set; the last is the one of --quick.
SETS = {
    "synth/en_espeak": "en",
    "synth/ko_espeak": "ko",
    "synth/ja_espeak": "ja",
    "synth/cmn_espeak": "cmn",
    "ljspeech": "en",
    "synth/en_hts": "en",
}
# Our model of one set also aligns another.
UNHEARD = ("ljspeech", "synth/en_hts")
# Seconds between the times that a set's reference can name.
GRID = {"ljspeech": 0.010, "synth/en_hts": 0.005}
# Labels of eSpeak NG that are not in the IPA.
ESPEAK = {
    "ʲ": "j", "t-": "t\u031a", "s-": "s\u0348", "k-": "k\u0348", "o-": "ɤ", "ts.": "ʈʂ", "ts.h": "ʈʂʰ",
    "s.": "ʂ",
}  # fmt: skip
HEADER = ["set", "aligner", "times", "boundaries", "coverage", "mean_ms", "median_ms", "bias_ms"]
WITHIN = (0.010, 0.020, 0.025, 0.050, 0.100)

Times = dict[str, list[Interval]]


def reference_of(folder: Path, name: str) -> list[Interval]:
    """Return the reference phones of a clip, those of eSpeak NG as phones of English."""
    exact = folder / f"{name}.json"
    if not folder.name.endswith("_espeak"):
        return list(read_intervals(exact if exact.exists() else folder / f"{name}.TextGrid").phones)
    phones = json.loads(exact.read_text(encoding="utf-8"))["phones"]
    return [
        Interval(phone["start"], phone["end"], as_english(ESPEAK.get(phone["label"], phone["label"])))
        for phone in phones
    ]


def as_english(ipa: str) -> str:
    """Return the phone of English that is nearest to a sound; silence stays."""
    return PhoneSet.of("en").nearest(ipa) if ipa else ""


def times_of(alignments: list[Alignment]) -> Times:
    """Return the phones of what was aligned."""
    return {
        item.id: [Interval(phone.start, phone.end, phone.label) for phone in item.phones]
        for item in alignments
        if item.ok
    }


class Ours:
    """Trains and aligns with hmm-align; keeps the models by the names of the sets they were trained on."""

    def __init__(self, config: AlignerConfig) -> None:
        self.config = config
        self.models: dict[str, CorpusAligner] = {}

    def __call__(self, name: str, corpus: Corpus, lexicon: Lexicon) -> Times:
        """Train on the corpus and align it."""
        self.models[name] = CorpusAligner.train(corpus, lexicon=lexicon, config=self.config)
        return times_of(self.models[name].align(corpus))


def viter(_name: str, corpus: Corpus, lexicon: Lexicon) -> Times:
    """Train and align with viter: monophones, the same words and pronunciations."""
    with tempfile.TemporaryDirectory() as folder:
        clips, out = Path(folder) / "clips", Path(folder) / "out"
        clips.mkdir()
        words: dict[str, tuple[tuple[str, ...], ...]] = {}
        for item in corpus.utterances:
            (clips / item.audio.name).symlink_to(item.audio.resolve())
            text = normalize_text(item.text, lexicon.language)
            words.update((word, lexicon.pronounce(word)) for word in text)
            (clips / f"{item.id}.txt").write_text(" ".join(text), encoding="utf-8")
        Lexicon(words).save(Path(folder) / "words.dict")
        command = [str(Path(sys.executable).with_name("viter")), "train", str(clips), "--no-tri"]
        command += ["--dict", str(Path(folder) / "words.dict"), "--speakers", "single"]
        command += ["--out", str(Path(folder) / "mono.viter"), "--out-textgrids", str(out)]
        subprocess.run(command, check=True, capture_output=True)
        return {path.stem: list(_viter_phones(path)) for path in sorted(out.glob("*.TextGrid"))}


def _viter_phones(path: Path) -> Iterator[Interval]:
    """Read one of viter's files; its phones are marked with their place in the word."""
    for start, end, label in read_intervals(path).phones:
        yield Interval(start, end, label.partition("_")[0].replace("sil", ""))


def score(folder: Path, times: Times, language: str) -> BoundarySummary:
    """Compare with the reference."""
    known = PhoneSet.of(language)
    found = []
    for name, phones in sorted(times.items()):
        if language != "en":
            phones = [item._replace(label=as_english(known.get(item.label, ""))) for item in phones]  # noqa: PLW2901
        found.append(boundary_errors(reference_of(folder, name), phones))
    return summarize_boundaries(found)


def rounded(times: Times, grid: float) -> Times:
    """Return times moved to the nearest point of a grid."""
    return {
        name: [
            Interval(grid * round(phone.start / grid), grid * round(phone.end / grid), phone.label)
            for phone in phones
        ]
        for name, phones in times.items()
    }


def rows_of(name: str, label: str, aligner: str, times: Times, rest: list[str]) -> Iterator[list[str]]:
    """Yield a row for the times as they are, and one for the times on the reference's grid if it has one."""
    kinds = {"as they are": times}
    if name in GRID:
        kinds["on the grid"] = rounded(times, GRID[name])
    for kind, scored in kinds.items():
        found = score(DATA / name, scored, SETS[name])
        milliseconds = [f"{1000 * value:.1f}" for value in (found.mean, found.median, found.bias)]
        shares = [f"{found.within[tolerance]:.3f}" for tolerance in WITHIN]
        row = [label, aligner, kind, str(found.num_boundaries), f"{found.coverage:.3f}"]
        yield [*row, *milliseconds, *shares, *rest]


def report(columns: list[str], rows: Iterator[list[str]]) -> list[list[str]]:
    """Print rows and return them."""
    found = list(rows)
    for row in found:
        print(*(f"{key}={value}" for key, value in zip(columns, row, strict=True)), flush=True)
    return found


def main() -> int:
    """Train, align, score, print, write."""
    if not DATA.is_dir():
        print("no speech: HMM_SPEECH_DATA must name the folder that holds", *SETS)
        return 2
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    guess = EnglishG2P()
    ours = {
        "neural": AlignerConfig(acoustic="neural"),
        "monophone": AlignerConfig(),
        "monophone 5 ms": AlignerConfig.at_frame_period(0.005),
    }
    mine = {f"hmm-align {version('hmm-align')} {kind}": Ours(config) for kind, config in ours.items()}
    aligners: dict[str, Callable[[str, Corpus, Lexicon], Times]] = dict(mine)
    if Path(sys.executable).with_name("viter").exists() or shutil.which("viter"):
        aligners[f"viter {version('viter')} monophone"] = viter
    else:
        print("viter is not installed: its rows are left out")
    quick = "--quick" in sys.argv
    rows: list[list[str]] = []
    columns = [
        *HEADER,
        *(f"within_{round(1000 * tolerance)}ms" for tolerance in WITHIN),
        "aligned",
        "seconds",
    ]
    for name in list(SETS)[-1:] if quick else SETS:
        corpus = read_corpus(DATA / name)
        lexicon = Lexicon.of(SETS[name], fallback=guess if SETS[name] == "en" else None)
        for aligner, run in aligners.items():
            began = time.perf_counter()
            times = run(name, corpus, lexicon)
            rest = [f"{len(times)}/{len(corpus)}", f"{time.perf_counter() - began:.1f}"]
            rows += report(columns, rows_of(name, name, aligner, times, rest))
    source, target = UNHEARD
    for aligner, trained in mine.items():
        if source in trained.models:
            corpus = read_corpus(DATA / target)
            began = time.perf_counter()
            times = times_of(trained.models[source].align(corpus))
            rest = [f"{len(times)}/{len(corpus)}", f"{time.perf_counter() - began:.1f}"]
            rows += report(columns, rows_of(target, f"{source} > {target}", aligner, times, rest))
    if quick:
        return 0
    card = machine_card(dt.datetime.now(tz=dt.UTC).date())
    with RESULTS.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"# {key}: {value}\n" for key, value in card.items())
        csv.writer(file).writerows([columns, *rows])
    return 0


if __name__ == "__main__":
    sys.exit(main())
