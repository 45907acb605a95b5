"""Samples follow the posterior distribution of paths."""

from typing import Any

import pytest
import torch

from hmm_core import sample
from hmm_core.testing import enumerate_paths, random_hmm


def test_frequencies_are_posterior_probabilities(form: dict[str, Any]) -> None:
    for seed in range(100):
        hmm = random_hmm(3, 4, 3, impossible=0.1, seed=seed, **form)
        hmm = hmm._replace(lengths=torch.tensor([4, 2, 0]))
        exact = enumerate_paths(hmm)
        if exact.log_likelihood.isfinite().all():
            break
    count = 20_000
    states = hmm.apply(sample, num_samples=count, generator=torch.Generator().manual_seed(0))
    assert states.shape == (count, 3, 4)
    share = torch.stack([(states == k).double().mean(0) for k in range(3)], dim=-1)
    # Five standard deviations of a share of 20,000 draws.
    torch.testing.assert_close(share, exact.state, rtol=0, atol=5 * 0.5 / count**0.5)
    pairs = states[:, :, :-1] * 3 + states[:, :, 1:]
    inside = (states[:, :, :-1] >= 0) & (states[:, :, 1:] >= 0)
    joint = torch.stack([((pairs == k) & inside).double().mean(0) for k in range(9)], dim=-1)
    torch.testing.assert_close(joint, exact.transition.flatten(2), rtol=0, atol=5 * 0.5 / count**0.5)
    assert (states[:, 1, 2:] == -1).all()


def test_without_a_path_there_are_no_states() -> None:
    assert (random_hmm(2, 4, 3, impossible=1.0).apply(sample, num_samples=3) == -1).all()


def test_the_same_generator_state_gives_the_same_paths() -> None:
    hmm = random_hmm(2, 5, 3)
    first, second = (hmm.apply(sample, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert first.shape == (2, 5)
    assert torch.equal(first, second)


def test_sampling_needs_no_frames() -> None:
    assert random_hmm(2, 0, 3).apply(sample, num_samples=4).shape == (4, 2, 0)


def test_a_negative_number_of_samples_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^num_samples must be at least 0; got -1$"):
        random_hmm().apply(sample, num_samples=-1)
