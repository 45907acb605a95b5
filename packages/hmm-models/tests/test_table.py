import pytest
import torch

from hmm_models import ProbabilityTable


def test_rows_are_normalised_and_zeros_stay_zero_through_em() -> None:
    table = ProbabilityTable(torch.tensor([[2.0, 2.0, 0.0], [1.0, 0.0, 3.0]]).log())
    torch.testing.assert_close(table().exp().detach(), torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.0, 0.75]]))
    table.update(torch.tensor([[1.0, 3.0, 5.0], [0.0, 0.0, 0.0]]))
    # Counts of what is forbidden are ignored; a row without counts keeps its probabilities.
    torch.testing.assert_close(table().exp().detach(), torch.tensor([[0.25, 0.75, 0.0], [0.25, 0.0, 0.75]]))


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_zeros_stay_zero_through_gradient_descent(optimizer: type[torch.optim.Optimizer]) -> None:
    table = ProbabilityTable(torch.tensor([0.5, 0.5, 0.0]).log())
    stepper = optimizer(table.parameters(), lr=0.1)  # type: ignore[call-arg]  # every optimizer but the base has it
    for _ in range(5):
        table.logits.grad = torch.autograd.grad(-table()[0], table.logits)[0]
        stepper.step()
    assert torch.isfinite(table.logits[:2]).all()
    assert table.logits[2] == -torch.inf
    assert table().exp()[0] > 0.6


def test_impossible_tables_and_counts_are_named() -> None:
    with pytest.raises(ValueError, match="log_weight must be < inf, without NaN"):
        ProbabilityTable(torch.tensor([torch.nan, 0.0]))
    with pytest.raises(ValueError, match="log_weight must allow something in every row"):
        ProbabilityTable(torch.tensor([[0.0, 0.0], [-torch.inf, -torch.inf]]))
    table = ProbabilityTable(torch.zeros(2))
    with pytest.raises(ValueError, match=r"counts must have shape \(2,\); got \(3,\)"):
        table.update(torch.zeros(3))
    with pytest.raises(ValueError, match="counts must be finite and >= 0"):
        table.update(torch.tensor([-1.0, 1.0]))
