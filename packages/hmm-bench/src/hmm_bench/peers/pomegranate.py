# /// script
# requires-python = "==3.11.*"
# dependencies = ["pomegranate==1.1.2", "numpy<2.3", "setuptools<81"]
# ///
"""pomegranate: EM in PyTorch, all sequences at once.

It counts ends among the transitions; the rows are normalised without them where it is not measured.
"""

from collections.abc import Callable
from importlib import metadata
from typing import Any

import torch
from numpy.typing import NDArray
from pomegranate.distributions import Normal
from pomegranate.gmm import GeneralMixtureModel
from pomegranate.hmm import DenseHMM

Arrays = dict[str, NDArray[Any]]


def version() -> str:
    """Version of pomegranate."""
    return metadata.version("pomegranate")


def em(arrays: Arrays, threads: int) -> tuple[Callable[[], Any], Callable[[Any], tuple[Any, ...]]]:
    """``summarize`` and ``from_summaries`` of a ``DenseHMM``."""
    torch.set_num_threads(threads)
    x = torch.from_numpy(arrays["x"])
    K, M, _ = arrays["mean"].shape
    mean, variance, weight = (torch.from_numpy(arrays[name]) for name in ("mean", "variance", "weight"))

    def density(state: int) -> Any:  # noqa: ANN401  (a distribution)
        """Distribution of one state."""
        parts = [
            Normal(mean[state, m].clone(), variance[state, m].clone(), covariance_type="diag")
            for m in range(M)
        ]
        return GeneralMixtureModel(parts, priors=weight[state].clone()) if M > 1 else parts[0]

    def run() -> Any:  # noqa: ANN401  (a model)
        """Build, and take one step."""
        model = DenseHMM(
            [density(state) for state in range(K)],
            edges=torch.from_numpy(arrays["transition"]).clone(),
            starts=torch.from_numpy(arrays["initial"]).clone(),
            ends=torch.ones(K, dtype=x.dtype),
        )
        with torch.no_grad():
            model.summarize(x)
            model.from_summaries()
        return model

    def convert(model: Any) -> tuple[Any, ...]:  # noqa: ANN401  (a model)
        """Take the parameters out."""
        edges = model.edges.exp()
        parts = [one.distributions if M > 1 else [one] for one in model.distributions]
        weights = [one.priors if M > 1 else torch.ones(1) for one in model.distributions]
        return (
            model.starts.exp().numpy(),
            (edges / edges.sum(1, keepdim=True)).numpy(),
            torch.stack(list(weights)).numpy(),
            torch.stack([torch.stack([part.means for part in row]) for row in parts]).numpy(),
            torch.stack([torch.stack([part.covs for part in row]) for row in parts]).numpy(),
        )

    return run, convert
