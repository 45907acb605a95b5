"""Steps that depend on the class, or on features, of a sequence or a frame."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hmm_core
from hmm_models import (
    AdaptiveTransitionMatrix,
    GaussianHMM,
    HierarchicalTransition,
    ProbabilityTable,
    SemiMarkovHMM,
    create_left_to_right_matrix,
    load_model,
    phone_topology,
    save_model,
    tie_rows,
)

LENGTHS = torch.tensor([12, 1, 0, 7])


def tables(columns: int, C: int = 3) -> Tensor:
    """Random log-probabilities (C, 3, columns), with a step that is forbidden."""
    table = torch.rand(C, 3, columns).double()
    table[:, 0, 2] = 0.0
    return (table / table.sum(-1, keepdim=True)).log()


def model_of(table: Tensor) -> GaussianHMM:
    """Three states whose steps follow the table."""
    model = GaussianHMM(3, 2, transition=ProbabilityTable(table)).double()
    with torch.no_grad():
        model.emission.mean.copy_(torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]]).unsqueeze(1))
    return model


@pytest.mark.parametrize("columns", [3, 4])
def test_a_class_of_each_sequence_chooses_its_matrix(columns: int) -> None:
    table, x = tables(columns), torch.randn(4, 12, 2).double()
    model, context = model_of(table), torch.tensor([2, 0, 1, 2])
    found = model.log_likelihood(x, LENGTHS, context=context)
    statistics = model.accumulate(x, LENGTHS, torch.tensor([1.0, 2.0, 1.0, 0.5]), context=context)
    for index, chosen in enumerate(context.tolist()):
        plain, row = model_of(table[chosen]), slice(index, index + 1)
        torch.testing.assert_close(found[row], plain.log_likelihood(x[row], LENGTHS[row]))
        path = plain.viterbi(x[row], LENGTHS[row])
        assert torch.equal(model.viterbi(x, LENGTHS, context=context).states[row], path.states)
    expected = torch.zeros(3, 3, columns).double()
    for index, weight in enumerate([1.0, 2.0, 1.0, 0.5]):
        row = slice(index, index + 1)
        counts = model_of(table[context[index]]).accumulate(x[row], LENGTHS[row]).transition
        expected[context[index]] += weight * counts
    torch.testing.assert_close(statistics.transition, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("columns", [3, 4])
def test_a_class_of_each_frame_chooses_the_step_that_leaves_it(columns: int) -> None:
    table, x, context = tables(columns), torch.randn(4, 12, 2).double(), torch.randint(3, (4, 12))
    model = model_of(table)
    final = None
    if columns == 4:
        last = (LENGTHS - 1).clamp_min(0)
        final = table[context[torch.arange(4), last]][..., 3]
    arguments = (
        model.initial().detach(),
        table[context[:, :-1]][..., :3],
        model.emission.log_prob(x).detach(),
        LENGTHS,
    )
    expected = hmm_core.log_likelihood(*arguments, log_final=final)
    torch.testing.assert_close(model.log_likelihood(x, LENGTHS, context=context), expected)
    steps = hmm_core.expected_transitions(*arguments, log_final=final)
    counts = torch.zeros(3, 3, columns).double()
    for b, t in ((b, t) for b in range(4) for t in range(11)):
        counts[context[b, t], :, :3] += steps[b, t]
    if columns == 4:
        state = hmm_core.posterior(*arguments, log_final=final).state
        for b in (0, 1, 3):
            counts[context[b, LENGTHS[b] - 1], :, 3] += state[b, LENGTHS[b] - 1]
    found = model.accumulate(x, LENGTHS, context=context).transition
    torch.testing.assert_close(found, counts, rtol=1e-9, atol=1e-12)


def test_one_class_is_no_class() -> None:
    table, x = tables(4, C=1), torch.randn(4, 12, 2).double()
    found = model_of(table).log_likelihood(x, LENGTHS, context=torch.zeros(4, 12, dtype=torch.int64))
    torch.testing.assert_close(found, model_of(table[0]).log_likelihood(x, LENGTHS))
    torch.testing.assert_close(model_of(table).topology.log_transition, table[0, :, :3])


@pytest.mark.parametrize("per_frame", [False, True])
@pytest.mark.parametrize("algorithm", ["baum_welch", "viterbi"])
def test_em_never_lowers_the_likelihood_and_ignores_the_padding(per_frame: bool, algorithm: Any) -> None:
    x, context = torch.randn(4, 12, 2).double().cumsum(1), torch.randint(3, (4, 12))
    context[3, 7:] = -9
    context = context if per_frame else context[:, 0]
    model = model_of(tables(4))
    forbidden = model.transition.logits == -torch.inf
    result = model.fit(x, LENGTHS, context=context, algorithm=algorithm, max_iterations=10, restarts=2)
    assert (torch.tensor(result.log_likelihood).diff() > -1e-9).all()
    assert (model.transition.logits[forbidden] == -torch.inf).all()
    batches = [{"x": x, "lengths": LENGTHS, "context": context}]
    assert model.fit_batches(batches, max_iterations=2, algorithm=algorithm).log_likelihood[-1] > -torch.inf
    model = model_of(tables(4))
    before = model.score(x, LENGTHS, context=context)
    model.fit_sgd(x, LENGTHS, context=context, max_epochs=4)
    assert model.score(x, LENGTHS, context=context) > before


def test_em_finds_the_matrix_of_each_class() -> None:
    truth = model_of(tables(3, C=2))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        truth.emission.mean.mul_(4.0)
    context = torch.randint(2, (30, 100), generator=generator)
    x = truth.sample(100, 30, context=context, generator=generator).features
    model = model_of(torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]).log().expand(2, 3, 3))
    with torch.no_grad():
        model.emission.mean.mul_(4.0)
    model.fit(x, context=context, initialize=False)
    # 3,000 steps over two classes and three states: three standard errors.
    found, expected = model.transition.log_prob().exp(), truth.transition.log_prob().exp()
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.08)


def test_the_prosody_of_a_frame_changes_how_long_states_last() -> None:
    # Class 1, where the prosody changes, leaves states four times as often.
    slow, fast = (create_left_to_right_matrix(3, stay).double() for stay in (0.9, 0.6))
    truth = model_of(torch.stack([slow, fast]).log())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        truth.emission.mean.mul_(4.0)
        truth.initial.logits.copy_(torch.tensor([0.0, -torch.inf, -torch.inf]))
    context = (torch.rand(200, 40, generator=generator) < 0.3).long()
    x = truth.sample(40, 200, context=context, generator=generator).features
    middle = create_left_to_right_matrix(3, 0.75).double().log()
    model = model_of(middle.expand(2, 3, 3))
    model.fit(x, context=context)
    stay = model.transition.log_prob().detach().exp()[:, :2].diagonal(dim1=1, dim2=2)
    assert (stay[0] - 0.9).abs().max() < 0.05
    assert (stay[1] - 0.6).abs().max() < 0.1


def test_features_of_a_frame_adapt_the_matrix_by_gradient_descent() -> None:
    x, context = torch.randn(4, 12, 2), torch.randn(4, 12, 3)
    context[3, 7:] = torch.nan
    model = GaussianHMM(3, 2, transition=AdaptiveTransitionMatrix(3, 3, 8))
    before = model.score(x, LENGTHS, context=context)
    result = model.fit_sgd(x, LENGTHS, context=context, max_epochs=20)
    assert model.score(x, LENGTHS, context=context) > before
    assert torch.isfinite(torch.tensor(result.log_likelihood)).all()
    assert model.log_likelihood(x, context=context[:, 0]).shape == (4,)
    assert model.topology.log_transition.shape == (3, 3)
    assert model.num_parameters > 3 * 2
    with pytest.raises(TypeError, match="AdaptiveTransitionMatrix lacks some: train by gradient descent"):
        model.fit(x, LENGTHS, context=context)


def test_a_file_holds_the_classes(tmp_path: Path) -> None:
    x, context = torch.randn(4, 12, 2), torch.randint(3, (4, 12))
    for model, given in (
        (model_of(tables(4)).float(), context),
        (GaussianHMM(3, 2, transition=AdaptiveTransitionMatrix(3, 5)), torch.randn(4, 12, 5)),
    ):
        save_model(model, tmp_path / "m.safetensors")
        loaded: Any = load_model(tmp_path / "m.safetensors")
        assert torch.equal(
            loaded.log_likelihood(x, LENGTHS, context=given), model.log_likelihood(x, LENGTHS, context=given)
        )


def structured() -> dict[str, tuple[nn.Module, dict[str, Any]]]:
    """Every kind of transitions, and the context that it needs."""
    one = torch.zeros(3, dtype=torch.int64)
    tied = tie_rows(torch.ones(3, 3, dtype=torch.bool), one)
    fixed = torch.tensor([True, False, False, False])
    units = [phone_topology(1), phone_topology(2)]
    return {
        "tied": (ProbabilityTable(torch.zeros(3, 3), tied=tied, concentration=2.0), {}),
        "fixed": (ProbabilityTable(torch.zeros(3, 4), fixed=fixed), {}),
        "classes": (ProbabilityTable(torch.zeros(2, 3, 4)), {"context": torch.randint(2, (4, 12))}),
        "units": (HierarchicalTransition(units, torch.full((2, 3), 1 / 3)), {}),
        "adaptive": (AdaptiveTransitionMatrix(3, 2), {"context": torch.randn(4, 12, 2)}),
    }


@pytest.mark.parametrize("kind", structured())
def test_it_compiles_as_one_graph(kind: str) -> None:
    part, data = structured()[kind]
    model, x = GaussianHMM(3, 2, transition=part), torch.randn(4, 12, 2)
    compiled = torch.compile(model.log_likelihood, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, LENGTHS, **data), model.log_likelihood(x, LENGTHS, **data))


def test_a_wrong_context_is_named() -> None:
    x, model = torch.randn(4, 12, 2).double(), model_of(tables(3))
    shapes = r"context must have shape \(B,\) or \(B, T\) = \(4,\) or \(4, 12\); got "
    with pytest.raises(ValueError, match=shapes + "None"):
        model(x)
    with pytest.raises(ValueError, match=shapes + r"\(4, 11\)"):
        model.log_likelihood(x, context=torch.zeros(4, 11, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"context must be in 0..2; got 0..3"):
        model.fit(x, context=torch.tensor([0, 1, 3, 2]))
    with pytest.raises(ValueError, match=r"context must be of integers, the classes; got torch.float32"):
        model.viterbi(x, context=torch.zeros(4))
    with pytest.raises(TypeError, match="context must be omitted: the model's transitions depend on nothing"):
        GaussianHMM(3, 2).double().log_likelihood(x, context=torch.zeros(4, dtype=torch.int64))
    with pytest.raises(TypeError, match="context must be omitted: the steps of a SemiMarkovHMM"):
        SemiMarkovHMM(3, 2).double().log_likelihood(x, context=torch.zeros(4, dtype=torch.int64))
    adaptive = GaussianHMM(3, 2, transition=AdaptiveTransitionMatrix(3, 5)).double()
    with pytest.raises(
        ValueError, match=r"context must have shape .* = \(4, 5\) or \(4, 12, 5\); got \(4, 12, 2\)"
    ):
        adaptive.log_likelihood(x, context=x)
