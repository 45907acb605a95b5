"""Alignment, loss and segmentation with CTC, against torch's loss, enumeration and the published code."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import ctc_loss

from hmm_align import CTCAligner


def problem(B: int, T: int, N: int, V: int, blank: int = 0, seed: int = 0) -> tuple[Tensor, ...]:
    """Logits (B, T, V) in float64, targets with repetitions and one empty, their numbers, lengths."""
    chance = torch.Generator().manual_seed(seed)
    logits = torch.randn(B, T, V, dtype=torch.float64, generator=chance)
    labels = torch.tensor([label for label in range(V) if label != blank])
    targets = labels[torch.randint(V - 1, (B, N), generator=chance)]
    target_lengths = torch.randint(1, N + 1, (B,), generator=chance)
    lengths = torch.randint(2 * N + 1, T + 1, (B,), generator=chance)
    target_lengths[0], lengths[0], target_lengths[1] = N, T, 0
    return logits, targets, target_lengths, lengths


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("zero_infinity", [False, True])
@pytest.mark.parametrize("blank", [0, 3])
def test_the_loss_and_its_gradient_are_those_of_torch(
    reduction: Any, zero_infinity: bool, blank: int
) -> None:
    logits, targets, target_lengths, lengths = problem(6, 40, 9, 7, blank)
    if zero_infinity:
        lengths[2], target_lengths[2] = 5, 9
    results = []
    for ours in (True, False):
        x = logits.clone().requires_grad_()
        log_probs = x.log_softmax(-1)
        if ours:
            aligner = CTCAligner(blank)
            aligner.align(targets, log_probs, target_lengths, lengths)
            loss = aligner.get_ctc_loss(reduction, zero_infinity=zero_infinity)
            again = aligner.loss(
                targets, log_probs, target_lengths, lengths, reduction=reduction, zero_infinity=zero_infinity
            )
            assert torch.equal(loss, again)
        else:
            loss = ctc_loss(
                log_probs.transpose(0, 1),
                targets,
                lengths,
                target_lengths,
                blank,
                reduction,
                zero_infinity,
            )
        loss.sum().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        assert x.grad is not None
        results.append((loss.detach(), x.grad))
    # Roundings of forty frames in float64; the promise is 1e-5.
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-12)


def test_in_float32_the_loss_keeps_to_the_promise() -> None:
    """Against torch in float64: its own gradient in float32 is off by five times as much."""
    logits, targets, target_lengths, lengths = problem(4, 200, 30, 40)
    results = []
    for ours in (True, False):
        x = (logits.float() if ours else logits.float().double()).requires_grad_()
        log_probs = x.log_softmax(-1)
        if ours:
            loss = CTCAligner().loss(targets, log_probs, target_lengths, lengths)
        else:
            loss = ctc_loss(log_probs.transpose(0, 1), targets, lengths, target_lengths)
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        assert x.grad is not None
        results.append((loss.detach().double(), x.grad.double()))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-5)


def test_the_gradient_is_that_of_the_formula() -> None:
    logits, targets, target_lengths, lengths = problem(3, 8, 2, 4)
    aligner = CTCAligner()
    assert torch.autograd.gradcheck(
        lambda x: aligner.loss(targets, x, target_lengths, lengths, reduction="none"),
        (logits.log_softmax(-1).requires_grad_(),),
    )


def test_labels_that_need_more_frames_have_no_path_and_an_infinite_loss() -> None:
    targets = torch.tensor([[1, 1, 2], [1, 2, 1]])
    log_probs = torch.zeros(2, 3, 3).log_softmax(-1).requires_grad_()
    aligner = CTCAligner()
    alignment = aligner.align(targets, log_probs)
    assert not alignment[0].any()
    assert alignment[1].sum() == 3
    spans = aligner.spans
    assert spans.start[0].tolist() == spans.end[0].tolist() == [-1, -1, -1]
    assert spans.score[0].tolist() == spans.confidence[0].tolist() == [0, 0, 0]
    assert spans.log_score[0] == -torch.inf
    assert aligner.get_ctc_loss("none")[0] == torch.inf
    aligner.get_ctc_loss("sum").backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    assert log_probs.grad is not None
    assert not log_probs.grad[0].any()


def test_spans_are_the_runs_of_the_best_spelling() -> None:
    logits, targets, target_lengths, _ = problem(8, 6, 2, 3, seed=3)
    log_probs = logits.log_softmax(-1)
    aligner = CTCAligner()
    alignment = aligner.align(targets, log_probs, target_lengths)
    spans = aligner.spans
    for b in range(8):
        N = int(target_lengths[b])
        wanted = targets[b, :N].tolist()
        paths = [
            path
            for path in itertools.product(range(3), repeat=6)
            if [label for label, _ in itertools.groupby(path) if label] == wanted
        ]
        each = torch.stack([log_probs[b, torch.arange(6), torch.tensor(path)].sum() for path in paths])
        best = paths[int(each.argmax())]
        torch.testing.assert_close(spans.log_score[b], each.max())
        run = [list(frames) for label, frames in itertools.groupby(range(6), best.__getitem__) if label]
        probability = torch.softmax(each, 0)
        for n, frames in enumerate(run):
            assert (int(spans.start[b, n]), int(spans.end[b, n])) == (frames[0], frames[-1] + 1)
            assert alignment[b, n].nonzero()[:, 0].tolist() == frames
            torch.testing.assert_close(spans.score[b, n], log_probs[b, frames, wanted[n]].exp().mean())
            # A path gives frame t to token n if t lies in its n-th run of a label.
            owners = [
                [
                    number
                    for number, piece in enumerate(
                        [list(f) for label, f in itertools.groupby(range(6), path.__getitem__) if label]
                    )
                    for _ in piece
                ]
                for path in paths
            ]
            frames_of = [[t for t in range(6) if path[t]] for path in paths]
            sure = torch.zeros(6, dtype=torch.float64)
            for weight, owner, where in zip(probability, owners, frames_of, strict=True):
                for number, t in zip(owner, where, strict=True):
                    sure[t] += weight * (number == n)
            torch.testing.assert_close(spans.confidence[b, n], sure[frames].mean())
        assert spans.start[b, N:].tolist() == [-1] * (2 - N)


def test_padding_is_never_read_and_the_batch_changes_nothing() -> None:
    logits, targets, target_lengths, lengths = problem(5, 30, 6, 5)
    log_probs = logits.log_softmax(-1)
    poisoned, garbled = log_probs.clone(), targets.clone()
    for b in range(5):
        poisoned[b, lengths[b] :] = torch.nan
        garbled[b, target_lengths[b] :] = -7
    aligner = CTCAligner()
    alignment = aligner.align(garbled, poisoned, target_lengths, lengths)
    spans, loss, decoded = aligner.spans, aligner.get_ctc_loss("none"), aligner.decode(4)
    for b in range(5):
        N, T = int(target_lengths[b]), int(lengths[b])
        alone = aligner.align(targets[b : b + 1, :N], log_probs[b : b + 1, :T])
        assert torch.equal(alignment[b, :N, :T], alone[0])
        for ours, other in zip(spans[:4], aligner.spans[:4], strict=True):
            assert torch.equal(ours[b, :N], other[0])
        assert torch.equal(loss[b], aligner.get_ctc_loss("none")[0])
        assert decoded[b] == aligner.decode(4)[0]
        assert not alignment[b, N:].any()
        assert not alignment[b, :, T:].any()


def test_features_are_aligned_by_their_distances() -> None:
    """Each token's frames look like it; frames between them look like a token whose turn it is not."""
    chance = torch.Generator().manual_seed(0)
    text = torch.nn.functional.one_hot(torch.tensor([[0, 1, 2, 1]]), 3).double() * 10
    audio = torch.zeros(1, 12, 3, dtype=torch.float64)
    for token, frames in enumerate(([0, 1, 8, 9], [3, 4, 5], [2, 6, 7], [10, 11])):
        audio[0, frames] = text[0, token]
    audio += torch.randn(audio.shape, generator=chance, dtype=torch.float64) * 0.1
    for blank in (0, 2, 4):
        aligner = CTCAligner(blank)
        alignment = aligner.align(text, audio)
        assert alignment.shape == (1, 4, 12)
        assert aligner.spans.start.tolist() == [[0, 3, 6, 10]]
        assert aligner.spans.end.tolist() == [[2, 6, 8, 12]]
    projected = CTCAligner(projection=torch.nn.Linear(3, 3).double())
    projected.align(text, audio)
    projected.get_ctc_loss().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    assert all(parameter.grad is not None for parameter in projected.parameters())


def test_features_of_two_kinds_are_aligned_and_padding_is_never_read() -> None:
    chance = torch.Generator().manual_seed(0)
    text, audio = torch.randn(2, 5, 8, generator=chance), torch.randn(2, 20, 6, generator=chance)
    tokens, lengths = torch.tensor([5, 3]), torch.tensor([20, 11])
    aligner = CTCAligner()
    whole = aligner.align(text[1:, :3], audio[1:, :11])
    loss = aligner.get_ctc_loss()
    text[1, 3:], audio[1, 11:] = torch.nan, torch.nan
    alignment = aligner.align(text, audio, tokens, lengths)
    assert torch.equal(alignment[1, :3, :11], whole[0])
    assert not alignment[1, :, 11:].any()
    # The normalisation over a longer row rounds differently.
    torch.testing.assert_close(aligner.get_ctc_loss("none")[1] / 3, loss)


def recording(utterances: list[list[int]], V: int, seed: int = 0) -> tuple[Tensor, list[tuple[int, int]]]:
    """Log-probabilities of utterances with other labels and silences around them, and where they are."""
    chance = np.random.default_rng(seed)
    heard: list[int] = []

    def noise() -> None:
        for _ in range(int(chance.integers(15, 40))):
            heard.extend([int(chance.integers(V)), *[0] * int(chance.integers(0, 3))])

    spans = []
    noise()
    for labels in utterances:
        heard.extend([0] * int(chance.integers(2, 6)))
        first = len(heard)
        for label in labels:
            heard.extend([label] * int(chance.integers(1, 3)))
            heard.extend([0] * int(chance.integers(1, 4)))
        last = max(t for t, label in enumerate(heard) if label)
        spans.append((first, last + 1))
        heard.extend([0] * int(chance.integers(2, 6)))
    noise()
    logits = torch.nn.functional.one_hot(torch.tensor(heard), V).double() * 6
    logits += torch.from_numpy(chance.normal(size=logits.shape))
    return logits.log_softmax(-1), spans


def utterances_of(count: int, V: int, seed: int = 1) -> list[list[int]]:
    chance = np.random.default_rng(seed)
    return [chance.integers(1, V, size=chance.integers(8, 20)).tolist() for _ in range(count)]


def test_utterances_are_found_in_a_recording_that_holds_more() -> None:
    utterances = utterances_of(5, 30)
    log_probs, spans = recording(utterances, 30)
    segments = CTCAligner().segment(log_probs, utterances, frame_period=0.02)
    for segment, (start, end) in zip(segments, spans, strict=True):
        # Times are frames' times; two frames may be heard either way.
        assert segment.start == pytest.approx(0.02 * start, abs=0.05)
        assert segment.end == pytest.approx(0.02 * end, abs=0.05)
        assert segment.score > -0.5


def test_what_is_between_utterances_is_skipped() -> None:
    utterances = utterances_of(4, 30)
    log_probs, spans = recording(utterances, 30)
    segments = CTCAligner().segment(log_probs, [utterances[0], utterances[3]])
    for segment, (start, end) in zip(segments, (spans[0], spans[3]), strict=True):
        assert segment.start == pytest.approx(start, abs=2)
        assert segment.end == pytest.approx(end, abs=2)


def test_an_utterance_that_is_not_there_scores_low() -> None:
    utterances = utterances_of(4, 30)
    log_probs, _ = recording(utterances, 30)
    utterances[2] = utterances_of(1, 30, seed=9)[0]
    segments = CTCAligner().segment(log_probs, utterances)
    scores = [segment.score for segment in segments]
    assert min(scores[0], scores[1], scores[3]) > -0.5
    assert scores[2] < -2


def test_a_segment_scores_as_its_worst_stretch() -> None:
    heard, probability = torch.tensor([1, 2, 3, 1, 2]), torch.tensor([0.9, 0.9, 0.5, 0.5, 0.9]).double()
    rest = (1 - probability[:, None]) / 3
    log_probs = torch.where(torch.nn.functional.one_hot(heard, 4) > 0, probability[:, None], rest).log()
    for window, wanted in ((2, np.log(0.5)), (30, float(probability.log().mean()))):
        (segment,) = CTCAligner().segment(log_probs, [heard.tolist()], window=window)
        assert segment[:2] == (0.0, 5.0)
        assert segment.score == pytest.approx(wanted, rel=1e-12)


def test_the_segments_are_those_of_the_published_package() -> None:
    package = pytest.importorskip("ctc_segmentation")
    utterances = utterances_of(4, 20)
    log_probs, _ = recording(utterances, 20, seed=2)
    config = package.CtcSegmentationParameters(char_list=["ε", *map(chr, range(97, 116))], index_duration=1.0)
    truth, starts = package.prepare_token_list(config, [np.array(labels) for labels in utterances])
    timings, probabilities, _ = package.ctc_segmentation(config, log_probs.float().numpy(), truth)
    theirs = package.determine_utterance_segments(
        config, starts, probabilities, timings, [""] * len(utterances)
    )
    for segment, (start, end, score) in zip(CTCAligner().segment(log_probs, utterances), theirs, strict=True):
        # Theirs reach into the pause around an utterance, by half of it and by no more than that.
        assert start == pytest.approx(segment.start, abs=4)
        assert end == pytest.approx(segment.end, abs=4)
        assert (score > -1) == (segment.score > -1)


def test_bad_input_is_named() -> None:
    aligner, log_probs = CTCAligner(), torch.zeros(2, 6, 4).log_softmax(-1)
    targets = torch.tensor([[1, 2], [3, 1]])
    with pytest.raises(RuntimeError, match="spans needs an alignment: call align first"):
        _ = aligner.spans
    with pytest.raises(RuntimeError, match="get_ctc_loss needs an alignment"):
        aligner.get_ctc_loss()
    with pytest.raises(ValueError, match=r"targets must lie in 0\.\.V-1 = 0\.\.3.*got 4 in item 1"):
        aligner.align(torch.tensor([[1, 2], [4, 1]]), log_probs)
    with pytest.raises(ValueError, match=r"not be blank_id = 0; got 0 in item 0 of the batch"):
        aligner.align(torch.tensor([[1, 0], [3, 1]]), log_probs)
    with pytest.raises(ValueError, match=r"targets must have shape \(B, N\) with B = 2"):
        aligner.align(targets[:1], log_probs)
    with pytest.raises(TypeError, match=r"targets must have an integer or a floating dtype; got torch\.bool"):
        aligner.align(targets > 1, log_probs)
    with pytest.raises(TypeError, match="targets must be a Tensor; got list"):
        aligner.align([[1, 2]], log_probs)  # type: ignore[arg-type]  # that is the test
    with pytest.raises(ValueError, match=r"log_probs must have shape \(B, T, V\); got \(6, 4\)"):
        aligner.align(targets, log_probs[0])
    with pytest.raises(ValueError, match=r"target_lengths must lie in 0\.\.N = 0\.\.2; got 3"):
        aligner.align(targets, log_probs, torch.tensor([2, 3]))
    with pytest.raises(ValueError, match="log_probs must have V above blank_id = 4 labels; got 4"):
        CTCAligner(4).align(targets, log_probs)
    with pytest.raises(ValueError, match=r"blank_id must lie in 0\.\.N = 0\.\.3 where targets are features"):
        CTCAligner(4).align(torch.zeros(1, 3, 2), torch.zeros(1, 5, 2))
    with pytest.raises(ValueError, match="blank_id must be an integer of 0 or more; got -1"):
        CTCAligner(-1)
    log_probs[1, 2, 3] = torch.nan
    with pytest.raises(ValueError, match=r"log_probs must be numbers below \+inf; got nan at \[1, 2, 3\]"):
        aligner.align(targets, log_probs)
    with pytest.raises(ValueError, match=r"targets must hold finite numbers where they are features"):
        aligner.align(torch.full((2, 3, 4), torch.nan), log_probs)


def test_bad_utterances_are_named() -> None:
    aligner, log_probs = CTCAligner(), torch.zeros(5, 4).log_softmax(-1)
    assert aligner.segment(log_probs, []) == []
    with pytest.raises(ValueError, match="utterance 1 has no label"):
        aligner.segment(log_probs, [[1], []])
    with pytest.raises(ValueError, match=r"they have 6 labels, log_probs \(T, V\) = \(5, 4\)"):
        aligner.segment(log_probs, [[1, 2, 3], [1, 2, 3]])
    with pytest.raises(ValueError, match=r"log_probs must have shape \(T, V\); got \(1, 5, 4\)"):
        aligner.segment(log_probs[None], [[1]])
    with pytest.raises(ValueError, match="frame_period must be a finite number above 0"):
        aligner.segment(log_probs, [[1]], frame_period=0.0)
