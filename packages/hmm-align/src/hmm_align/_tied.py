"""Densities of phones among their neighbours: tied states that place the boundaries of a chosen chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmm_models import AffineTransform, GaussianMixtures

from ._decode import Scores
from ._graph import SILENCE, Unit, UnitModel
from ._phones import unit_of
from ._trees import StateTrees

if TYPE_CHECKING:
    from ._acoustic import AcousticModel

# Share of the states that were tied, in the log emissions that place boundaries.
_BASE_SHARE = 0.3


class TiedModel:
    """Mixtures of tied states, over the states and the steps of the monophones that they refine."""

    def __init__(self, base: AcousticModel, trees: StateTrees, variance_floor: float) -> None:
        self.base = base
        self.trees = trees
        self._variance_floor = variance_floor
        self.read(AffineTransform.identity(base.feature_dim))
        self._number = {label: number for number, label in enumerate(base.units)}
        self._state = torch.from_numpy(trees.states)

    def read(self, transform: AffineTransform) -> None:
        """Let untrained densities read transformed features, or cepstra of neighbouring frames."""
        self.transform = transform
        ones = torch.ones(transform.output_dim)
        self.mixtures = GaussianMixtures.flat(
            self.trees.num_leaves, torch.zeros_like(ones), ones, variance_floor=self._variance_floor
        )

    @property
    def num_densities(self) -> int:
        """Tied states."""
        return self.trees.num_leaves

    @property
    def units(self) -> Mapping[str, UnitModel]:
        """The silence, whose states are the same whatever its neighbours."""
        return {SILENCE: self.tied([SILENCE])[0]}

    def log_steps(self) -> Tensor:
        """Return the log probabilities (P, S + 1) of steps: those of the states that are tied."""
        return self.base.log_steps()[self._state]

    def update_transitions(self, steps: NDArray[np.float64]) -> None:
        """Leave steps as the monophones have learned them."""

    def tied(self, labels: Sequence[str]) -> list[UnitModel]:
        """Return the units of a chain of labels, each with the densities of its place."""
        units = [self.base.units[unit_of(label)] for label in labels]
        number = np.array([0, *(self._number[unit_of(label)] for label in labels), 0])
        sizes = [len(unit.densities) for unit in units]
        neighbours = np.repeat(np.stack([number[:-2], number[2:]], axis=1), sizes, axis=0)
        leaves = self.trees.leaves(np.concatenate([unit.densities for unit in units]), neighbours)
        own = np.split(leaves, np.cumsum(sizes)[:-1])
        return [replace(unit, densities=densities) for unit, densities in zip(units, own, strict=True)]

    def in_context(self, chains: Sequence[Sequence[Unit]]) -> tuple[list[list[Unit]], dict[str, UnitModel]]:
        """Return chains whose units have models of their own, and these by their names."""
        renamed: list[list[Unit]] = []
        models: dict[str, UnitModel] = {}
        for chain in chains:
            names = [str(len(models) + place) for place in range(len(chain))]
            models.update(zip(names, self.tied([unit.label for unit in chain]), strict=True))
            renamed.append([unit._replace(context=name) for unit, name in zip(chain, names, strict=True)])
        return renamed, models

    @torch.no_grad()
    def observe(self, features: Tensor) -> Tensor:
        """Return what the densities read of an utterance's features (T, D)."""
        if self.transform.feature_dim != self.base.feature_dim:
            num_frames = self.transform.feature_dim // (self.base.feature_dim // 3)
            features = spliced(features, num_frames // 2)
        observed: Tensor = self.transform(features)
        return observed

    @torch.no_grad()
    def log_emission(self, observed: Tensor, densities: Tensor) -> Tensor:
        """Return log p(observed | density) of some densities (Q,), (..., Q)."""
        return self.mixtures.select(densities).log_prob(observed)

    def tables(self, features: Sequence[Tensor], densities: Sequence[Tensor]) -> list[Tensor]:
        """Return for each utterance (T, D) the log densities (T, Q) of some of them (Q,)."""
        return [
            self.log_emission(self.observe(item), own) for item, own in zip(features, densities, strict=True)
        ]

    def scores(self, features: Tensor, base: Scores) -> Scores:
        """Return what scores the frames of an utterance (T, D), given what does so without context.

        The states that were tied have a share in it: a voice that was not trained on fools them less.
        """
        observed = self.observe(features)

        def score(frames: slice, densities: Tensor) -> Tensor:
            """Return log emissions (T', Q)."""
            own = self.log_emission(observed[frames], densities)
            return torch.lerp(own, base(frames, self._state[densities]), _BASE_SHARE)

        return score

    def to_tensors(self) -> dict[str, Tensor]:
        """Return everything learned, as tensors by name."""
        state = self.mixtures.state_dict() | {
            f"transform.{name}": value for name, value in self.transform.state_dict().items()
        }
        trees = {f"trees.{name}": torch.from_numpy(value) for name, value in self.trees._asdict().items()}
        return {name: value.detach() for name, value in state.items()} | trees

    @classmethod
    def of_tensors(cls, base: AcousticModel, tensors: Mapping[str, Tensor]) -> TiedModel:
        """Build a model from what ``to_tensors`` returned."""
        trees = StateTrees(*(tensors[f"trees.{name}"].numpy() for name in StateTrees._fields))
        model = cls(base, trees, variance_floor=1.0)
        model.transform = AffineTransform(tensors["transform.weight"], tensors["transform.bias"])
        state = {name: value for name, value in tensors.items() if "." not in name}
        model.mixtures = GaussianMixtures(*state["mean"].shape)
        model.mixtures.load_state_dict(state)
        return model


def spliced(features: Tensor, neighbours: int) -> Tensor:
    """Set the cepstra of each frame side by side with those of so many on either side; the edges repeat.

    The first third of the features (T, D) are the cepstra; the others are their slopes.
    """
    cepstra = features[:, : features.shape[1] // 3]
    first, last = cepstra[:1].expand(neighbours, -1), cepstra[-1:].expand(neighbours, -1)
    return torch.cat([first, cepstra, last]).unfold(0, 2 * neighbours + 1, 1).flatten(1)
