"""The command line: what it reads, writes, says and returns."""

import csv
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

import hmm_align._commands as commands
from hmm_align import (
    AlignedInterval,
    AlignerConfig,
    Alignment,
    CorpusAligner,
    Tiers,
    read_json,
    write_textgrid,
)
from hmm_align.cli import LANGUAGES as OFFERED
from hmm_align.cli import app, main
from hmm_models import ModelFileError, load_tensors, save_tensors
from hmm_speech import LANGUAGES, Corpus, Lexicon, load_audio, read_corpus

TEXT = ("masa see zoom ash", "either of hem shoozy", "see hem masa zoom", "ash of shoozy see")
HINT = "words without a pronunciation: give it with --lexicon, or guess with --g2p"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trainings be short."""
    usual = AlignerConfig.at_frame_period

    def config(frame_period: float, **choices: Any) -> AlignerConfig:
        return usual(frame_period, **({"iterations": 4, "num_components": 40} | choices))

    monkeypatch.setattr(AlignerConfig, "at_frame_period", config)


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory, lexicon: Lexicon) -> Path:
    """Return the file of the made-up language's pronunciations."""
    path = tmp_path_factory.mktemp("lexicon") / "own.dict"
    lexicon.save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path, say: Callable[..., Tiers]) -> Path:
    """Return a corpus of four recordings."""
    folder = tmp_path / "corpus"
    for number, text in enumerate(TEXT):
        said = [None, *((word, 0) for word in text.split()), None]
        say(folder, f"clip{number}", said, seed=number)
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, aligner: CorpusAligner) -> Path:
    """Return a trained model."""
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    aligner.save(path)
    return path


def hmm_align(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_corpus_trains_aligns_and_writes_everything(folder: Path, tmp_path: Path, own: Path) -> None:
    result = hmm_align("corpus", folder, tmp_path / "out", "--lexicon", own)
    assert result.exit_code == 0, result.output
    clips = {f"clip{number}.{suffix}" for number in range(4) for suffix in ("TextGrid", "json")}
    tables = {"alignments.csv", "problems.csv", "utterances.csv"}
    assert files(tmp_path / "out") == {*clips, *tables, "model.safetensors"}
    assert (tmp_path / "out" / "problems.csv").read_text() == "id,reason\n"
    assert "trained on 4 utterances" in result.stdout
    assert "aligned 4 of 4 utterances" in result.stdout
    assert "training" in result.stderr  # the progress bar
    words = [word.label for word in read_json(tmp_path / "out" / "clip0.json").words if word.label]
    assert words == TEXT[0].split()


def test_train_and_run_are_the_two_halves_of_corpus(folder: Path, tmp_path: Path, own: Path) -> None:
    model = tmp_path / "models" / "m.safetensors"
    assert hmm_align("train", folder, model, "--lexicon", own).exit_code == 0
    assert files(model.parent) == {"m.safetensors"}
    formats = ["--format", "textgrid", "--format", "csv"]
    result = hmm_align("run", folder, model, tmp_path / "out", *formats, "--quiet")
    assert result.exit_code == 0, result.output
    assert result.output == ""
    grids = {f"clip{number}.TextGrid" for number in range(4)}
    assert files(tmp_path / "out") == {*grids, "alignments.csv", "problems.csv", "utterances.csv"}


def test_options_reach_the_aligner(
    folder: Path, tmp_path: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", used.append)
    options = ["--lexicon", own, "--no-english", "--frame-period", 0.005, "--threads", 2, "--quiet"]
    options += ["--acoustic", "neural", "--set", "network_epochs=1", "--set", "silence_prob=0.3"]
    options += ["--set", "network_channels=8"]
    result = hmm_align("train", folder, tmp_path / "m", *options)
    assert (result.exit_code, result.output, used[:1]) == (0, "", [2])
    trained = CorpusAligner.load(tmp_path / "m")
    assert (trained.config.frame_period, trained.config.states_per_phone) == (0.005, 6)
    assert trained.config.acoustic == "neural"
    assert (trained.config.network_epochs, trained.config.silence_prob) == (1, 0.3)
    assert dict(trained.lexicon) == dict(Lexicon.load(own))


def test_pronunciations_of_a_file_win_over_the_dictionary(folder: Path, tmp_path: Path, own: Path) -> None:
    assert hmm_align("train", folder, tmp_path / "m", "--lexicon", own).exit_code == 0
    lexicon = CorpusAligner.load(tmp_path / "m").lexicon
    assert lexicon.pronounce("of") == (("UW",),)
    assert lexicon.pronounce("aardvark") == Lexicon.english().pronounce("aardvark")


def test_phones_of_another_language_stand_alone(folder: Path, tmp_path: Path, own: Path) -> None:
    strange = tmp_path / "strange.dict"
    strange.write_text(own.read_text().replace("SH", "5x") + "more Q AH1 T\n")
    result = hmm_align("train", folder, tmp_path / "m", "--lexicon", strange)
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: {strange} has phones that CMUdict does not have: 5x Q; "
        "to use its pronunciations alone, add --no-english\n"
    )
    result = hmm_align("train", folder, tmp_path / "m", "--lexicon", strange, "--no-english")
    assert result.exit_code == 0, result.output
    assert "5x" in CorpusAligner.load(tmp_path / "m").phones


class Speller:
    """Stands in for the guesser of pronunciations: every word is said as "see"."""

    def __call__(self, word: str) -> tuple[str, ...]:
        return ("S", "IY") if word == "snark" else ()


@pytest.mark.parametrize("command", ["train", "corpus", "run"])
def test_unknown_words_are_guessed_only_if_asked_for(
    folder: Path, tmp_path: Path, own: Path, model: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "EnglishG2P", Speller)
    (folder / "clip2.txt").write_text("snark hem masa zoom")
    out = tmp_path / "out"
    arguments = {
        "train": ["train", folder, tmp_path / "m", "--lexicon", own],
        "corpus": ["corpus", folder, out, "--lexicon", own],
        "run": ["run", folder, model, out],
    }[command]
    result = hmm_align(*arguments)
    assert result.exit_code == 1
    *_, problem, hint = result.stderr.splitlines()
    assert problem == "problem: clip2: no pronunciation for the word 'snark'"
    assert hint == HINT
    result = hmm_align(*arguments, "--g2p")
    assert result.exit_code == 0, result.output
    if command == "corpus":
        again = hmm_align("run", folder, out / "model.safetensors", tmp_path / "again")
        assert again.exit_code == 1  # a guesser is code, and in no file


def test_run_takes_more_words(folder: Path, tmp_path: Path, model: Path) -> None:
    (folder / "clip2.txt").write_text("snark hem masa zoom")
    (tmp_path / "more.dict").write_text("snark S IY\n")
    result = hmm_align("run", folder, model, tmp_path / "out", "--lexicon", tmp_path / "more.dict")
    assert result.exit_code == 0, result.output
    assert "snark" in [word.label for word in read_json(tmp_path / "out" / "clip2.json").words]


def test_run_adapts_the_model_first(folder: Path, tmp_path: Path, model: Path) -> None:
    plain, adapted = tmp_path / "plain", tmp_path / "adapted"
    assert hmm_align("run", folder, model, plain).exit_code == 0
    result = hmm_align("run", folder, model, adapted, "--adapt")
    assert result.exit_code == 0, result.output
    aligner, corpus = CorpusAligner.load(model), read_corpus(folder)
    for item in aligner.adapt(corpus).align(corpus):
        written = read_json(adapted / f"{item.id}.json")
        assert [word.end for word in written.words] == pytest.approx([word.end for word in item.words])
        assert written != read_json(plain / f"{item.id}.json")
    assert not list(adapted.glob(".*"))


def test_a_folder_with_every_fault_is_aligned_but_for_them(
    folder: Path, tmp_path: Path, own: Path, say: Callable[..., Tiers], write_wav: Callable[..., None]
) -> None:
    (folder / "corrupt.wav").write_bytes(bytes(range(256)))
    (folder / "corrupt.txt").write_text("see")
    say(folder, "empty", [("see", 0)], text=" \n")
    write_wav(folder / "short.wav", np.random.default_rng(0).normal(0.0, 0.1, 3200))
    (folder / "short.txt").write_text("see zoom hem ash masa see zoom hem ash masa")
    say(folder, "unknown", [("see", 0)], text="see snark")
    write_wav(folder / "silent.wav", np.zeros(16_000))
    (folder / "silent.txt").write_text("see zoom")
    (folder / "deaf.txt").write_text("see")
    out = tmp_path / "out"
    result = hmm_align("corpus", folder, out, "--lexicon", own)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    said = [line for line in result.stderr.splitlines() if line.startswith("problem: ")]
    for line, (name, reason) in zip(
        said,
        {
            "corrupt": "corrupt.wav",
            "deaf": "no recording beside deaf.txt",
            "empty": "empty transcript (empty.txt)",
            "short": "the transcript needs 0.830 s or more; the recording has 0.200 s",
            "silent": "the recording is silent: its peak is digital zero",
            "unknown": "no pronunciation for the word 'snark'",
        }.items(),
        strict=True,
    ):
        assert line.startswith(f"problem: {name}: ")
        assert reason in line
    assert result.stderr.splitlines()[-1] == HINT
    assert "aligned 4 of 10 utterances" in result.stdout
    assert {f"clip{number}.TextGrid" for number in range(4)} <= files(out)
    header, *rows = (out / "problems.csv").read_text().splitlines()
    assert header == "id,reason"
    assert len(rows) == 6


def interrupted(after: int) -> Callable[..., Any]:
    """Return a stand-in for the training that Ctrl-C meets after some iterations."""
    real = CorpusAligner.train

    def train(corpus: Corpus, **options: Any) -> CorpusAligner:
        def progress(stage: str, done: int, _total: int) -> None:
            if stage == "training" and done > after:
                raise KeyboardInterrupt

        return real(corpus, **options | {"progress": progress})

    return train


def test_an_interrupted_training_is_kept_and_continued(
    folder: Path, tmp_path: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["train", folder, tmp_path / "m", "--lexicon", own]
    assert hmm_align(*command).exit_code == 0
    whole, _ = load_tensors(tmp_path / "m")
    (tmp_path / "m").unlink()
    left = tmp_path / "m.training"
    with monkeypatch.context() as patch:
        patch.setattr(CorpusAligner, "train", interrupted(2))
        result = hmm_align(*command)
    assert result.exit_code == 130
    assert f"interrupted: the same command continues from {left}" in result.stderr
    assert left.is_dir()
    assert not (tmp_path / "m").exists()
    result = hmm_align(*command)
    assert result.exit_code == 0, result.output
    again, _ = load_tensors(tmp_path / "m")
    assert again.keys() == whole.keys()
    assert all(torch.equal(value, whole[name]) for name, value in again.items())
    assert not left.exists()


def test_an_interruption_before_the_first_iteration_keeps_what_was_read(
    folder: Path, tmp_path: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(CorpusAligner, "train", interrupted(0))
        result = hmm_align("train", folder, tmp_path / "m", "--lexicon", own)
    assert result.exit_code == 130
    assert "interrupted" in result.stderr
    assert files(tmp_path / "m.training") == {"features.f32", "features.jsonl"}
    with monkeypatch.context() as patch:
        patch.setattr("hmm_align._corpus.load_audio", None)
        assert hmm_align("train", folder, tmp_path / "m", "--lexicon", own).exit_code == 0
    assert not (tmp_path / "m.training").exists()


def test_a_stale_checkpoint_names_the_cure(
    folder: Path, tmp_path: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["train", folder, tmp_path / "m", "--lexicon", own, "--quiet"]
    with monkeypatch.context() as patch:
        patch.setattr(CorpusAligner, "train", interrupted(2))
        hmm_align(*command)
    (folder / "clip2.txt").write_text("see hem")
    result = hmm_align(*command)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path / 'm.training'}")
    assert line.endswith("--fresh starts the training anew")
    assert hmm_align(*command, "--fresh").exit_code == 0
    assert not (tmp_path / "m.training").exists()


@pytest.mark.parametrize("command", ["train", "run", "corpus"])
def test_two_runs_never_write_to_one_place(
    folder: Path, tmp_path: Path, own: Path, model: Path, command: str
) -> None:
    out = tmp_path / "out"
    name = "m" if command == "train" else "alignments"
    arguments = {
        "train": ["train", folder, out / "m", "--lexicon", own],
        "run": ["run", folder, model, out],
        "corpus": ["corpus", folder, out, "--lexicon", own],
    }[command]
    with commands.Session(quiet=True, threads=0) as other:
        other.reserve(out, name)
        result = hmm_align(*arguments, "--quiet")
        assert result.exit_code == 2
        assert result.stderr == (
            f"error: another run is writing {name} in {out}: let it end, or write elsewhere\n"
        )
        assert files(out) == {f".{name}.lock"}
    assert hmm_align(*arguments, "--quiet").exit_code == 0
    assert not [name for name in files(out) if "lock" in name]


def test_a_lock_of_a_process_that_died_is_none(folder: Path, tmp_path: Path, model: Path) -> None:
    out = tmp_path / "out"
    code = (
        "import os, pathlib, signal; from hmm_align._commands import Session; "
        f"Session(True, 0).reserve(pathlib.Path({str(out)!r}), 'alignments'); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert files(out) == {".alignments.lock"}
    assert hmm_align("run", folder, model, out, "--quiet").exit_code == 0


def test_names_that_no_file_can_have_are_problems_before_the_work(
    folder: Path, tmp_path: Path, model: Path
) -> None:
    long = "x" * 230
    for name in ("a:b", "a\\b", long):
        (folder / f"{name}.wav").write_bytes((folder / "clip1.wav").read_bytes())
        (folder / f"{name}.txt").write_text(TEXT[1])
    result = hmm_align("run", folder, model, tmp_path / "out")
    assert result.exit_code == 1
    plain = "id must be a relative path of plain names joined by '/'; got"
    assert result.stderr.splitlines()[-3:] == [
        f"problem: a:b: {plain} 'a:b'",
        f"problem: a\\b: {plain} 'a\\\\b'",
        f"problem: {long}: id must be names of 200 bytes or fewer; got 230",
    ]
    assert "aligned 4 of 7 utterances" in result.stdout


def test_a_transcript_that_is_not_trusted_shows_what_is_wrong_with_it(
    folder: Path, tmp_path: Path, model: Path
) -> None:
    (folder / "clip0.txt").write_text("masa see shoozy ash")
    (folder / "clip1.txt").write_text("either of shoozy")
    out = tmp_path / "out"
    result = hmm_align("run", folder, model, out, "--loose")
    assert result.exit_code == 0, result.output
    assert [word.label for word in read_json(out / "clip0.json").skipped] == ["shoozy"]
    for name in ("clip0", "clip1"):
        assert [word.label for word in read_json(out / f"{name}.json").words].count("<unk>") == 1
    with (out / "utterances.csv").open(newline="") as file:
        signs = {row["id"]: row["signs"] for row in csv.DictReader(file)}
    assert "no word explains the speech at" in signs["clip1"]
    assert "word 'shoozy' is not heard at" in signs["clip0"]
    assert signs["clip2"] == signs["clip3"] == ""
    assert "2 look suspicious" in result.stdout


def test_evaluate_prints_the_table_and_what_is_missing(folder: Path, tmp_path: Path, model: Path) -> None:
    hmm_align("run", folder, model, tmp_path / "out")
    found = read_json(tmp_path / "out" / "clip0.json")
    write_textgrid(found, tmp_path / "reference" / "clip0.TextGrid")
    tier = (AlignedInterval(0.0, 0.5, "a", 1.0),)
    write_textgrid(Alignment("other", 0.5, tier, tier), tmp_path / "reference" / "other.TextGrid")
    result = hmm_align("evaluate", tmp_path / "out", tmp_path / "reference")
    assert result.exit_code == 0, result.output
    assert "within 20 ms" in result.stdout
    assert "within their intervals" not in result.stdout
    assert result.stderr.splitlines() == [
        "not aligned: other", *(f"no reference: clip{number}" for number in (1, 2, 3)),
    ]  # fmt: skip


def test_evaluate_draws_how_reliable_uncertainties_are(folder: Path, tmp_path: Path, model: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra hmm-align[plot] is not installed")
    out, picture = tmp_path / "out", tmp_path / "picture.svg"
    hmm_align("run", folder, model, out)
    result = hmm_align("evaluate", out, out, "--reliability", picture)
    assert result.exit_code == 0, result.output
    # Nothing is as near as the same.
    assert "100% of those of 10%" in " ".join(result.stdout.split())
    assert "</svg>" in picture.read_text()


@pytest.fixture(
    params=[
        "no corpus", "no model", "bad lexicon", "no lexicon", "more lexicon", "bad reference", "no g2p",
        "no g2p run", "no place", "no use", "no picture",
    ]
)  # fmt: skip
def mendable(  # noqa: C901 - a list of cases
    request: pytest.FixtureRequest, folder: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[list[object], str]]:
    """Arguments with a fault in what they name, and a part of the answer."""
    bad, empty = tmp_path / "bad", tmp_path / "empty"
    bad.write_text("word\n")
    empty.mkdir()
    monkeypatch.setattr(commands, "EnglishG2P", missing_extra)
    no_phones = f"{bad}:1: the word 'word' has no phones"
    match request.param:
        case "no corpus":
            yield ["train", empty, tmp_path / "m"], str(empty)
        case "no model":
            yield ["run", folder, bad, tmp_path / "out"], str(bad)
        case "bad lexicon":
            yield ["train", folder, tmp_path / "m", "--lexicon", bad], no_phones
        case "more lexicon":
            yield ["run", folder, model, tmp_path / "out", "--lexicon", bad], no_phones
        case "no lexicon":
            yield ["corpus", folder, tmp_path / "m", "--no-english"], "--no-english needs --lexicon"
        case "bad reference":
            hmm_align("run", folder, model, tmp_path / "out")
            (empty / "clip0.lab").write_text("a\n")
            yield ["evaluate", tmp_path / "out", empty], "clip0.lab: must hold lines"
        case "no picture":
            yield (
                ["evaluate", folder, folder, "--reliability", tmp_path / "a.doc"],
                "must end with .svg, .png",
            )
        case "no g2p":
            yield ["train", folder, tmp_path / "m", "--g2p"], "hmm-speech[g2p]"
        case "no g2p run":
            yield ["run", folder, model, tmp_path / "out", "--g2p"], "hmm-speech[g2p]"
        case "no place":
            yield ["train", folder, bad / "m"], "File exists: '"
        case "no use":
            for path in folder.glob("*.wav"):
                path.write_bytes(b"")
            yield (
                ["corpus", folder, tmp_path / "out", "--quiet"],
                "no utterance can be trained on (4 problems",
            )


def missing_extra() -> None:
    raise ImportError('pip install "hmm-speech[g2p]"')


def test_an_error_of_the_user_is_one_line_and_status_two(mendable: tuple[list[object], str]) -> None:
    arguments, expected = mendable
    result = hmm_align(*arguments)
    assert result.exit_code == 2
    (line,) = [line for line in result.stderr.splitlines() if "━" not in line]
    assert line.startswith("error: ")
    assert expected in line
    assert not [name for name in files(Path(str(arguments[2]))) if "training" in name]


def test_a_corpus_of_problems_alone_names_them_and_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "one.txt").write_text("no sound\n")
    result = hmm_align("corpus", tmp_path / "corpus", tmp_path / "out")
    assert result.exit_code == 2
    problem, error = result.stderr.splitlines()
    assert problem.startswith("problem: one: ")
    assert error.startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_a_fault_of_ours_keeps_its_traceback(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CorpusAligner, "train", lambda *_, **__: 1 / 0)
    assert isinstance(hmm_align("train", folder, tmp_path / "m").exception, ZeroDivisionError)


@pytest.mark.parametrize(
    "arguments",
    [
        ["corpus", "absent", "out"],
        ["corpus", ".", "out", "--format", "srt"],
        ["train", ".", "m", "--frame-period", "0"],
        ["train", ".", "m", "--seed", "1"],
        ["run", "."],
        ["unknown"],
    ],
)
def test_a_wrong_call_is_status_two(arguments: list[str]) -> None:
    assert hmm_align(*arguments).exit_code == 2


def test_what_is_no_model_is_an_error_of_the_user(folder: Path, tmp_path: Path) -> None:
    assert issubclass(ModelFileError, commands.MENDABLE)
    save_tensors(tmp_path / "other", {}, {"kind": "another"})
    result = hmm_align("run", folder, tmp_path / "other", tmp_path / "out")
    assert result.exit_code == 2
    assert "must hold a hmm_align.CorpusAligner; got 'another'" in result.stderr


def test_help_is_there_before_torch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import hmm_align.cli, sys; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    monkeypatch.setattr(sys, "argv", ["hmm-align", "--help"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert "evaluate" in capsys.readouterr().out


def test_a_report_shows_what_was_aligned_and_what_was_not(folder: Path, tmp_path: Path, model: Path) -> None:
    (folder / "clip2.txt").write_text("snark hem masa zoom")
    (folder / "empty.wav").write_bytes((folder / "clip1.wav").read_bytes())
    (folder / "empty.txt").write_text(" ")
    out = tmp_path / "out"
    assert hmm_align("run", folder, model, out).exit_code == 1
    with (out / "utterances.csv").open(newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert {name: row["ok"] for name, row in rows.items()} == {
        "clip0": "True",
        "clip1": "True",
        "clip2": "False",
        "clip3": "True",
        "empty": "False",
    }
    assert rows["clip0"]["audio"] == str((folder / "clip0.wav").resolve())
    assert rows["clip2"]["signs"] == "no pronunciation for the word 'snark'"
    assert 0.5 < float(rows["clip0"]["coverage"]) < 1.0
    result = hmm_align("report", out)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"5 utterances, 2 failed, 0 suspicious: {out / 'report.html'}\n"
    page = (out / "report.html").read_text()
    assert page.count('id="sound-') == 4  # clip2's too, which has no times; empty has no usable recording


def test_a_report_finds_recordings_that_were_moved(folder: Path, tmp_path: Path, model: Path) -> None:
    assert hmm_align("run", folder, model, tmp_path / "out", "--quiet").exit_code == 0
    folder.rename(tmp_path / "moved")
    page = tmp_path / "page.html"
    result = hmm_align("report", tmp_path / "out", "--html", page, "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    assert page.read_text().count('id="sound-') == 0
    result = hmm_align("report", tmp_path / "out", "--html", page, "--recordings", tmp_path / "moved")
    assert result.exit_code == 0, result.output
    assert page.read_text().count('id="sound-') == 4


def test_a_report_of_nothing_says_what_is_missing(folder: Path, tmp_path: Path, model: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    result = hmm_align("report", out)
    assert (result.exit_code, "utterances.csv" in result.stderr) == (2, True)
    (out / "utterances.csv").write_text("id,name\n1,2\n")
    result = hmm_align("report", out)
    assert result.exit_code == 2
    assert "utterances.csv: must have the columns id, audio, ok" in result.stderr
    assert hmm_align("run", folder, model, out, "--format", "csv", "--quiet").exit_code == 0
    result = hmm_align("report", out)
    assert (result.exit_code, "clip0.json" in result.stderr) == (2, True)
    assert not (out / "report.html").exists()


def test_the_languages_offered_are_those_that_can_be_read() -> None:
    assert OFFERED == LANGUAGES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--language", "fr"], "fr is not one of en, ko, ko-jamo, ja, cmn"),
        (["--language", "ko", "--g2p"], "--g2p guesses English words; the language is ko"),
    ],
)
def test_a_language_is_checked_before_the_work(
    folder: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    result = hmm_align("train", folder, tmp_path / "m", *options)
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())


def test_another_language_is_trained_kept_and_aligned(folder: Path, tmp_path: Path) -> None:
    for number, text in enumerate(("마사 시 줌", "시 헴 마사", "아시 슈지", "줌 아시")):
        (folder / f"clip{number}.txt").write_text(text, encoding="utf-8")
    own = tmp_path / "own.dict"
    own.write_text("헴\th e m\n", encoding="utf-8")
    result = hmm_align("train", folder, tmp_path / "m", "--language", "ko", "--lexicon", own)
    assert result.exit_code == 0, result.output
    result = hmm_align("run", folder, tmp_path / "m", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = read_json(tmp_path / "out" / "clip1.json")
    assert [phone.label for phone in found.phones if phone.label] == list("sihemmasa")

    own.write_text("헴\tHH e m\n", encoding="utf-8")
    result = hmm_align("train", folder, tmp_path / "m", "--language", "ko", "--lexicon", own)
    assert "has phones that the language ko does not have: HH" in result.output


def test_one_recording_is_aligned_with_a_model_that_was_trained_elsewhere(
    folder: Path, tmp_path: Path, own: Path, sphinx_folder: Path
) -> None:
    recording = min(folder.glob("*.wav"))
    model = f"sphinx:{sphinx_folder}"
    out = tmp_path / "beside"
    assert hmm_align("run", recording, model, out, "--lexicon", own).exit_code == 0
    assert sorted(path.name for path in out.glob("*.json")) == [f"{recording.stem}.json"]
    expected = [word.label for word in read_json(out / f"{recording.stem}.json").words if word.label]
    assert expected == recording.with_suffix(".txt").read_text(encoding="utf-8").split()
    out = tmp_path / "given"
    result = hmm_align("run", recording, model, out, "--lexicon", own, "--text", " ".join(expected))
    assert result.exit_code == 0
    assert read_json(out / f"{recording.stem}.json") == read_json(
        tmp_path / "beside" / f"{recording.stem}.json"
    )
    result = hmm_align("run", folder, model, tmp_path / "third", "--lexicon", own, "--adapt")
    assert result.exit_code == 2
    assert "--adapt: the model must be one that this package has trained" in result.output
    result = hmm_align("run", folder, model, out, "--text", "masa")
    assert result.exit_code == 2
    assert "--text is what is said in one recording" in result.output


def test_layouts_are_folders_of_their_own(folder: Path, tmp_path: Path, own: Path, model: Path) -> None:
    out = tmp_path / "out"
    layouts = ("--format", "mfa", "--format", "fastspeech2", "--mel-rate", 16000, "--hop-length", 200)
    assert hmm_align("run", folder, model, out, "--lexicon", own, *layouts).exit_code == 0
    found = files(out)
    assert "mfa/corpus/clip0.TextGrid" in found
    assert "fastspeech2/train.txt" in found
    assert "clip0.json" not in found
    durations = np.load(out / "fastspeech2" / "duration" / "corpus-duration-clip0.npy")
    assert durations.sum() == 1 + len(load_audio(folder / "clip0.wav").waveform) // 200
    result = hmm_align("run", folder, model, out, "--format", "htk")
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--acoustic", "loud"], "loud is not one of monophone, triphone,"),
        (["--set", "loud=1"], "--set must name one of acoustic, sample_rate,"),
        (["--set", "iterations=many"], "--set iterations must be of type int; got 'many'"),
        (["--set", "silence_prob=2"], "silence_prob must lie in (0, 1); got 2.0"),
    ],
)
def test_a_wrong_choice_is_named_before_the_work(
    folder: Path, tmp_path: Path, options: list[str], reason: str
) -> None:
    result = hmm_align("train", folder, tmp_path / "m", *options)
    assert result.exit_code == 2
    assert reason in " ".join(result.output.split())
