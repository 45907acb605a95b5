"""Viterbi training: EM that believes in the best path, for chains and for explicit durations."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hmm_models import GaussianHMM, SemiMarkovHMM, phone_topology
from hmm_models.models._em_sequence_model import EMSequenceModel

Make = Callable[[], EMSequenceModel[Any, Any]]


def semi_markov(censoring: Any) -> Make:
    """Make models with explicit durations."""
    return lambda: SemiMarkovHMM(3, 2, 12, duration="categorical", censoring=censoring).double()


MODELS: dict[str, Make] = {
    "ergodic": lambda: GaussianHMM(3, 2, num_mixtures=2).double(),
    "with ends": lambda: GaussianHMM(3, 2, topology=phone_topology(3)).double(),
    "durations": semi_markov("none"),
    "censored durations": semi_markov("both"),
}


def speech(B: int = 6, T: int = 40) -> Tensor:
    """Draw sequences that stay in a region for a while."""
    return torch.randn(B, T // 5, 2).repeat_interleave(5, 1).double() * 3 + torch.randn(B, T, 2).double()


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_one_step_is_the_step_of_em_whose_labels_are_the_best_path(make: Make) -> None:
    x, lengths, weights = speech(), torch.tensor([40, 31, 12, 8, 40, 5]), torch.rand(6) + 0.5
    hard = make()
    hard.initialize(x, lengths)
    frame_weights = torch.rand(6, 40) + 0.5
    path = hard.viterbi(x, lengths, frame_weights=frame_weights)
    labels = nn.functional.one_hot(path.states.clamp_min(0), 3).bool()
    expected = hard.accumulate(x, lengths, weights, allowed=labels, frame_weights=frame_weights)
    found = hard.accumulate(x, lengths, weights, frame_weights=frame_weights, algorithm="viterbi")
    assert float(found.log_likelihood) == pytest.approx(
        float(path.log_score.detach() @ weights.double()), rel=1e-12
    )
    # Both are sums of the same float64 terms, in another order.
    for value, want in zip(found.tensors(), expected.tensors(), strict=True):
        torch.testing.assert_close(value, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_the_score_of_the_best_paths_never_falls(make: Make) -> None:
    x, lengths, model = speech(), torch.tensor([40, 31, 12, 8, 40, 5]), make()
    result = model.fit(x, lengths, algorithm="viterbi")
    assert result.converged
    assert (torch.tensor(result.log_likelihood).diff() > -1e-9).all()
    assert result.log_likelihood[-1] > result.log_likelihood[0]
    score = model.viterbi(x, lengths).log_score.sum()
    assert score.item() == pytest.approx(result.log_likelihood[-1], rel=1e-9)


def test_batches_give_what_everything_at_once_gives() -> None:
    x, whole, parts = speech(), GaussianHMM(3, 2).double(), GaussianHMM(3, 2).double()
    whole.initialize(x)
    parts.load_state_dict(whole.state_dict())
    options: Any = {"algorithm": "viterbi", "initialize": False, "max_iterations": 4}
    expected = whole.fit(x, **options, batch_size=4)
    found = parts.fit_batches([{"x": x[:2]}, {"x": x[2:]}], **options)
    assert found.log_likelihood == pytest.approx(expected.log_likelihood, rel=1e-12)
    step = parts.fit_batches([{"x": x[:2]}, {"x": x[2:]}], step_power=0.8, **options)
    assert len(step.reports) >= 2


def test_sequences_without_a_path_add_nothing_but_their_likelihood() -> None:
    model = GaussianHMM(3, 2, topology=phone_topology(3)).double()
    found = model.accumulate(speech(), torch.tensor([40, 2, 0, 1, 3, 9]), algorithm="viterbi")
    assert float(found.log_likelihood) == -torch.inf
    assert float(found.initial.sum()) == pytest.approx(3.0)
    assert float(found.transition.sum()) == pytest.approx(40 + 3 + 9)
    assert all(bool(torch.isfinite(value).all()) for value in list(found.tensors())[1:])


def test_an_unknown_algorithm_is_named() -> None:
    model, x = GaussianHMM(2, 2).double(), speech()
    message = 'algorithm must be "baum_welch" or "viterbi"; got \'em\''
    for call in (model.fit, model.accumulate):
        with pytest.raises(ValueError, match=message):
            call(x, algorithm="em")  # type: ignore[arg-type]  # what the test is about
    with pytest.raises(ValueError, match=message):
        model.fit_batches([{"x": x}], algorithm="em")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        SemiMarkovHMM(2, 2).accumulate(x, algorithm="em")  # type: ignore[arg-type]
