"""Training of tied states, from the paths of the monophones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmm_models import (
    AffineTransform,
    FullMixtureStatistics,
    accumulate_lda,
    accumulate_mllt,
    estimate_lda,
    estimate_mllt,
    transform_statistics,
)

from ._acoustic import AcousticModel
from ._config import AlignerConfig
from ._corpus import Prepared
from ._features import FeatureStore
from ._graph import SILENCE, UnitModel, UtteranceGraph, build_chain
from ._graph_batch import without_steps
from ._tied import TiedModel, spliced
from ._training import Trainer
from ._trees import ContextStatistics, grow_trees, phonetic_questions

# Frames that a tied state must have, and nats that a split must gain.
_MIN_COUNT = 100.0
_MIN_GAIN = 200.0
# Iterations of their mixtures; those that search paths first; those that estimate the transform instead.
_ITERATIONS = 12
_SEARCHES = frozenset({2, 4, 6, 9})
_TRANSFORMS = frozenset({2, 4, 6})
# Dimensions that linear discriminant analysis keeps.
_LDA_DIM = 36


class TiedTrainer(Trainer[TiedModel]):
    """Grows trees over the contexts of monophones on their best paths, then trains the tied states."""

    def __init__(
        self,
        base: AcousticModel,
        utterances: Sequence[Prepared],
        store: FeatureStore,
        densities: Mapping[int, Tensor],
        language: str,
        config: AlignerConfig,
    ) -> None:
        paths = {number: path_of(states.long().numpy(), base) for number, states in densities.items()}
        self._chains = {number: path.chain for number, path in paths.items()}
        trees = grow_trees(
            context_statistics(paths, store),
            phonetic_questions(list(base.units), language),
            base.num_densities,
            np.full(store.feature_dim, config.variance_floor),
            unsplit=base.units[SILENCE].densities.tolist(),
            max_leaves=config.tied_states,
            min_count=_MIN_COUNT,
            min_gain=_MIN_GAIN,
        )
        super().__init__(
            TiedModel(base, trees, config.variance_floor),
            [item for item in utterances if item.number in densities],
            store,
            dict,
            replace(config, iterations=_ITERATIONS),
        )
        for number, path in paths.items():
            leaves = trees.leaves(path.context[:, 0], path.context[:, 1:])
            self.densities[number] = torch.from_numpy(leaves).short()
        if config.feature_transform == "lda+mllt":
            self._part()
        self._update(self._statistics())

    def step(self) -> None:
        """Search paths now and then, estimate the transform or the mixtures, and let these grow."""
        if self.config.feature_transform != "none" and self.iteration + 1 in _TRANSFORMS:
            self.iteration += 1
            self._realign()
            self._turn()
        else:
            super().step()

    def _searches(self) -> bool:
        """Tell whether this iteration searches paths."""
        return self.iteration in _SEARCHES

    def _part(self) -> None:
        """Read the directions in which the cepstra around a frame part the tied states best (LDA)."""
        total: FullMixtureStatistics | None = None
        for number in sorted(self.densities):
            part = accumulate_lda(
                spliced(self._store.read(number)),
                self.model.num_densities,
                density_index=self.densities[number].long(),
            )
            total = part if total is None else total + part
        if total is None:
            return
        transform = estimate_lda(total, min(_LDA_DIM, self.model.base.feature_dim)).transform
        self.model.read(_single(transform))

    def _turn(self) -> None:
        """Turn the features so that their dimensions vary independently in each Gaussian (MLLT)."""
        total: FullMixtureStatistics | None = None
        for features, densities in self._chunks():
            part = accumulate_mllt(self.model.mixtures, features, density_index=densities)
            total = part if total is None else total + part
        if total is None:
            return
        transform = estimate_mllt(total).transform
        self._update(transform_statistics(transform, total))
        self.model.transform = _single(transform).compose(self.model.transform)

    def _build(self, item: Prepared, _models: Mapping[str, UnitModel]) -> UtteranceGraph:
        """Build the chain of units that the monophones have chosen."""
        labels = list(self.model.base.units)
        units = self.model.tied([labels[number] for number in self._chains[item.number]])
        names = [str(place) for place in range(len(units))]
        return build_chain(
            names, {name: without_steps(unit) for name, unit in zip(names, units, strict=True)}
        )


def _single(transform: AffineTransform) -> AffineTransform:
    """Return a transform in single precision, that of features."""
    return AffineTransform(transform.weight.float(), transform.bias.float())


class _Path(NamedTuple):
    """The units of a best path, and in which context each frame's state stands."""

    chain: NDArray[np.int64]  # (U,) numbers of the units
    context: NDArray[np.int64]  # (T, 3) the state, the unit before its own, the one after


def path_of(densities: NDArray[np.int64], base: AcousticModel) -> _Path:
    """Find the units on a path of densities (T,).

    Within a phone the states follow each other: one that falls back is of the same phone once more.
    """
    sizes = [len(unit.densities) for unit in base.units.values()]
    unit = np.repeat(np.arange(len(sizes)), sizes)[densities]
    again = (np.diff(densities, prepend=densities[:1]) < 0) & (unit != 0)
    begins = (np.diff(unit, prepend=-1) != 0) | again
    chain = unit[begins]
    around = np.array([0, *chain, 0])
    place = begins.cumsum() - 1
    return _Path(chain, np.stack([densities, around[place], around[place + 2]], axis=1))


def context_statistics(paths: Mapping[int, _Path], store: FeatureStore) -> ContextStatistics:
    """Sum up the features of each state between each pair of neighbours."""
    base = 1 + max(int(path.context.max()) for path in paths.values())
    power = np.array([base * base, base, 1])
    codes = np.unique(np.concatenate([np.unique(path.context @ power) for path in paths.values()]))
    moments = torch.zeros(len(codes), 1 + 2 * store.feature_dim, dtype=torch.float64)
    for number, path in sorted(paths.items()):
        features = store.read(number).double()
        rows = torch.cat([torch.ones(len(features), 1), features, features.square()], dim=1)
        moments.index_add_(0, torch.from_numpy(np.searchsorted(codes, path.context @ power)), rows.double())
    neighbours = np.stack([codes // base % base, codes % base], axis=1)
    return ContextStatistics(codes // (base * base), neighbours, moments.numpy())
