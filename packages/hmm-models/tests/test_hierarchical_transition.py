"""Units under a table of units: the factors are what EM and gradients train."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hmm_models import (
    GaussianHMM,
    HierarchicalTransition,
    ProbabilityTable,
    Topology,
    create_hierarchical_transitions,
    load_model,
    phone_topology,
    save_model,
    silence_topology,
    tie_rows,
)

ORDER = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3], [0.4, 0.4, 0.2]])
ENDS = torch.tensor([[0.1, 0.5, 0.2, 0.2], [0.5, 0.2, 0.3, 0.0], [0.3, 0.3, 0.1, 0.3]])
# One may start or end in either state of the last unit, and one state alone is a unit that repeats.
CROSSING = Topology.from_probabilities(
    torch.tensor([0.7, 0.3]), torch.tensor([[0.4, 0.4], [0.3, 0.2]]), torch.tensor([0.2, 0.5])
)
UNITS = [phone_topology(2, 0.6), phone_topology(1, 0.5), CROSSING]


def test_it_is_the_matrix_of_left_to_right_units() -> None:
    units = [phone_topology(n, 0.7) for n in (1, 3, 2)]
    found = HierarchicalTransition(units, ORDER).log_prob().exp()
    torch.testing.assert_close(found, create_hierarchical_transitions([1, 3, 2], ORDER, 0.7))


@pytest.mark.parametrize("order", [ORDER, ENDS], ids=["no end", "ends"])
def test_every_step_is_the_sum_of_its_ways(order: Tensor) -> None:
    part = HierarchicalTransition(UNITS, order)
    found = part.log_prob().detach().exp()
    first = [0, 2, 3, 5]
    expected = torch.zeros(5, 5)
    for u, v in itertools.product(range(3), range(3)):
        leave, enter = UNITS[u].log_final, UNITS[v].log_initial
        assert leave is not None
        block = leave.exp().unsqueeze(-1) * order[u, v] * enter.exp()
        expected[first[u] : first[u + 1], first[v] : first[v + 1]] = block + (
            UNITS[u].log_transition.exp() if u == v else 0.0
        )
    torch.testing.assert_close(found[:, :5], expected)
    torch.testing.assert_close(found.sum(-1), torch.ones(5))
    assert tuple(found.shape) == tuple(part.shape)


@pytest.mark.parametrize("order", [ORDER, ENDS], ids=["no end", "ends"])
def test_updates_climb_to_where_the_gradient_is_zero(order: Tensor) -> None:
    part = HierarchicalTransition(UNITS, order).double()
    counts = torch.rand(part.shape).double() * 10
    counts[part.log_prob() == -torch.inf] = 0.0

    def score() -> Tensor:
        table = part.log_prob()
        return (counts * torch.where(table > -torch.inf, table, 0.0)).sum()

    scores = []
    for _ in range(1000):
        scores.append(score().detach())
        part.update(counts)
    assert (torch.stack(scores).diff() > -1e-9).all()
    assert scores[-1] > scores[0] + 1.0
    for slope in torch.autograd.grad(score(), list(part.parameters())):
        # The steps of EM shrink as they come near: of 100 counts.
        torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0.0, atol=1e-3)


def test_with_distinct_ways_one_update_is_the_maximum() -> None:
    # In units that never return into themselves, each step has one way.
    order = torch.tensor([[0.0, 0.7, 0.3], [0.5, 0.0, 0.5], [0.4, 0.6, 0.0]])
    part = HierarchicalTransition(UNITS, order).double()
    counts = torch.rand(part.shape).double() * 10
    part.update(counts)
    once = part.log_prob().detach().clone()
    part.update(counts)
    torch.testing.assert_close(part.log_prob().detach(), once, rtol=1e-12, atol=1e-12)
    between = part.between.log_prob().detach().exp()
    from_first, last = counts[1, 2:], part.inner.log_prob().detach().exp()[1]
    assert between[0, 1].item() == pytest.approx((from_first[0] / from_first.sum()).item())
    assert last[5].item() == pytest.approx((from_first.sum() / (from_first.sum() + counts[1, 1])).item())


@pytest.mark.parametrize("algorithm", ["baum_welch", "viterbi"])
def test_the_likelihood_of_a_model_never_falls_and_zeros_stay(algorithm: Any) -> None:
    part = HierarchicalTransition([*UNITS, silence_topology(4)], torch.full((4, 5), 0.2))
    model = GaussianHMM(9, 2, transition=part).double()
    forbidden = part.log_prob() == -torch.inf
    assert part.num_parameters == (2 + 1 + 4 + 7) + 1 + 4 * 4
    x = torch.randn(6, 40, 2).double().cumsum(1)
    result = model.fit(x, torch.tensor([40, 30, 20, 40, 1, 0]), max_iterations=10, algorithm=algorithm)
    assert (torch.tensor(result.log_likelihood).diff() > -1e-9).all()
    table = part.log_prob()
    assert (table[forbidden] == -torch.inf).all()
    torch.testing.assert_close(table.exp().sum(-1), torch.ones(9).double())
    before = model.score(x)
    model.fit_sgd(x, max_epochs=5)
    assert model.score(x) > before
    assert (part.log_prob()[forbidden] == -torch.inf).all()


def test_em_finds_which_unit_follows_which() -> None:
    units, order = (
        [phone_topology(2, 0.6)] * 3,
        torch.tensor([[0.0, 0.8, 0.2], [0.1, 0.0, 0.9], [0.7, 0.3, 0.0]]),
    )
    truth = GaussianHMM(6, 2, transition=HierarchicalTransition(units, order)).double()
    angle = torch.arange(6.0).double()
    with torch.no_grad():
        truth.emission.mean.copy_(8.0 * torch.stack([angle.cos(), angle.sin()], -1).unsqueeze(1))
    x = truth.sample(300, 12, generator=torch.Generator().manual_seed(0)).features
    others = (1.0 - torch.eye(3)) / 2
    blocks = torch.block_diag(*[unit.log_transition.exp() for unit in units])  # type: ignore[no-untyped-call]  # torch's
    inner = torch.cat([blocks, torch.zeros(6, 1)], 1)
    inner[1::2, 6] = 1.0 - inner[1::2].sum(1)
    tied = ProbabilityTable(inner.log(), tied=tie_rows(inner > 0, torch.zeros(6, dtype=torch.int64)))
    model = GaussianHMM(6, 2, transition=HierarchicalTransition(units, others, inner=tied)).double()
    with torch.no_grad():
        model.emission.mean.copy_(truth.emission.mean)
    model.fit(x, initialize=False)
    part = model.transition
    # 3,600 frames, some 720 units: three standard errors of a share.
    torch.testing.assert_close(part.between.log_prob().exp(), order.double(), rtol=0.0, atol=0.1)
    inner = part.inner.log_prob().detach().exp()
    assert inner[0, 0] == inner[5, 5]
    assert inner[0, 0].item() == pytest.approx(0.6, abs=0.03)


def test_gradients_are_right() -> None:
    part = HierarchicalTransition(UNITS, ENDS).double()
    values = dict(part.named_parameters())
    free = {name: value.detach() > -torch.inf for name, value in values.items()}
    possible = part.log_prob().detach() > -torch.inf

    def table(*given: Tensor) -> Tensor:
        logits = {
            name: torch.full_like(values[name], -torch.inf).masked_scatter(free[name], value)
            for name, value in zip(values, given, strict=True)
        }
        rows: Tensor = torch.func.functional_call(part, logits, ())
        return rows[possible]

    inputs = [values[name].detach()[free[name]].requires_grad_() for name in values]
    assert torch.autograd.gradcheck(table, inputs)


def test_a_file_holds_the_factors(tmp_path: Path) -> None:
    entry = torch.zeros(3, 5)
    entry[0, 0] = entry[1, 2] = 1.0
    entry[2, 3:] = 0.5
    table = ProbabilityTable(entry.log(), concentration=2.0)
    model = GaussianHMM(5, 2, transition=HierarchicalTransition(UNITS, ENDS, entry=table))
    x = torch.randn(3, 20, 2)
    model.fit(x, max_iterations=2)
    save_model(model, tmp_path / "h.safetensors")
    loaded = load_model(tmp_path / "h.safetensors")
    assert torch.equal(loaded(x), model(x))
    assert isinstance(loaded, GaussianHMM)
    assert loaded.config() == model.config()
    loaded.fit(x, initialize=False, max_iterations=1)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="units must hold topologies with log_final, one at least"):
        HierarchicalTransition([], ORDER)
    with pytest.raises(ValueError, match="units must hold topologies with log_final, one at least"):
        HierarchicalTransition([phone_topology()._replace(log_final=None)] * 3, ORDER)
    with pytest.raises(ValueError, match=r"shape \(U, U\) or \(U, U \+ 1\) with U = 2; got \(3, 3\)"):
        HierarchicalTransition([phone_topology()] * 2, ORDER)
    with pytest.raises(ValueError, match="unit_transition must sum to 1 in each row"):
        HierarchicalTransition(UNITS, 0.5 * ORDER)
    with pytest.raises(ValueError, match=r"entry must have shape \(3, 5\); got \(2, 5\)"):
        HierarchicalTransition(UNITS, ORDER, entry=ProbabilityTable(torch.zeros(2, 5)))
    part = HierarchicalTransition(UNITS, ORDER)
    with pytest.raises(ValueError, match=r"counts must have shape \(5, 5\); got \(5, 6\)"):
        part.update(torch.zeros(5, 6))
    with pytest.raises(ValueError, match="counts must be finite and >= 0"):
        part.update(torch.full((5, 5), -1.0))
