"""The tables of starts and steps as parts of a model."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from hmm_models._serialization import build_model, describe_model
from hmm_models.transitions._table import ProbabilityTable


@runtime_checkable
class TrainableTransition(Protocol):
    """Transitions that EM can train.

    Any ``nn.Module`` with these serves as the ``transition`` of a ``HiddenMarkovModel``, and is trained by EM
    and by gradient descent: ``ProbabilityTable``, ``HierarchicalTransition``, or one of your own.

    Examples
    --------
    >>> import torch
    >>> isinstance(ProbabilityTable(torch.zeros(2, 2)), TrainableTransition)
    True
    """

    @property
    def shape(self) -> torch.Size:
        """Of the table: (K, K), (K, K + 1) with the ends, or with an axis of classes before these."""
        ...

    @property
    def num_parameters(self) -> int:
        """Free parameters."""
        ...

    def log_prob(self) -> Tensor:
        """Log-probabilities of the steps; rows sum to 1 in probability."""
        ...

    def log_prior(self) -> Tensor:
        """Log-density (a scalar) of the parameters under a prior, up to a constant."""
        ...

    def update(self, counts: Tensor) -> None:
        """Replace the parameters by the most likely ones given expected counts of the steps (M-step)."""
        ...


def check_tables(initial: nn.Module, transition: nn.Module, shapes: Sequence[tuple[int, ...]]) -> None:
    """Refuse parts of another number of states; ``shapes`` are those that the last axes may have."""
    num_states = shapes[0][0]
    for name, part, expected in (("initial", initial, [(num_states,)]), ("transition", transition, shapes)):
        found = tuple(getattr(part, "shape", ()))
        classes = found[:-2] if name == "transition" and len(shapes) > 1 else ()
        if found not in [(*classes, *shape) for shape in expected] or len(classes) > 1:
            raise ValueError(f"{name} must have shape {' or '.join(map(str, expected))}; got {found}")


def describe_tables(**parts: nn.Module) -> dict[str, Any]:
    """Describe, for a model's ``config``, the parts that are more than plain tables."""
    special = {
        name: describe_model(part)
        for name, part in parts.items()
        if not isinstance(part, ProbabilityTable) or part.constrained or part.logits.ndim > 2
    }
    return {"tables": special} if special else {}


def build_tables(config: Mapping[str, Any]) -> dict[str, Any]:
    """Build the parts that ``describe_tables`` described: arguments of the model."""
    return {name: build_model(part) for name, part in config.get("tables", {}).items()}
