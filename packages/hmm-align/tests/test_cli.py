"""The command line, with a stand-in for the aligner: what it reads, writes, says and returns."""

import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import hmm_align._commands as commands
from hmm_align import AlignedInterval, AlignerConfig, Alignment, TrainingReport, write_textgrid
from hmm_align.cli import app, main
from hmm_models import ModelFileError, load_tensors, save_tensors
from hmm_speech import Corpus, Problem


class StandIn:
    """Answers as the aligner does, without listening: utterances whose text holds "fail" have no times."""

    calls: dict[str, Any]

    def __init__(self, problems: tuple[Problem, ...] = ()) -> None:
        self.training_report = TrainingReport((-60.0,), 1, 0.1, problems)

    @classmethod
    def train(
        cls, corpus: Corpus, *, progress: Callable[[str, int, int], None] | None, **options: Any
    ) -> "StandIn":
        cls.calls = options
        if progress is not None:
            progress("train", 1, 2)
            progress("train", 2, 2)
        return cls(tuple(Problem(item.id, "cannot be used") for item in corpus if "fail" in item.text))

    def save(self, path: Path) -> None:
        save_tensors(path, {}, {"kind": "stand-in"})

    @classmethod
    def load(cls, path: Path) -> "StandIn":
        load_tensors(path)
        return cls()

    def align(self, corpus: Corpus, *, progress: Callable[[str, int, int], None] | None) -> list[Alignment]:
        if progress is not None:
            progress("align", len(corpus), len(corpus))
        tier = (AlignedInterval(0.0, 0.5, "a", 1.0),)
        return [
            Alignment.failure(item.id, "cannot be used")
            if "fail" in item.text
            else Alignment(item.id, 0.5, tier, tier)
            for item in corpus
        ]


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "CorpusAligner", StandIn)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name in ("one", "two"):
        with wave.open(str(folder / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", "not compressed"))
            file.writeframes(bytes(16_000))
        (folder / f"{name}.txt").write_text("a\n")
    return folder


def hmm_align(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_corpus_trains_aligns_and_writes_everything(corpus: Path, tmp_path: Path) -> None:
    result = hmm_align("corpus", corpus, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert files(tmp_path / "out") == {
        "one.TextGrid", "one.json", "two.TextGrid", "two.json", "alignments.csv", "problems.csv",
        "model.safetensors",
    }  # fmt: skip
    assert (tmp_path / "out" / "problems.csv").read_text() == "id,reason\n"
    assert "aligned 2 of 2 utterances" in result.stdout
    assert "train" in result.stderr  # the progress bar


def test_train_and_run_are_the_two_halves_of_corpus(corpus: Path, tmp_path: Path) -> None:
    model = tmp_path / "models" / "m.safetensors"
    assert hmm_align("train", corpus, model).exit_code == 0
    assert files(model.parent) == {"m.safetensors"}
    result = hmm_align(
        "run", corpus, model, tmp_path / "out", "--format", "textgrid", "--format", "csv", "--quiet"
    )
    assert result.exit_code == 0, result.output
    assert result.output == ""
    assert files(tmp_path / "out") == {"one.TextGrid", "two.TextGrid", "alignments.csv", "problems.csv"}


def test_options_reach_the_aligner(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.dict").write_text("a AH0\n")
    used: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", used.append)
    options = [
        "--lexicon",
        tmp_path / "own.dict",
        "--frame-period",
        0.005,
        "--seed",
        7,
        "--threads",
        2,
        "--quiet",
    ]
    assert hmm_align("train", corpus, tmp_path / "m", *options).exit_code == 0
    calls = StandIn.calls
    assert calls["config"] == AlignerConfig(frame_period=0.005)
    assert calls["lexicon"].pronounce("a") == (("AH0",),)
    assert (calls["seed"], calls["workdir"], used) == (7, tmp_path / "m.training", [2])


def test_every_problem_is_named_and_the_rest_is_aligned(corpus: Path, tmp_path: Path) -> None:
    (corpus / "two.txt").write_text("fail\n")
    (corpus / "three.txt").write_text("no sound\n")
    result = hmm_align("corpus", corpus, tmp_path / "out")
    assert result.exit_code == 1
    assert "problem: two: cannot be used" in result.stderr
    assert "problem: three: " in result.stderr
    assert "aligned 1 of 3 utterances" in result.stdout
    header, *rows = (tmp_path / "out" / "problems.csv").read_text().splitlines()
    assert header == "id,reason"
    assert [row.split(",")[0] for row in rows] == ["three", "two"]
    assert "one.TextGrid" in files(tmp_path / "out")
    assert hmm_align("train", corpus, tmp_path / "m").exit_code == 1


def test_training_resumes_unless_told_to_start_over(corpus: Path, tmp_path: Path) -> None:
    found: list[bool] = []
    left = tmp_path / "m.training" / "state"

    class Looks(StandIn):
        @classmethod
        def train(cls, corpus: Corpus, **options: Any) -> "StandIn":
            found.append(left.exists())
            return super().train(corpus, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands, "CorpusAligner", Looks)
        for option in ("--resume", "--fresh"):
            left.parent.mkdir()
            left.touch()
            assert hmm_align("train", corpus, tmp_path / "m", option).exit_code == 0
    assert found == [True, False]
    assert not left.parent.exists()


def test_an_interrupted_training_keeps_its_work(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, workdir: Path, **__: object) -> None:
        (workdir / "state").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(StandIn, "train", interrupted)
    assert hmm_align("train", corpus, tmp_path / "m").exit_code != 0
    assert (tmp_path / "m.training" / "state").exists()


def test_evaluate_prints_the_table_and_what_is_missing(corpus: Path, tmp_path: Path) -> None:
    hmm_align("corpus", corpus, tmp_path / "out")
    tier = (AlignedInterval(0.0, 0.2, "a", 1.0), AlignedInterval(0.2, 0.5, "b", 1.0))
    for name in ("one", "other"):
        write_textgrid(Alignment(name, 0.5, tier, tier), tmp_path / "reference" / f"{name}.TextGrid")
    result = hmm_align("evaluate", tmp_path / "out", tmp_path / "reference")
    assert result.exit_code == 0, result.output
    assert "within 20 ms" in result.stdout
    assert result.stderr.splitlines() == ["not aligned: other", "no reference: two"]


@pytest.fixture(params=["no corpus", "no model", "no lexicon", "bad reference", "no g2p", "no place"])
def mendable(
    request: pytest.FixtureRequest, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[list[object], str]]:
    """Arguments with a fault in what they name, and a part of the answer."""
    bad, empty = tmp_path / "bad", tmp_path / "empty"
    bad.write_text("word\n")
    empty.mkdir()
    match request.param:
        case "no corpus":
            yield ["train", empty, tmp_path / "m"], str(empty)
        case "no model":
            yield ["run", corpus, bad, tmp_path / "out"], str(bad)
        case "no lexicon":
            yield (
                ["train", corpus, tmp_path / "m", "--lexicon", bad],
                f"{bad}:1: the word 'word' has no phones",
            )
        case "bad reference":
            hmm_align("corpus", corpus, tmp_path / "out")
            (empty / "one.lab").write_text("a\n")
            yield ["evaluate", tmp_path / "out", empty], "one.lab: must hold lines"
        case "no g2p":
            monkeypatch.setattr(commands, "EnglishG2P", missing_extra)
            yield ["train", corpus, tmp_path / "m", "--g2p"], "hmm-speech[g2p]"
        case "no place":
            yield ["train", corpus, bad / "m"], "Not a directory"


def missing_extra() -> None:
    raise ImportError('pip install "hmm-speech[g2p]"')


def test_an_error_of_the_user_is_one_line_and_status_two(mendable: tuple[list[object], str]) -> None:
    arguments, expected = mendable
    result = hmm_align(*arguments)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert expected in line


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
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StandIn, "train", lambda *_, **__: 1 / 0)
    assert isinstance(hmm_align("train", corpus, tmp_path / "m").exception, ZeroDivisionError)


@pytest.mark.parametrize(
    "arguments",
    [
        ["corpus", "absent", "out"],
        ["corpus", ".", "out", "--format", "srt"],
        ["train", ".", "m", "--frame-period", "0"],
        ["run", "."],
        ["unknown"],
    ],
)
def test_a_wrong_call_is_status_two(arguments: list[str]) -> None:
    assert hmm_align(*arguments).exit_code == 2


def test_a_model_file_error_is_an_error_of_the_user() -> None:
    assert issubclass(ModelFileError, commands.MENDABLE)


def test_help_is_there_before_torch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import hmm_align.cli, sys; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    monkeypatch.setattr(sys, "argv", ["hmm-align", "--help"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert "evaluate" in capsys.readouterr().out
