"""Accuracy and time of aligners of speech, trained on each set alone or on nothing.

Sets (looked for in the folder named by HMM_SPEECH_DATA): `ljspeech`, 186 clips of one reader, whose
reference is the Montreal Forced Aligner's and stands on a grid of 10 ms; `synth/en_hts`, 40 clips of an HMM
voice, whose labels are the ones it was driven by, on a grid of 5 ms; `synth/en_espeak`, 30 clips, and
`synth/ko_espeak`, `synth/ja_espeak`, `synth/cmn_espeak`, 20 clips each, by eSpeak NG, whose times are exact.
Its phones and those of these languages are scored as the nearest phones of English, so that the same pairs
count as alike. Unknown English words are guessed by hmm-speech[g2p] for everybody. Models of `ljspeech` also
align what they have never heard: `synth/en_hts`; `cmu_time_awb`, 24 sentences of a Scot with phones marked by
festvox; `arctic_hts`, two sentences whose phones an HMM voice's training found; `librivox`, five sentences of
a novel, whose words pocketsphinx's own test suite times.

A share within a tolerance depends on where times may stand: two on a grid of 10 ms that are up to 25 ms apart
before they are rounded may count as within 20 ms. Where the reference has a grid, every aligner is therefore
scored twice: with its times as they are, and with its times rounded to the grid of the reference, as a peer's
on that grid are anyway.

Ours: models trained here, and the model of American English in pocketsphinx's wheel, read by hmm-align.
Peers, from PyPI, each in an environment of its own (`benchmarks/peers/`): pocketsphinx's aligner with the
same model; viter, a Kaldi-style trainer in Rust, with monophones and with its full recipe; pstrain,
SphinxTrain's successor, with its default recipe. All get the same words, pronunciations and clips of 16 kHz,
and all times are scored by the same code (hmm_metrics.boundary_errors). A clip that an aligner gives up is
left out of its errors and counted under `aligned`. Seconds are those of one run, start of the program
included for peers; viter aligns what it trains on while it trains.
With --quick only the smallest set is aligned by the aligners that train in seconds, and nothing written;
--without-peers leaves out the peers, --without NAME what has NAME in its name; with --variants our acoustic
models alone are compared, all that there are, and nothing written either.
"""

import csv
import datetime as dt
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import soundfile
import torch

from hmm_align import AlignerConfig, Alignment, CorpusAligner, Tiers, read_intervals
from hmm_bench import machine_card
from hmm_metrics import BoundarySummary, Interval, boundary_errors, fold_word, summarize_boundaries
from hmm_speech import (
    Corpus,
    EnglishG2P,
    Lexicon,
    PhoneSet,
    Utterance,
    load_audio,
    normalize_text,
    read_corpus,
)

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("HMM_SPEECH_DATA", ROOT.parent / "shared" / "data"))
RESULTS = ROOT / "benchmarks" / "results" / "align_speech.csv"
PEERS = ROOT / "benchmarks" / "peers"
# Language of each set that is trained on; the last is the one of --quick.
SETS = {
    "synth/en_espeak": "en",
    "synth/ko_espeak": "ko",
    "synth/ja_espeak": "ja",
    "synth/cmn_espeak": "cmn",
    "ljspeech": "en",
    "synth/en_hts": "en",
}
# Models of one set also align others.
HEARD, UNHEARD = "ljspeech", ("synth/en_hts", "cmu_time_awb", "arctic_hts", "librivox")
# Seconds between the times that a set's reference can name.
GRID = {
    "ljspeech": 0.010,
    "synth/en_hts": 0.005,
    "cmu_time_awb": 0.005,
    "arctic_hts": 0.005,
    "librivox": 0.010,
}
# Labels of eSpeak NG that are not in the IPA.
ESPEAK = {
    "ʲ": "j", "t-": "t\u031a", "s-": "s\u0348", "k-": "k\u0348", "o-": "ɤ", "ts.": "ʈʂ", "ts.h": "ʈʂʰ",
    "s.": "ʂ",
}  # fmt: skip
# Prompts of CMU ARCTIC, which lie in no file of the set.
ARCTIC = {
    "arctic_a0001": "Author of the danger trail, Philip Steels, etcetera.",
    "arctic_a0009": "He turned sharply, and faced Gregson across the table.",
}
HEADER = ["set", "aligner", "times", "boundaries", "coverage", "mean_ms", "median_ms", "bias_ms"]
WITHIN = (0.010, 0.020, 0.025, 0.050, 0.100)

# Seconds after which a peer is given up.
PATIENCE = 1800

Times = dict[str, Tiers]
# What the acoustic model can be.
VARIANTS = {
    "default": AlignerConfig(),
    "change_weight=2": AlignerConfig(change_weight=2.0),
    "monophone": AlignerConfig(acoustic="monophone"),
    "monophone 5 ms": AlignerConfig.at_frame_period(0.005, acoustic="monophone"),
    "default 5 ms": AlignerConfig.at_frame_period(0.005),
    "neural": AlignerConfig(acoustic="neural"),
    "none": AlignerConfig(feature_transform="none"),
    "mllt": AlignerConfig(feature_transform="mllt"),
    "lda+mllt": AlignerConfig(feature_transform="lda+mllt"),
}
# What is compared with peers.
USUAL = ["default", "change_weight=2", "monophone"]


class Outcome(NamedTuple):
    """Times of each set that was aligned, and the seconds of training and of each set."""

    times: dict[str, Times]
    train: float
    align: dict[str, float]


# Trains on the first of some sets and aligns all.
Aligner = Callable[[Mapping[str, Corpus], Lexicon], Outcome]


def corpus_of(name: str) -> Corpus:
    """Read a set."""
    folder = DATA / name
    if name != "arctic_hts":
        return read_corpus(folder)
    clips = (Utterance(clip, folder / f"{clip}.wav", text, name) for clip, text in ARCTIC.items())
    return Corpus(folder, tuple(clips))


def reference_of(name: str, clip: str) -> Tiers:
    """Return the reference of a clip, phones of eSpeak NG as phones of English."""
    folder = DATA / name
    if name == "librivox":
        return Tiers(tuple(match_segments(folder / "test-align.matchseg", clip)), ())
    if name == "arctic_hts":
        aligned = folder / f"{clip}_phone.lab"
        return read_intervals(aligned if aligned.exists() else folder / f"{clip}.lab")
    if name == "cmu_time_awb":
        return read_intervals(folder / f"{clip}.lab")
    exact = folder / f"{clip}.json"
    if not name.endswith("_espeak"):
        return read_intervals(exact if exact.exists() else folder / f"{clip}.TextGrid")
    phones = json.loads(exact.read_text(encoding="utf-8"))["phones"]
    return Tiers(
        (),
        tuple(
            Interval(phone["start"], phone["end"], as_english(ESPEAK.get(phone["label"], phone["label"])))
            for phone in phones
        ),
    )


def match_segments(path: Path, clip: str) -> Iterator[Interval]:
    """Yield the words of a clip in a file of pocketsphinx: "S .. T .. A .. L .. start a l word ... end"."""
    for line in path.read_text(encoding="utf-8").splitlines():
        name, *fields = line.split()
        if name != clip:
            continue
        fields = fields[fields.index("L") + 2 :]
        edges = [0.01 * int(frame) for frame in fields[::4]]
        for word, start, end in zip(fields[3::4], edges, edges[1:], strict=False):
            label = word.partition("(")[0]
            yield Interval(start, end, "" if label.startswith("<") else label)


def as_english(ipa: str) -> str:
    """Return the phone of English that is nearest to a sound; silence stays."""
    return PhoneSet.of("en").nearest(ipa) if ipa else ""


def times_of(alignments: list[Alignment]) -> Times:
    """Return the words and phones of what was aligned."""
    return {
        item.id: Tiers(*(tuple(Interval(*part[:3]) for part in tier) for tier in (item.words, item.phones)))
        for item in alignments
        if item.ok
    }


class Trained:
    """hmm-align, trained on the first set."""

    def __init__(self, config: AlignerConfig) -> None:
        self.config = config

    def __call__(self, corpora: Mapping[str, Corpus], lexicon: Lexicon) -> Outcome:
        """Train and align."""
        began = time.perf_counter()
        aligner = CorpusAligner.train(next(iter(corpora.values())), lexicon=lexicon, config=self.config)
        return _aligned(aligner, corpora, time.perf_counter() - began)


def pretrained(corpora: Mapping[str, Corpus], lexicon: Lexicon) -> Outcome:
    """Align with the model of pocketsphinx's wheel, as hmm-align reads it."""
    return _aligned(CorpusAligner.load("sphinx:en-us", lexicon=lexicon), corpora, 0.0)


def _aligned(aligner: CorpusAligner, corpora: Mapping[str, Corpus], train: float) -> Outcome:
    """Align sets with hmm-align."""
    times, seconds = {}, {}
    for name, corpus in corpora.items():
        began = time.perf_counter()
        times[name] = times_of(aligner.align(corpus))
        seconds[name] = time.perf_counter() - began
    return Outcome(times, train, seconds)


class Peer:
    """A script of benchmarks/peers, run by uv in an environment of its own."""

    def __init__(self, script: str, *options: str) -> None:
        self.script = PEERS / script
        self.options = options

    def __call__(self, corpora: Mapping[str, Corpus], lexicon: Lexicon) -> Outcome:
        """Write the clips where the peer reads them, run it, and read its times."""
        with tempfile.TemporaryDirectory() as folder:
            paths = {name: Path(folder) / name.replace("/", "-") for name in corpora}
            arguments: list[str] = []
            for name, corpus in corpora.items():
                write_clips(corpus, lexicon, paths[name])
                arguments += [str(paths[name]), f"{paths[name]}-out"]
            command = [uv(), "run", "--quiet", "--no-project", "--script", str(self.script)]
            seconds = json.loads(output_of([*command, *self.options, *arguments]).splitlines()[-1])
            times = {
                name: {
                    clip.id: peer_tiers(found)
                    for clip in corpus
                    if (found := find_times(Path(f"{paths[name]}-out"), clip.id)) is not None
                }
                for name, corpus in corpora.items()
            }
        return Outcome(times, seconds["train"], dict(zip(corpora, seconds["align"], strict=True)))


def output_of(command: Sequence[str]) -> str:
    """Run a command; one that takes too long, or is interrupted, ends with all that it has started."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            output, complaint = process.communicate(timeout=PATIENCE)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, output, complaint)
    return output


def uv() -> str:
    """Return uv, of this environment or of the machine."""
    folders = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    found = shutil.which("uv", path=folders)
    if found is None:
        raise SystemExit("the peers need uv for environments of their own; or add --without-peers")
    return found


def write_clips(corpus: Corpus, lexicon: Lexicon, folder: Path) -> None:
    """Write clips of 16 kHz with their words, and the words' pronunciations, without stress in English."""
    folder.mkdir(parents=True)
    words: dict[str, None] = {}
    for item in corpus:
        audio = load_audio(item.audio, 16_000)
        soundfile.write(folder / f"{item.id}.wav", audio.waveform.numpy(), 16_000, subtype="PCM_16")
        text = normalize_text(item.text, lexicon.language)
        words |= dict.fromkeys(text)
        (folder / f"{item.id}.txt").write_text(" ".join(text), encoding="utf-8")
    with (folder / "words.dict").open("w", encoding="utf-8") as file:
        for word in sorted(words):
            said = (" ".join(phones) for phones in lexicon.pronounce(word))
            if lexicon.language == "en":
                said = ("".join(mark for mark in phones if not mark.isdigit()) for phones in said)
            for number, phones in enumerate(dict.fromkeys(said), start=1):
                file.write(f"{word}{f'({number})' if number > 1 else ''} {phones}\n")


def find_times(folder: Path, clip: str) -> Path | None:
    """Return the file that a peer wrote for a clip."""
    names = (folder / f"{clip}{suffix}" for suffix in (".json", ".TextGrid"))
    return next((path for path in names if path.exists()), None)


def peer_tiers(path: Path) -> Tiers:
    """Read a peer's file; its phones may be marked with their place in the word or their neighbours."""
    words, phones = read_intervals(path)
    plain = []
    for start, end, label in phones:
        phone = label.split()[0].partition("_")[0] if label else ""
        silent = phone in {"sil", "SIL", "spn"} or phone.startswith("+")
        plain.append(Interval(start, end, "" if silent else phone))
    silences = {"<s>", "</s>", "<sil>", "<eps>"}
    said = [word._replace(label="" if word.label in silences else word.label) for word in words]
    return Tiers(tuple(said), tuple(plain))


def score(name: str, times: Times, language: str) -> BoundarySummary:
    """Compare with the reference: phones, or words where it has no phones."""
    known = PhoneSet.of(language)
    found = []
    for clip, tiers in sorted(times.items()):
        reference = reference_of(name, clip)
        if not reference.phones:
            found.append(boundary_errors(reference.words, tiers.words, fold=fold_word))
            continue
        phones = list(tiers.phones)
        if language != "en":
            phones = [item._replace(label=as_english(known.get(item.label, ""))) for item in phones]
        found.append(boundary_errors(reference.phones, phones))
    return summarize_boundaries(found)


def rounded(times: Times, grid: float) -> Times:
    """Return times moved to the nearest point of a grid."""

    def moved(tier: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return tuple(
            Interval(grid * round(part.start / grid), grid * round(part.end / grid), part.label)
            for part in tier
        )

    return {clip: Tiers(moved(tiers.words), moved(tiers.phones)) for clip, tiers in times.items()}


def rows_of(name: str, label: str, aligner: str, times: Times, rest: list[str]) -> Iterator[list[str]]:
    """Yield a row for the times as they are, and one for the times on the reference's grid if it has one."""
    kinds = {"as they are": times}
    if name in GRID:
        kinds["on the grid"] = rounded(times, GRID[name])
    for kind, scored in kinds.items():
        found = score(name, scored, SETS.get(name, "en"))
        figures = [f"{found.coverage:.3f}"]
        figures += [f"{1000 * value:.1f}" for value in (found.mean, found.median, found.bias)]
        figures += [f"{found.within[tolerance]:.3f}" for tolerance in WITHIN]
        if not found.num_boundaries:  # an aligner that has refused all
            figures = [""] * len(figures)
        yield [label, aligner, kind, str(found.num_boundaries), *figures, *rest]


def report(columns: list[str], rows: Iterator[list[str]]) -> list[list[str]]:
    """Print rows and return them."""
    found = list(rows)
    for row in found:
        print(*(f"{key}={value}" for key, value in zip(columns, row, strict=True)), flush=True)
    return found


def reason_of(error: subprocess.SubprocessError) -> str:
    """Say in a line why a peer failed."""
    if isinstance(error, subprocess.CalledProcessError):
        return "".join(error.stderr.strip().splitlines()[-1:])
    return f"it took more than {PATIENCE} seconds"


def peer_version(script: str) -> str:
    """Return the version that a peer's script asks for."""
    pinned = (PEERS / script).read_text(encoding="utf-8").partition('["')[2].partition('"]')[0]
    return pinned.replace("==", " ")


def aligners_of(arguments: list[str]) -> tuple[dict[str, Aligner], dict[str, Aligner]]:
    """Return the aligners of any language, which train, and those of English, which need not."""
    quick, variants = "--quick" in arguments, "--variants" in arguments
    ours = f"hmm-align {version('hmm-align')}"
    names = ["default"] if quick else list(VARIANTS) if variants else USUAL
    any_language: dict[str, Aligner] = {f"{ours} {name}": Trained(VARIANTS[name]) for name in names}
    english: dict[str, Aligner] = {}  # with a model that knows all, so that there is nothing unheard
    if not quick and not variants:
        english[f"{ours} sphinx:en-us"] = pretrained
    if not variants and "--without-peers" not in arguments:
        viter = peer_version("viter_align.py")
        any_language[f"{viter} monophone"] = Peer("viter_align.py", "--no-tri")
        english[f"{peer_version('pocketsphinx_align.py')} en-us"] = Peer("pocketsphinx_align.py")
        if not quick:
            any_language[f"{viter} full"] = Peer("viter_align.py")
            any_language[peer_version("pstrain_align.py")] = Peer("pstrain_align.py")
    left_out = [after for option, after in pairwise(arguments) if option == "--without"]

    def kept(aligners: dict[str, Aligner]) -> dict[str, Aligner]:
        return {name: run for name, run in aligners.items() if not any(part in name for part in left_out)}

    return kept(any_language), kept(english)


def main() -> int:
    """Train, align, score, print, write."""
    if not DATA.is_dir():
        print("no speech: HMM_SPEECH_DATA must name the folder that holds", *SETS)
        return 2
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    any_language, english = aligners_of(sys.argv[1:])
    columns = [*HEADER, *(f"within_{round(1000 * tolerance)}ms" for tolerance in WITHIN)]
    columns += ["aligned", "train_seconds", "align_seconds"]
    guess, rows = EnglishG2P(), []
    quick = "--quick" in sys.argv
    for name in list(SETS)[-1:] if quick else (*SETS, *(item for item in UNHEARD if item not in SETS)):
        language = SETS.get(name, "en")
        lexicon = Lexicon.of(language, fallback=guess if language == "en" else None)
        chosen = (any_language if name in SETS else {}) | (english if language == "en" else {})
        for aligner, run in chosen.items():
            also = UNHEARD if name == HEARD and aligner in any_language else ()
            corpora = {item: corpus_of(item) for item in (name, *also)}
            try:
                outcome = run(corpora, lexicon)
            except subprocess.SubprocessError as error:
                print(f"{name}: {aligner} failed: {reason_of(error)}", flush=True)
                rows.append([name, aligner, "failed", *[""] * (len(columns) - 4), ""])
                continue
            for item, times in outcome.times.items():
                label = item if item == name else f"{name} > {item}"
                rest = [f"{len(times)}/{len(corpora[item])}", f"{outcome.train:.1f}"]
                rest.append(f"{outcome.align[item]:.1f}")
                rows += report(columns, rows_of(item, label, aligner, times, rest))
    if quick or "--variants" in sys.argv:
        return 0
    card = machine_card(dt.datetime.now(tz=dt.UTC).date())
    with RESULTS.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"# {key}: {value}\n" for key, value in card.items())
        csv.writer(file).writerows([columns, *rows])
    return 0


if __name__ == "__main__":
    sys.exit(main())
