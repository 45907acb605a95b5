"""A corpus dealt out to two processes, as torchrun starts them on one machine or several."""

import subprocess
import sys
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
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = ["corpus", str(folder), str(out), "--lexicon", str(tmp_path / "own.dict"), "--threads", "1"]
    result = subprocess.run(
        [*launch, str(tmp_path / "short.py"), *command], check=False, capture_output=True, text=True
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


def test_a_network_is_not_trained_in_shards(corpus: Corpus, lexicon: Lexicon, tmp_path: Path) -> None:
    here = (tmp_path / "here").as_uri()
    torch.distributed.init_process_group("gloo", init_method=here, rank=0, world_size=1)
    try:
        with pytest.raises(ValueError, match='acoustic must not be "neural" where training is distributed'):
            CorpusAligner.train(
                corpus, lexicon=lexicon, config=AlignerConfig(acoustic="neural"), distributed=True
            )
    finally:
        torch.distributed.destroy_process_group()
