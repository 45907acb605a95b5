"""Data and models that several tests use."""

from collections.abc import Callable, Iterator
from copy import deepcopy

import pytest
import torch
from torch import Tensor

from hmm_models import GaussianMixtures

# Two workers share a core; one thread each is fastest for small tensors.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Start every test from the same random state."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def mixtures() -> Callable[..., GaussianMixtures]:
    """Make random densities; some components are not in use."""

    def make(P: int = 3, M: int = 4, D: int = 5, dtype: torch.dtype = torch.float64) -> GaussianMixtures:
        model = GaussianMixtures(P, M, D).to(dtype)
        with torch.no_grad():
            model.weight_logits.normal_()
            model.log_variance.normal_(std=0.5)
            if M > 1:
                model.weight_logits[0, 1] = -torch.inf
                model.weight_logits[-1, 0] = -torch.inf
        return model

    return make


def component_log_joint(model: GaussianMixtures, x: Tensor) -> Tensor:
    """Log of weight times density by torch.distributions, in float64, all (N, P, M, D) terms at once."""
    model = deepcopy(model).double()
    normal = torch.distributions.Normal(model.mean.detach(), model.variance.detach().sqrt())
    log_prob: Tensor = normal.log_prob(x.double()[..., None, None, :])  # type: ignore[no-untyped-call]  # torch's
    return log_prob.sum(-1) + model.weight.detach().log()


@pytest.fixture
def log_joint() -> Callable[[GaussianMixtures, Tensor], Tensor]:
    """Give the definition of the component densities."""
    return component_log_joint
