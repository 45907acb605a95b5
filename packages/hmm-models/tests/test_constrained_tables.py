"""Fixed and tied probabilities, and Dirichlet priors: of one table, and in models."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from hmm_models import (
    CategoricalEmission,
    GaussianHMM,
    HiddenMarkovModel,
    LikelihoodDecreaseError,
    ProbabilityTable,
    SemiMarkovHMM,
    Topology,
    create_left_to_right_matrix,
    load_model,
    save_model,
    tie_rows,
)

START = torch.tensor(
    [[0.2, 0.3, 0.0, 0.5], [0.3, 0.0, 0.5, 0.2], [0.25, 0.25, 0.25, 0.25]], dtype=torch.float64
)
COUNTS = torch.tensor([[3.0, 1.0, 7.0, 2.0], [0.1, 2.0, 4.0, 1.0], [5.0, 0.5, 0.2, 1.5]], dtype=torch.float64)
FIXED = torch.tensor([[0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)
TIED = torch.tensor([[0, 1, -1, 3], [0, -1, 3, 1], [-1, 2, 2, -1]])
ALPHA = torch.tensor([[1.0, 1.5, 9.0, 3.0], [2.0, 1.0, 1.0, 1.0], [1.0, 1.2, 1.0, 4.0]], dtype=torch.float64)
KINDS: dict[str, dict[str, Any]] = {
    "fixed": {"fixed": FIXED},
    "tied": {"tied": TIED},
    "prior": {"concentration": ALPHA},
    "all": {"fixed": FIXED, "tied": TIED, "concentration": ALPHA},
}


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_the_update_is_the_maximum_that_a_numerical_search_finds(options: dict[str, Any]) -> None:
    table = ProbabilityTable(START.log(), **options)
    generator = torch.Generator().manual_seed(0)

    def objective(logits: Tensor) -> Tensor:
        with torch.no_grad():
            table.logits.copy_(logits.view_as(START))
        probability = table.log_prob()
        return (COUNTS * probability.masked_fill(START == 0, 0.0)).sum() + table.log_prior()

    def value_and_gradient(point: Any) -> tuple[float, Any]:
        logits = torch.from_numpy(point).view_as(START).masked_fill(START == 0, -torch.inf)
        total = objective(logits)
        slope = torch.autograd.grad(total, table.logits)[0]
        return -total.item(), -slope.numpy().ravel()

    point = torch.randn(START.numel(), generator=generator, dtype=torch.float64).numpy()
    found = minimize(value_and_gradient, point, jac=True, method="BFGS", options={"gtol": 1e-8})
    by_search = table.log_prob().detach().exp().clone()
    table = ProbabilityTable(START.log(), **options)
    table.update(COUNTS)
    assert objective(table.logits.detach().clone()).item() >= -found.fun - 1e-9
    # The search stops where its gradient is 1e-8.
    torch.testing.assert_close(table.log_prob().detach().exp(), by_search, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("optimizer", [None, torch.optim.SGD, torch.optim.AdamW])
def test_what_is_fixed_or_tied_stays_so(optimizer: Any) -> None:
    table = ProbabilityTable(START.log(), **KINDS["all"])
    before = table.log_prob().detach().exp()
    if optimizer is None:
        table.update(COUNTS)
    else:
        stepper = optimizer(table.parameters(), lr=0.3)
        for _ in range(5):
            table.logits.grad = torch.autograd.grad(
                -(COUNTS * table.log_prob().masked_fill(START == 0, 0.0)).sum(), table.logits
            )[0]
            stepper.step()
    after = table.log_prob().detach().exp()
    torch.testing.assert_close(after.sum(-1), torch.ones(3).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(after[FIXED], START[FIXED], rtol=1e-12, atol=0)
    assert (after[START == 0] == 0).all()
    assert after[0, 0] == after[1, 0]
    assert after[0, 1] == after[1, 3]
    assert after[2, 1] == after[2, 2]
    assert (after - before).abs().max() > 0.05


def test_tied_entries_start_from_their_mean() -> None:
    table = ProbabilityTable(START.log(), tied=TIED)
    expected = [[0.25, 0.25, 0.0, 0.5], [0.25, 0.0, 0.5, 0.25], [0.25, 0.25, 0.25, 0.25]]
    torch.testing.assert_close(table.log_prob().detach().exp(), torch.tensor(expected).double())


def test_a_prior_keeps_what_was_never_seen_and_a_row_of_its_own_counts() -> None:
    table = ProbabilityTable(torch.zeros(2, 3), concentration=torch.tensor([2.0, 2.0, 3.0]))
    table.update(torch.tensor([[4.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    expected = torch.tensor([[5.0, 1.0, 2.0], [1.0, 1.0, 2.0]])
    torch.testing.assert_close(table.log_prob().detach().exp(), expected / expected.sum(-1, keepdim=True))


def test_the_prior_is_the_density_of_dirichlet() -> None:
    alpha = torch.tensor([[2.0, 1.0, 3.5], [1.0, 4.0, 1.5]], dtype=torch.float64)
    table = ProbabilityTable(torch.randn(2, 3).double(), concentration=alpha)
    dirichlet = torch.distributions.Dirichlet(alpha)
    mode = (alpha - 1) / (alpha - 1).sum(-1, keepdim=True)
    found = table.log_prior().item()
    constant = torch.lgamma(alpha.sum(-1)).sum() - torch.lgamma(alpha).sum()
    density = dirichlet.log_prob(table.log_prob().detach().exp()).sum()  # type: ignore[no-untyped-call]  # torch's
    assert found + float(constant) == pytest.approx(float(density), rel=1e-12)
    table.update(torch.zeros(2, 3))
    torch.testing.assert_close(table.log_prob().detach().exp(), mode, rtol=1e-12, atol=0)
    assert table.log_prior().item() > found


def test_gradients_are_right() -> None:
    logits = torch.randn(3, 4, dtype=torch.float64).masked_fill(START == 0, -torch.inf)
    table = ProbabilityTable(START.log(), **KINDS["all"])
    free = logits > -torch.inf

    def total(values: Tensor) -> Tensor:
        parameters = {"logits": torch.full_like(logits, -torch.inf).masked_scatter(free, values)}
        rows: Tensor = torch.func.functional_call(table, parameters, ())
        return rows[free]

    assert torch.autograd.gradcheck(total, logits[free].requires_grad_())


def test_free_parameters_are_counted_once() -> None:
    assert ProbabilityTable(START.log()).num_parameters == 7
    assert ProbabilityTable(START.log(), fixed=FIXED).num_parameters == 1 + 1 + 3
    # The first two rows are one distribution over two; two of the third row's entries are one.
    assert ProbabilityTable(START.log(), fixed=FIXED, tied=TIED).num_parameters == 1 + 2


def test_wrong_constraints_are_named() -> None:
    flat = torch.zeros(2, 2)
    with pytest.raises(ValueError, match=r"concentration must be >= 1 and finite .below 1 .* infinite at 0"):
        ProbabilityTable(flat, concentration=0.5)
    with pytest.raises(ValueError, match=r"fixed must be of bool; got torch.int64"):
        ProbabilityTable(flat, fixed=torch.zeros(2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"tied must broadcast to \(2, 2\); got \(3,\)"):
        ProbabilityTable(flat, tied=torch.zeros(3, dtype=torch.int64))
    with pytest.raises(
        ValueError, match=r"rows that share one number the same numbers.*; rows 0 and 1 share"
    ):
        ProbabilityTable(flat, tied=torch.tensor([[0, -1], [0, -1]]))
    with pytest.raises(ValueError, match=r"leave the same probability; rows 0 and 1 leave 0.5 and 0.25"):
        ProbabilityTable(
            torch.tensor([[0.5, 0.25, 0.25], [0.75, 0.125, 0.125]]).log(),
            fixed=torch.tensor([True, False, False]),
            tied=torch.tensor([-1, 0, 1]),
        )
    with pytest.raises(ValueError, match=r"possible must be bool of shape \(K, J\)"):
        tie_rows(flat, torch.zeros(2, dtype=torch.int64))
    with pytest.raises(
        ValueError, match=r"group must be int64 of shape \(K,\) = \(2,\); got torch.int64 \(3,\)"
    ):
        tie_rows(flat > -1, torch.zeros(3, dtype=torch.int64))


def model_with(**options: Any) -> GaussianHMM:
    """Four states that may be skipped, whose table is special."""
    matrix = create_left_to_right_matrix(4, 0.6, 0.2).double()
    return GaussianHMM(
        4, 2, topology="left_to_right", transition=ProbabilityTable(matrix.log(), **options)
    ).double()


@pytest.mark.parametrize("algorithm", ["baum_welch", "viterbi"])
def test_the_penalised_likelihood_of_a_model_never_falls(algorithm: Any) -> None:
    matrix = create_left_to_right_matrix(4, 0.6, 0.2)
    fixed = torch.zeros(4, 4, dtype=torch.bool)
    fixed[1, 1] = True
    tied = tie_rows(matrix > 0, torch.tensor([0, -1, -1, -1]))
    model = model_with(fixed=fixed, tied=tied, concentration=5.0)
    x = torch.randn(5, 30, 2).double().cumsum(1)
    model.initialize(x)
    totals = []
    for _ in range(8):
        totals.append(
            model.accumulate(x, algorithm=algorithm).log_likelihood + model.transition.log_prior().detach()
        )
        model.fit(x, initialize=False, max_iterations=1, algorithm=algorithm)
    assert (torch.stack(totals).diff() > -1e-9).all()
    assert totals[-1] > totals[0] + 1.0
    assert model.topology.log_transition[1, 1].exp().item() == pytest.approx(0.6, rel=1e-6)
    assert (model.topology.log_transition.exp()[matrix > 0] > 0.01).all()


def test_without_its_prior_the_loop_would_see_the_likelihood_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    x, model = torch.randn(5, 30, 2).double().cumsum(1), model_with()
    model.fit(x)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.transition.concentration = torch.full((4, 4), 200.0)
    believing = model.fit(x, initialize=False, max_iterations=3)
    assert believing.log_likelihood[1] < believing.log_likelihood[0] - 1.0
    model.load_state_dict(state, strict=False)
    monkeypatch.setattr(type(model), "_log_prior", lambda *_: 0.0)
    with pytest.raises(LikelihoodDecreaseError, match="log-likelihood fell"):
        model.fit(x, initialize=False, max_iterations=3)


def test_tied_rows_have_the_counts_of_both() -> None:
    x, model = torch.randn(5, 30, 2).double().cumsum(1), model_with()
    matrix = create_left_to_right_matrix(4, 0.6, 0.2)
    tied = model_with(tied=tie_rows(matrix > 0, torch.tensor([0, 0, -1, -1])))
    model.initialize(x)
    tied.load_state_dict({**tied.state_dict(), **model.state_dict()})
    counts = model.accumulate(x).transition
    tied.fit(x, initialize=False, max_iterations=1)
    pooled = counts[0, 0:3] + counts[1, 1:4]
    found = tied.topology.log_transition.detach().exp()
    torch.testing.assert_close(found[0, 0:3], pooled / pooled.sum(), rtol=1e-9, atol=1e-12)
    assert torch.equal(found[0, 0:3], found[1, 1:4])


def test_starts_and_symbols_have_priors_too() -> None:
    x = torch.randint(3, (4, 30))
    initial = ProbabilityTable(torch.zeros(2), concentration=3.0)
    model = HiddenMarkovModel(CategoricalEmission(2, 4), initial=initial).double()
    result = model.fit(x, prior=2.0, max_iterations=20)
    assert len(result.reports) > 1
    # Four starts and two in advance for each state; symbol 3 was never seen.
    assert (model.topology.log_initial.exp() >= 2 / 8 - 1e-9).all()
    symbols = cast(CategoricalEmission, model.emission).logits.detach().exp()
    counts = model.accumulate(x).emission.counts + 1.0  # type: ignore[attr-defined]  # of CategoricalStatistics
    assert symbols[:, 3].min() > 1 / 130
    torch.testing.assert_close(symbols, counts / counts.sum(-1, keepdim=True), rtol=0, atol=0.02)
    with pytest.raises(ValueError, match="prior must be >= 1 and finite"):
        model.fit(x, prior=0.5)


def test_durations_go_with_constrained_changes_of_state() -> None:
    steps = torch.tensor([[0.0, 0.5, 0.5, 0.0], [0.5, 0.0, 0.5, 0.0], [0.5, 0.5, 0.0, 0.0]]).double()
    fixed = torch.zeros(3, 4, dtype=torch.bool)
    fixed[0, 1:3] = True
    table = ProbabilityTable(steps.log(), fixed=fixed, concentration=2.0)
    x = torch.randn(4, 8, 2).double().repeat_interleave(5, 1) * 4 + torch.randn(4, 40, 2).double()
    model = SemiMarkovHMM(3, 2, 12, censoring="right", transition=table).double()
    model.fit(x, max_iterations=8)
    assert model.topology.log_transition[0, 1:].exp().tolist() == pytest.approx([0.5, 0.5])
    assert (model.topology.log_transition.exp()[1:][steps[1:, :3] > 0] > 0.01).all()
    with pytest.raises(ValueError, match=r"transition must forbid the ends .* and censoring='right'"):
        SemiMarkovHMM(
            3, 2, censoring="right", transition=ProbabilityTable(torch.zeros(3, 4), concentration=2.0)
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_holds_the_constraints(kind: str, tmp_path: Path) -> None:
    table = ProbabilityTable(
        torch.cat([START, START[:1]])[:, :4].log(),
        **{name: torch.cat([value, value[:1]]) for name, value in KINDS[kind].items()},
    )
    initial = ProbabilityTable(torch.zeros(4), concentration=2.0)
    endless = torch.cat([torch.ones(4, 4), torch.zeros(4, 1)], 1)
    for model in (
        GaussianHMM(4, 2, initial=initial, transition=table),
        HiddenMarkovModel(CategoricalEmission(4, 3), transition=table),
        SemiMarkovHMM(4, 2, initial=initial),
        SemiMarkovHMM(4, 2, censoring="right", transition=ProbabilityTable(endless.log(), concentration=2.0)),
    ):
        save_model(model, tmp_path / "m.safetensors")
        loaded: Any = load_model(tmp_path / "m.safetensors")
        assert loaded.config() == model.config()
        for found, part in ((loaded.transition, model.transition), (loaded.initial, model.initial)):
            part.update(torch.ones(part.shape).cumsum(-1))
            found.update(torch.ones(part.shape).cumsum(-1))
            assert torch.equal(found.log_prob(), part.log_prob())
            assert found.num_parameters == part.num_parameters


def test_plain_tables_are_saved_as_ever() -> None:
    assert "tables" not in GaussianHMM(3, 2).config()
    assert set(ProbabilityTable(torch.zeros(3)).state_dict()) == {"logits"}
    topology = Topology.from_probabilities(torch.tensor([1.0, 0.0]), torch.eye(2) / 2, torch.ones(2) / 2)
    assert "tables" not in SemiMarkovHMM(2, 2, topology=topology).config()


def test_parts_of_another_size_are_named() -> None:
    with pytest.raises(ValueError, match=r"initial must have shape \(3,\); got \(2,\)"):
        GaussianHMM(3, 2, initial=ProbabilityTable(torch.zeros(2)))
    with pytest.raises(ValueError, match=r"transition must have shape \(3, 3\) or \(3, 4\); got \(3, 2\)"):
        GaussianHMM(3, 2, transition=ProbabilityTable(torch.zeros(3, 2)))
    with pytest.raises(ValueError, match=r"transition must have shape \(3, 4\); got \(3, 3\)"):
        SemiMarkovHMM(3, 2, transition=ProbabilityTable(torch.zeros(3, 3)))
