"""The best of several starts."""

import pytest
import torch
from torch import Tensor

from hmm_models import CategoricalEmission, GaussianHMM, HiddenMarkovModel, SemiMarkovHMM


def noise() -> Tensor:
    """Sequences in which there is nothing to find, and much to take for something."""
    return torch.randn(6, 40, 2, generator=torch.Generator().manual_seed(3)).double()


def test_the_model_is_the_likeliest_of_its_starts() -> None:
    x, model = noise(), GaussianHMM(4, 2).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = model.fit(x, restarts=6, seed=4, max_iterations=30)
    ends = [start.log_likelihood[-1] for start in result.restarts]
    assert len(ends) == 6
    assert max(ends) - min(ends) > 1.0
    assert result.log_likelihood[-1] == max(ends)
    assert model.score(x) == pytest.approx(max(ends), rel=1e-12)
    for index in (0, 3):  # each is what a fit with that seed gives alone
        model.load_state_dict(before)
        alone = model.fit(x, seed=4 + index, max_iterations=30)
        assert alone == result.restarts[index]


def test_the_same_seed_gives_the_same_model() -> None:
    x, models = noise(), [GaussianHMM(4, 2, topology="left_to_right").double() for _ in range(2)]
    results = [model.fit(x, restarts=4, seed=1, max_iterations=5) for model in models]
    assert results[0] == results[1]
    first, second = (model.state_dict() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_short_runs_choose_and_the_best_goes_on() -> None:
    x, model = noise(), GaussianHMM(4, 2).double()
    result = model.fit(x, restarts=5, restart_iterations=2, max_iterations=40, tolerance=1e-2)
    assert [len(start.reports) for start in result.restarts] == [2] * 5
    best = max(result.restarts, key=lambda start: start.log_likelihood[-1])
    assert result.log_likelihood[:3] == best.log_likelihood
    assert result.converged
    assert len(result.log_likelihood) == len(result.reports) + 1 <= 41
    assert (torch.tensor(result.log_likelihood).diff() > -1e-9).all()


def test_left_to_right_starts_differ_by_where_they_cut() -> None:
    x = noise()
    for model in (
        GaussianHMM(3, 2, topology="left_to_right").double(),
        SemiMarkovHMM(3, 2, 40, topology="left_to_right").double(),
    ):
        starts = model.fit(x, torch.tensor([40, 9, 3, 12, 30, 25]), restarts=4, max_iterations=1).restarts
        assert len({start.log_likelihood[0] for start in starts}) == 4


def test_random_cuts_give_every_state_a_frame() -> None:
    # Frames 0..8 of which each state keeps the mean: cut anywhere, means ascend strictly.
    x = torch.arange(9.0).double().view(1, 9, 1)
    for seed in range(20):
        model = GaussianHMM(9 if seed % 2 else 4, 1, topology="left_to_right").double()
        model.initialize(x, seed=seed, random_segments=True)
        assert (model.emission.mean.detach().flatten().diff() > 0).all()


def test_symbols_start_anew_too() -> None:
    x = torch.randint(3, (4, 30))
    result = HiddenMarkovModel(CategoricalEmission(2, 3)).fit(x, restarts=3, algorithm="viterbi")
    assert result.log_likelihood[-1] == max(start.log_likelihood[-1] for start in result.restarts)


def test_a_lazy_model_learns_its_width_before_the_first_start() -> None:
    model = SemiMarkovHMM(3, max_duration=20)
    assert len(model.fit(noise().float(), restarts=2, max_iterations=2).restarts) == 2


def test_wrong_numbers_are_named() -> None:
    x, model = noise(), GaussianHMM(2, 2).double()
    with pytest.raises(ValueError, match="restarts must be >= 1, and 1 without initialize; got 0"):
        model.fit(x, restarts=0)
    with pytest.raises(ValueError, match="restarts must be >= 1, and 1 without initialize; got 2"):
        model.fit(x, restarts=2, initialize=False)
    with pytest.raises(ValueError, match="restart_iterations must be >= 1; got 0"):
        model.fit(x, restarts=2, restart_iterations=0)
