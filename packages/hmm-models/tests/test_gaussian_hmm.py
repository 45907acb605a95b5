import pytest
import torch

import hmm_core
from hmm_core.testing import Arguments, assert_coherent
from hmm_models import GaussianHMM, Topology, phone_topology, silence_topology


@pytest.mark.parametrize("topology", ["ergodic", "left_to_right", phone_topology(3), silence_topology(3)])
def test_inference_is_that_of_hmm_core_on_the_models_parts(topology: str | Topology) -> None:
    model, x = GaussianHMM(3, 2, 2, topology=topology).double(), torch.randn(2, 6, 2).double()
    lengths = torch.tensor([6, 4])
    chain, log_emission = model.topology, model.emission.log_prob(x)
    arguments = (chain.log_initial, chain.log_transition, log_emission, lengths)
    expected = hmm_core.posterior(*arguments, log_final=chain.log_final)
    torch.testing.assert_close(model(x, lengths), expected.log_likelihood)
    torch.testing.assert_close(model.posterior(x, lengths).state, expected.state)
    path = hmm_core.viterbi(*arguments, log_final=chain.log_final)
    assert torch.equal(model.viterbi(x, lengths).states, path.states)
    assert torch.equal(model.viterbi(x, lengths).log_score, path.log_score)


def test_the_parts_form_a_coherent_model() -> None:
    model, x = GaussianHMM(3, 2, topology=phone_topology(3)).double(), torch.randn(2, 6, 2).double()
    chain = model.topology
    log_emission = model.emission.log_prob(x)
    assert_coherent(
        Arguments(chain.log_initial, chain.log_transition, log_emission, log_final=chain.log_final)
    )


def test_padding_is_never_read_and_order_and_batch_size_change_nothing() -> None:
    model, x = GaussianHMM(3, 2), torch.randn(3, 8, 2)
    lengths = torch.tensor([8, 5, 1])
    poisoned = x.clone()
    poisoned[1, 5:], poisoned[2, 1:] = torch.nan, torch.inf
    together = model.log_likelihood(poisoned, lengths)
    alone = torch.stack([model.log_likelihood(x[i : i + 1, :n])[0] for i, n in enumerate(lengths.tolist())])
    torch.testing.assert_close(together, alone)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(model.log_likelihood(poisoned[order], lengths[order]), together[order])
    assert (model.viterbi(poisoned, lengths).states[1, 5:] == -1).all()
    assert model.posterior(poisoned, lengths).state[2, 1:].count_nonzero() == 0
    gradients = torch.autograd.grad(together.sum(), tuple(model.parameters()))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_an_impossible_sequence_scores_minus_infinity_and_has_no_path() -> None:
    model = GaussianHMM(3, 2, topology=phone_topology(3))
    x, lengths = torch.randn(2, 4, 2), torch.tensor([4, 2])
    score = model.log_likelihood(x, lengths)
    assert torch.isfinite(score[0])
    assert score[1] == -torch.inf
    assert (model.viterbi(x, lengths).states[1] == -1).all()
    gradients = torch.autograd.grad(score, tuple(model.parameters()), torch.ones(2))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_sampled_paths_obey_the_topology_and_end_where_they_may() -> None:
    model = GaussianHMM(3, 2, topology=phone_topology(3, 0.5))
    sample = model.sample(5, 200, generator=torch.Generator().manual_seed(1))
    assert sample.states.shape == (200, 5)
    assert sample.features.shape == (200, 5, 2)
    steps = sample.states.diff(dim=1)
    assert set(steps.flatten().tolist()) == {0, 1}
    assert (sample.states[:, 0] == 0).all()
    assert (sample.states[:, -1] == 2).all()
    again = model.sample(5, 200, generator=torch.Generator().manual_seed(1))
    assert torch.equal(sample.features, again.features)
    with pytest.raises(ValueError, match="num_frames must be the length of a possible path; got 2"):
        model.sample(2)


def test_sampled_frames_follow_the_stationary_distribution() -> None:
    transition = torch.tensor([[0.9, 0.1], [0.3, 0.7]])
    model = GaussianHMM(2, 1, topology=Topology.from_probabilities(torch.tensor([0.75, 0.25]), transition))
    states = model.sample(50, 400, generator=torch.Generator().manual_seed(0)).states
    # The chain starts in its stationary distribution (3/4, 1/4); five standard errors of correlated frames.
    assert float((states == 0).float().mean()) == pytest.approx(0.75, abs=0.03)


def test_gradient_descent_raises_the_likelihood_and_keeps_what_is_forbidden() -> None:
    truth = GaussianHMM(3, 2, topology="left_to_right")
    with torch.no_grad():
        truth.emission.mean.copy_(torch.tensor([[[-3.0, 0.0]], [[0.0, 3.0]], [[3.0, 0.0]]]))
    x = truth.sample(15, 8, generator=torch.Generator().manual_seed(0)).features
    model = GaussianHMM(3, 2, 2, topology="left_to_right")
    with torch.no_grad():
        model.emission.weight_logits[0, 1] = -torch.inf
    forbidden = model.transition.logits == -torch.inf
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    history = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = -model(x).mean()
        torch.autograd.backward([loss])
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
        optimizer.step()
        history.append(float(loss.detach()))
    assert history[-1] < history[0] - 10
    assert torch.equal(model.transition.logits == -torch.inf, forbidden)
    assert model.emission.weight_logits[0, 1] == -torch.inf
    assert model.fit(x, initialize=False, max_iterations=3).log_likelihood[-1] > -history[-1] * len(x)


def test_compiles_as_one_graph() -> None:
    model, x = GaussianHMM(3, 2), torch.randn(2, 4, 2)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), model(x))


def test_obs_dim_is_an_alias_of_feature_dim() -> None:
    assert GaussianHMM(2, obs_dim=5).feature_dim == GaussianHMM(2, 5).feature_dim == 5
    for size in (None, 5):
        with pytest.raises(ValueError, match="exactly one of feature_dim and its alias obs_dim"):
            GaussianHMM(2, size, obs_dim=size)


def test_repr_tells_the_structure() -> None:
    text = repr(GaussianHMM(2, 5, 3))
    assert "num_states=2, feature_dim=5, num_mixtures=3, covariance_type='diag', has_final=False" in text


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"covariance_type must be one of \('spherical', .*; got 'round'"):
        GaussianHMM(2, 3, covariance_type="round")
    with pytest.raises(ValueError, match=r"one of \('ergodic', 'left_to_right'\); got 'ring'"):
        GaussianHMM(2, 3, topology="ring")
    with pytest.raises(ValueError, match=r"topology.log_initial must have shape \(K,\) = \(2,\); got \(3,\)"):
        GaussianHMM(2, 3, topology=phone_topology(3))
    with pytest.raises(ValueError, match="num_states must be >= 1; got 0"):
        GaussianHMM(0, 3)
    model = GaussianHMM(2, 3)
    with pytest.raises(ValueError, match=r"x must have shape \(B, T, D\) = \(B, T, 3\); got \(5, 3\)"):
        model(torch.zeros(5, 3))
    with pytest.raises(ValueError, match=r"lengths must have shape \(B,\) = \(2,\), with .*got \(3,\)"):
        model(torch.zeros(2, 5, 3), torch.tensor([1, 2, 3]))
    with pytest.raises(ValueError, match="lengths"):
        model(torch.zeros(2, 5, 3), torch.tensor([1, 9]))
