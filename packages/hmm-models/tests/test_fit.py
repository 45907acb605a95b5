import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

import hmm_core
from hmm_models import (
    FitResult,
    GaussianHMM,
    LikelihoodDecreaseError,
    Topology,
    phone_topology,
    silence_topology,
)


def assert_healthy(model: GaussianHMM, result: FitResult, tolerance: float = 1e-6) -> None:
    """No NaN, rows that sum to one, a likelihood that never falls."""
    assert all(not torch.isnan(value).any() for value in model.state_dict().values())
    for rows in (model.initial(), model.transition(), model.emission.weight.log()):
        torch.testing.assert_close(rows.detach().exp().sum(-1), torch.ones(rows.shape[:-1]))
    assert (model.emission.variance > 0).all()
    for (before, after), report in zip(
        itertools.pairwise(result.log_likelihood), result.reports, strict=True
    ):
        assert after >= before - tolerance * abs(before) or report.removed


def speech(B: int = 3, T: int = 60, D: int = 3, scale: float = 3.0) -> Tensor:
    """Draw sequences that stay in a region for a while."""
    centers = torch.randn(B, T // 6, D) * scale
    return centers.repeat_interleave(6, 1) + torch.randn(B, T // 6 * 6, D)


@pytest.mark.parametrize("topology", ["ergodic", "left_to_right", silence_topology(5)])
@pytest.mark.parametrize("num_mixtures", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_likelihood_never_falls(topology: str | Topology, num_mixtures: int, dtype: torch.dtype) -> None:
    model, x = GaussianHMM(5, 3, num_mixtures, topology=topology).to(dtype), speech().to(dtype) + 100
    result = model.fit(x, torch.tensor([60, 37, 3]), max_iterations=12, tolerance=0.0)
    assert_healthy(model.float(), result)
    assert result.log_likelihood[-1] > result.log_likelihood[0]


def test_the_last_likelihood_is_the_models() -> None:
    model, x = GaussianHMM(3, 3).double(), speech().double()
    result = model.fit(x)
    assert result.converged
    assert len(result.log_likelihood) == len(result.reports) + 1
    assert float(model(x).sum().detach()) == pytest.approx(result.log_likelihood[-1], rel=1e-9)
    assert not GaussianHMM(3, 3).fit(x.float(), max_iterations=1, tolerance=0.0).converged
    assert GaussianHMM(3, 3).fit(x.float(), max_iterations=0).reports == ()


def test_known_parameters_are_recovered() -> None:
    transition = torch.tensor([[0.9, 0.1, 0.0], [0.0, 0.8, 0.2], [0.3, 0.0, 0.7]])
    truth = GaussianHMM(3, 2, topology=Topology.from_probabilities(torch.tensor([1.0, 0.0, 0.0]), transition))
    mean = torch.tensor([[-3.0, 0.0], [0.0, 4.0], [3.0, 0.0]])
    with torch.no_grad():
        truth.emission.mean.copy_(mean.unsqueeze(1))
    x = truth.sample(200, 20, generator=torch.Generator().manual_seed(0)).features
    model = GaussianHMM(3, 2)
    model.fit(x)
    order = model.emission.mean.detach()[:, 0, 0].argsort()
    # Five standard errors: 4,000 frames, and about 1,300 departures from each state.
    torch.testing.assert_close(model.emission.mean.detach()[order, 0], mean, atol=0.15, rtol=0.0)
    found = model.transition().detach().exp()[order][:, order]
    torch.testing.assert_close(found, transition, atol=0.06, rtol=0.0)
    assert float(model(x).sum().detach()) > float(truth(x).sum().detach()) - 1


def test_ends_are_counted_once_per_sequence() -> None:
    x, lengths = torch.randn(4, 9, 2).double(), torch.tensor([9, 1, 0, 5])
    model = GaussianHMM(1, 2, topology=phone_topology(1)).double()
    model.fit(x, lengths, max_iterations=1)
    log_final = model.topology.log_final
    assert log_final is not None
    # Three sequences end within fifteen frames.
    assert log_final.exp().tolist() == pytest.approx([3 / 15])
    assert model.topology.log_transition.exp().tolist() == [pytest.approx([12 / 15])]


def test_two_clusters_in_one_state_are_found_by_its_components() -> None:
    side = torch.randint(2, (4, 100, 1)) * 2.0 - 1
    x = side * torch.tensor([4.0, -4.0]) + torch.randn(4, 100, 2)
    model = GaussianHMM(1, 2, num_mixtures=2)
    model.fit(x)
    assert sorted(model.emission.mean.detach()[0, :, 0].tolist()) == pytest.approx([-4, 4], abs=0.4)


def test_forbidden_steps_starts_and_ends_stay_forbidden() -> None:
    model, x = GaussianHMM(5, 3, topology=silence_topology(5)), speech()
    forbidden = [value == -torch.inf for value in (model.initial.logits, model.transition.logits)]
    model.fit(x, max_iterations=10)
    for value, mask in zip((model.initial.logits, model.transition.logits), forbidden, strict=True):
        assert (value[mask] == -torch.inf).all()
    steps = model.viterbi(x).states
    log_transition = model.topology.log_transition
    assert torch.isfinite(log_transition[steps[:, :-1], steps[:, 1:]]).all()
    assert (steps[:, -1] == 4).all()


def test_batches_weights_and_repetition_agree() -> None:
    x, lengths = speech().double(), torch.tensor([60, 41, 30])
    whole, parts, weighted, repeated = (GaussianHMM(3, 3).double() for _ in range(4))
    results: Sequence[FitResult] = (
        whole.fit(x, lengths, max_iterations=5, tolerance=0.0),
        parts.fit(x, lengths, max_iterations=5, tolerance=0.0, batch_size=2),
    )
    assert results[0].log_likelihood == pytest.approx(results[1].log_likelihood, rel=1e-12)
    for model in (weighted, repeated):
        model.load_state_dict(whole.state_dict())
    weighted.fit(x, lengths, torch.tensor([1.0, 2.0, 0.0]), max_iterations=2, initialize=False)
    order = torch.tensor([0, 1, 1])
    repeated.fit(x[order], lengths[order], max_iterations=2, initialize=False)
    for name, value in weighted.state_dict().items():
        torch.testing.assert_close(value, repeated.state_dict()[name], rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_float32_keeps_the_log_likelihood_of_a_long_sequence() -> None:
    model = GaussianHMM(4, 13)
    chain = (model.initial().double(), model.transition().double())
    for x in torch.randn(6, 1, 50_000, 13):
        found = model.accumulate(x)
        assert all(value.dtype == torch.float64 for value in found.tensors())
        expected = hmm_core.log_likelihood(*chain, model.log_emission(x).double()).sum()
        # float32 has steps of 0.06 where log-likelihoods are -1e6.
        torch.testing.assert_close(found.log_likelihood, expected, rtol=0.0, atol=5e-3)


def test_a_sequence_of_weight_zero_has_no_say_at_all() -> None:
    x = speech()
    x[2] = 1e4
    a, b = GaussianHMM(3, 3), GaussianHMM(3, 3)
    b.load_state_dict(a.state_dict())
    a.fit(x, weights=torch.tensor([1.0, 1.0, 0.0]), max_iterations=3)
    b.fit(x[:2], max_iterations=3)
    for name, value in a.state_dict().items():
        torch.testing.assert_close(value, b.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_model() -> None:
    x, models = speech(), [GaussianHMM(4, 3, 2) for _ in range(2)]
    for model in models:
        model.fit(x, seed=3, max_iterations=4)
    first, second = (model.state_dict() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_thirty_nine_dimensions_and_three_frames_per_state_stay_finite() -> None:
    x = torch.randn(1, 15, 39) * 30
    for num_mixtures in (1, 2):
        model = GaussianHMM(5, 39, num_mixtures, topology="left_to_right")
        assert_healthy(model, model.fit(x, max_iterations=20, tolerance=0.0))


def test_identical_frames_and_constant_dimensions_stay_finite() -> None:
    same = torch.full((2, 10, 3), 7.0)
    constant = speech()
    constant[..., 1] = 1e3
    for x in (same, constant):
        for num_mixtures in (1, 3):
            model = GaussianHMM(4, 3, num_mixtures)
            assert_healthy(model, model.fit(x, max_iterations=10, tolerance=0.0))
            assert torch.isfinite(model(x)).all()


def test_sequences_of_one_frame_stay_finite() -> None:
    x = torch.randn(6, 1, 2)
    for topology in ("ergodic", "left_to_right"):
        model = GaussianHMM(3, 2, topology=topology)
        assert_healthy(model, model.fit(x, max_iterations=10, tolerance=0.0))


def test_sequences_without_a_path_are_named() -> None:
    x, lengths = torch.randn(4, 5, 2), torch.tensor([5, 2, 3, 1])
    model = GaussianHMM(3, 2, topology=phone_topology(3))
    with pytest.raises(ValueError, match=r"no path of the model can produce sequences \[1, 3\]"):
        model.fit(x, lengths)
    assert_healthy(model, model.fit(x, lengths, torch.tensor([1.0, 0.0, 1.0, 0.0]), max_iterations=3))


def test_empty_sequences_are_ignored() -> None:
    x, a, b = speech(), GaussianHMM(3, 3), GaussianHMM(3, 3)
    b.load_state_dict(a.state_dict())
    a.fit(x, torch.tensor([60, 0, 60]), max_iterations=3)
    b.fit(x[[0, 2]], max_iterations=3)
    for name, value in a.state_dict().items():
        torch.testing.assert_close(value, b.state_dict()[name], rtol=1e-5, atol=1e-6)


def test_a_hundred_restarts_stay_healthy() -> None:
    x, lengths = speech(2, 6, 2), torch.tensor([6, 4])
    for seed in range(100):
        model = GaussianHMM(3, 2, 2)
        assert_healthy(model, model.fit(x, lengths, seed=seed, max_iterations=2, tolerance=0.0))


def test_features_far_from_zero_train_as_well_as_centred_ones() -> None:
    x = speech().double()
    near, far = GaussianHMM(3, 3), GaussianHMM(3, 3)
    a = near.fit(x, max_iterations=5, tolerance=0.0).log_likelihood[-1]
    b = far.fit(x + 1e4, max_iterations=5, tolerance=0.0).log_likelihood[-1]
    # A mean of 1e4 keeps three decimals in float32.
    assert a == pytest.approx(b, rel=1e-4)


def test_a_falling_likelihood_is_an_error_that_says_by_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = GaussianHMM(2, 3), speech()
    model.fit(x)
    honest = GaussianHMM.update

    def spoil(self: GaussianHMM, statistics: object, **options: float) -> object:
        report = honest(self, statistics, **options)  # type: ignore[arg-type]  # passed on as it came
        with torch.no_grad():
            self.emission.mean.add_(1.0)
        return report

    monkeypatch.setattr(GaussianHMM, "update", spoil)
    with pytest.raises(LikelihoodDecreaseError, match=r"log-likelihood fell .* in iteration 1: by .* nats"):
        model.fit(x, initialize=False)


def test_wrong_arguments_are_named() -> None:
    model, x = GaussianHMM(2, 3), speech()
    with pytest.raises(ValueError, match=r"weights must have shape \(B,\) = \(3,\); got \(2,\)"):
        model.fit(x, weights=torch.ones(2))
    with pytest.raises(ValueError, match="batch_size must be >= 1; got 0"):
        model.fit(x, batch_size=0)
    with pytest.raises(ValueError, match="x must hold at least one valid frame of positive weight"):
        model.fit(x, torch.zeros(3, dtype=torch.int64))
    x[1, 2, 0] = torch.nan
    with pytest.raises(ValueError, match="x must be finite"):
        model.fit(x)
    statistics = model.zero_statistics()
    with pytest.raises(TypeError, match="unsupported operand"):
        _ = statistics + 1  # type: ignore[operator]  # what the test is about
