import pytest
import torch

import hmm_core
from hmm_models import Topology, phone_topology, silence_topology


@pytest.mark.parametrize(
    "topology",
    [phone_topology(), phone_topology(1), phone_topology(5, 0.0), silence_topology(), silence_topology(3)],
)
def test_steps_and_ends_of_each_state_sum_to_one(topology: Topology) -> None:
    assert topology.log_final is not None
    total = topology.log_transition.exp().sum(-1) + topology.log_final.exp()
    torch.testing.assert_close(total, torch.ones_like(total))
    assert float(topology.log_initial.exp().sum()) == 1.0


def test_default_phone_has_kaldis_three_states() -> None:
    topology = phone_topology()
    expected = torch.tensor([[0.75, 0.25, 0.0], [0.0, 0.75, 0.25], [0.0, 0.0, 0.75]])
    torch.testing.assert_close(topology.log_transition.exp(), expected)
    assert topology.log_final is not None
    assert topology.log_final.exp().tolist() == [0.0, 0.0, 0.25]


@pytest.mark.parametrize(("topology", "shortest"), [(phone_topology(), 3), (silence_topology(), 3)])
def test_shortest_duration_is_as_documented(topology: Topology, shortest: int) -> None:
    for T, possible in ((shortest - 1, False), (shortest, True)):
        score = hmm_core.log_likelihood(
            topology.log_initial,
            topology.log_transition,
            torch.zeros(1, T, len(topology.log_initial)),
            log_final=topology.log_final,
        )
        assert bool(score > -torch.inf) is possible


def test_wrong_sizes_and_probabilities_are_named() -> None:
    one, square = torch.tensor([1.0, 0.0]), torch.tensor([[0.5, 0.5], [0.0, 1.0]])
    with pytest.raises(ValueError, match="num_states must be >= 1; got 0"):
        phone_topology(0)
    with pytest.raises(ValueError, match=r"self_loop_prob must be in \[0, 1\); got 1.0"):
        phone_topology(3, 1.0)
    with pytest.raises(ValueError, match=r"num_states must be >= 3 .*; got 2"):
        silence_topology(2)
    with pytest.raises(ValueError, match=r"transition must have shape \(K, K\) = \(2, 2\); got \(2, 3\)"):
        Topology.from_probabilities(one, torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"final must have shape \(K,\) = \(2,\); got \(3,\)"):
        Topology.from_probabilities(one, square, torch.zeros(3))
    with pytest.raises(ValueError, match="initial must hold probabilities"):
        Topology.from_probabilities(torch.tensor([2.0, -1.0]), square)
    with pytest.raises(ValueError, match=r"transition must sum to 1 in each row, .* row 1 sums to 1\.5"):
        Topology.from_probabilities(one, torch.tensor([[0.5, 0.5], [0.5, 1.0]]))
