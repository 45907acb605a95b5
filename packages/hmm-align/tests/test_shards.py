"""A corpus dealt out to two processes, as torchrun starts them on one machine or several."""

import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hmm_align import AlignerConfig, CorpusAligner, read_json
from hmm_align._shards import Shards
from hmm_align.corpus_aligner import _trained
from hmm_models import load_tensors
from hmm_speech import Corpus, Lexicon

CONFIG = AlignerConfig(iterations=4, num_components=40, feature_transform="lda+mllt")
# The command with a training that is short.
SHORT = """
import sys
from hmm_align import AlignerConfig, _tied_training
from hmm_align.cli import app

# Of more directions than part the few states of these few words, some are chance.
_tied_training._LDA_DIM = 12
_tied_training._MIN_COUNT = 30.0
usual = AlignerConfig.at_frame_period
AlignerConfig.at_frame_period = lambda **choices: usual(
    iterations=4, num_components=40, feature_transform="lda+mllt", **choices
)
app(sys.argv[1:])
"""
# Networks trained on noise and on a corpus, by one process or by those that torchrun has started.
NETWORKS = """
import sys
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import torch

from hmm_align import AlignerConfig, CorpusAligner, _network
from hmm_align._corpus import Prepared
from hmm_align._features import FeatureStore
from hmm_align._network import NetworkTrainer, make_network
from hmm_align._shards import Shards, join_shards, leave_shards
from hmm_align.corpus_aligner import _trained
from hmm_models import save_tensors
from hmm_speech import Lexicon, read_corpus

_network._FEWEST_UPDATES = 20
folder, out = map(Path, sys.argv[1:])
shards = Shards(join_shards())
config = AlignerConfig(
    acoustic="neural", iterations=2, num_components=40, network_channels=16, network_epochs=3
)


def keep(name, tensors):
    save_tensors(out / f"{name}.{shards.rank}of{shards.number}.safetensors", tensors, {})


def train_on_noise(name, mine):
    chance = torch.Generator().manual_seed(0)
    noise = {f"u{length}": torch.randn(length, 2, generator=chance) for length in (650, 700, 900, 1010)}
    with closing(FeatureStore(out / f"{name}{shards.rank}", 2)) as store:
        numbers = {id: store.append(noise[id], "anna") for id in mine(sorted(noise))}
        store.share_speakers(shards)
        trainer = NetworkTrainer(
            make_network(2, 24, 2),
            [Prepared(id, (), (), number, len(noise[id]), 1.0) for id, number in numbers.items()],
            store,
            {number: (noise[id][:, 0].roll(3) > 0).short() for id, number in numbers.items()},
            config,
            shards,
        )
        losses = torch.tensor([trainer.step() for _ in range(5)])
    keep(name, trainer.network.state_dict() | trainer.to_tensors() | {"losses": losses})


def train(name, **choices):
    corpus = read_corpus(folder)
    corpus = replace(corpus, utterances=corpus.utterances[:11])
    aligner = CorpusAligner.train(
        corpus,
        lexicon=Lexicon.load(out / "own.dict"),
        config=config,
        distributed=shards.number > 1,
        **choices,
    )
    ends = [phone.end for found in aligner.align(corpus) for phone in found.phones]
    keep(name, _trained(aligner).to_tensors() | {"ends": torch.tensor(ends)})
    if name == "whole":
        others = read_corpus(folder)
        others = replace(others, utterances=others.utterances[11:20])
        keep("adapted", _trained(aligner.adapt(others, distributed=shards.number > 1)).to_tensors())


class Stopped(Exception):
    pass


def stop(stage, done, _total):
    if (stage, done) == ("training the network", 3):
        raise Stopped


train_on_noise("dealt", shards.share)
train_on_noise("first", lambda ids: ids if shards.rank == 0 else [])
train("whole")
workdir = out / f"work{shards.number}"
with suppress(Stopped):
    train("stopped", workdir=workdir, progress=stop)
assert (workdir / "training.safetensors").exists()
train("resumed", workdir=workdir)
leave_shards()
"""
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def test_two_processes_train_and_align_what_one_does(
    corpus: Corpus, lexicon: Lexicon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hmm_align._tied_training._LDA_DIM", 12)
    monkeypatch.setattr("hmm_align._tied_training._MIN_COUNT", 30.0)
    folder = tmp_path / "corpus"
    folder.mkdir()
    some = replace(corpus, utterances=corpus.utterances[:11])
    for item in some:
        (folder / item.audio.name).symlink_to(item.audio)
        (folder / f"{item.id}.txt").write_text(item.text)
    (folder / "bad.wav").touch()
    (folder / "bad.txt").write_text("see")
    lexicon.save(tmp_path / "own.dict")
    (tmp_path / "short.py").write_text(SHORT)
    out = tmp_path / "out"
    command = ["corpus", str(folder), str(out), "--lexicon", str(tmp_path / "own.dict"), "--threads", "1"]
    result = subprocess.run(
        [*LAUNCH, str(tmp_path / "short.py"), *command], check=False, capture_output=True, text=True
    )
    assert "problem: bad: " in result.stderr, result.stderr
    assert result.stderr.count("problem: bad: ") == 1
    assert "aligned 11 of 12 utterances" in result.stdout
    assert not [path for path in out.iterdir() if path.is_dir() or path.name.startswith(".")]

    alone = CorpusAligner.train(
        corpus.__class__(folder, corpus.utterances[:11]), lexicon=lexicon, config=CONFIG
    )
    expected, trained = _trained(alone).to_tensors(), load_tensors(out / "model.safetensors")[0]
    for name, value in expected.items():
        # Sums of shares are rounded otherwise than sums of everything; a transform that is searched for makes
        # more of it.
        tolerance = 1e-4 if name.startswith("tied.") else 1e-6
        torch.testing.assert_close(trained[name], value, rtol=tolerance, atol=tolerance)
    assert trained["tied.mean"].shape[0] > trained["mixtures.mean"].shape[0]
    together = CorpusAligner.load(out / "model.safetensors").training_report
    assert together.num_utterances == alone.training_report.num_utterances == 11
    assert together.log_likelihood_per_frame == pytest.approx(alone.training_report.log_likelihood_per_frame)
    for wanted in alone.align(some):
        found = read_json(out / f"{wanted.id}.json")
        assert [phone.label for phone in found.phones] == [phone.label for phone in wanted.phones]
        # Likewise, and files keep microseconds.
        assert [phone.end for phone in found.phones] == pytest.approx(
            [phone.end for phone in wanted.phones], abs=2e-5
        )
    rows = (out / "utterances.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == [
        "id",
        "bad",
        *(item.id for item in corpus.utterances[:11]),
    ]


def test_one_process_is_all_there_is() -> None:
    alone = Shards()
    assert alone.share([1, 2, 3]) == [1, 2, 3]
    assert alone.gather("a") == ["a"]
    with pytest.raises(RuntimeError, match=r"torch\.distributed must be initialised"):
        Shards(distributed=True)


@pytest.fixture(scope="module")
def networks(
    corpus: Corpus, lexicon: Lexicon, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], list[dict[str, torch.Tensor]]]:
    """Return a function that loads what one process has trained, and what each of two has."""
    out = tmp_path_factory.mktemp("networks")
    lexicon.save(out / "own.dict")
    (out / "networks.py").write_text(NETWORKS)
    script = [str(out / "networks.py"), str(corpus.root), str(out)]
    result = subprocess.run([*LAUNCH, *script], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", script)
        patch.setattr("hmm_align._network._FEWEST_UPDATES", 20)  # as the script does: for the time of it
        runpy.run_path(script[0])
    return lambda name: [
        load_tensors(out / f"{name}.{rank}of{number}.safetensors")[0]
        for rank, number in ((0, 1), (0, 2), (1, 2))
    ]


@pytest.mark.parametrize("name", ["dealt", "first", "whole", "resumed", "adapted"])
def test_two_processes_train_the_network_that_one_does(
    networks: Callable[[str], list[dict[str, torch.Tensor]]], name: str
) -> None:
    alone, first, second = networks(name)
    assert_same(first, second)
    assert first.keys() == alone.keys()
    for key, value in alone.items():
        # Sums of shares are rounded otherwise than sums of everything, and Adam makes steps of even the
        # smallest gradients: an initial weight that is 1e-7 off does as much. What is wrong does far more.
        tolerance = 1e-4 if key == "ends" else 1e-3
        torch.testing.assert_close(first[key], value, rtol=tolerance, atol=tolerance)


def test_a_training_in_shards_that_was_interrupted_ends_as_if_it_had_not_been(
    networks: Callable[[str], list[dict[str, torch.Tensor]]],
) -> None:
    for whole, resumed in zip(networks("whole"), networks("resumed"), strict=True):
        assert_same(resumed, whole)


def assert_same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    """Compare tensors bit by bit."""
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name
