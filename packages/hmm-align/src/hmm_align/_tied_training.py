"""Training of tied states, from the paths of the monophones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
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
from ._pool import Pool
from ._shards import Shards
from ._tied import TiedModel, spliced
from ._training import Trainer
from ._trees import ContextStatistics, grow_trees, phonetic_questions

# With frames of 10 ms, those that a tied state must have, and nats that a split must gain.
_MIN_COUNT = 100.0
_MIN_GAIN = 200.0
_USUAL_PERIOD = 0.010  # seconds
# Iterations of their mixtures; those that search paths first.
_ITERATIONS = 12
_SEARCHES = frozenset({4, 9})
# Gaussians for each that the monophones have.
_RICHER = 2
# The iteration that estimates how the features are turned, while states have one Gaussian each, and passes
# over the rows in it: more of them gain next to nothing.
_TURN = 2
_SWEEPS = 20
# Seconds to either side whose cepstra linear discriminant analysis sees, and dimensions that it keeps.
_AROUND = 0.020
_LDA_DIM = 36
# Seconds of speech from which on states see more of their surroundings. From fewer, they learn their noise.
_LONG_ENOUGH = 600.0


class TiedTrainer(Trainer[TiedModel]):
    """Grows trees over the contexts of monophones on their best paths, then trains the tied states."""

    # So that the densities of a long one, which may have hundreds of tied states, fit into memory.
    _longest = 60_000

    def __init__(
        self,
        base: AcousticModel,
        utterances: Sequence[Prepared],
        store: FeatureStore,
        densities: Mapping[int, Tensor],
        language: str,
        config: AlignerConfig,
        shards: Shards | None = None,
        pool: Pool | None = None,
    ) -> None:
        shards = shards or Shards()
        paths = {number: path_of(states.long().numpy(), base) for number, states in densities.items()}
        self._chains = {number: path.chain for number, path in paths.items()}
        statistics = context_statistics(paths, store, len(base.units), shards)
        trees = grow_trees(
            statistics,
            phonetic_questions(list(base.units), language),
            base.num_densities,
            np.full(store.feature_dim, config.variance_floor),
            unsplit=base.units[SILENCE].densities.tolist(),
            max_leaves=config.tied_states,
            min_count=_MIN_COUNT * _USUAL_PERIOD / config.frame_period,
            min_gain=_MIN_GAIN * _USUAL_PERIOD / config.frame_period,
        )
        super().__init__(
            TiedModel(base, trees, config.variance_floor),
            [item for item in utterances if item.number in densities],
            store,
            dict,
            replace(
                config,
                iterations=_ITERATIONS,
                num_components=_RICHER * config.num_components,
                frames_per_component=config.frames_per_component / _RICHER,
            ),
            shards,
            pool,
        )
        for number, path in paths.items():
            leaves = trees.leaves(path.context[:, 0], path.context[:, 1:])
            self.densities[number] = torch.from_numpy(leaves).short()
        self._transform = config.feature_transform
        if self._transform == "auto":
            seconds = config.frame_period * float(statistics.moments[:, 0].sum())
            self._transform = "lda+mllt" if seconds >= _LONG_ENOUGH else "none"
        if self._transform == "lda+mllt":
            self._part()
        self._update(self._statistics())

    def step(self) -> None:
        """Search paths now and then, estimate the transform or the mixtures, and let these grow."""
        if self._transform != "none" and self.iteration + 1 == _TURN:
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
        num_states = self.model.num_densities
        around = partial(spliced, neighbours=max(1, round(_AROUND / self.config.frame_period)))

        def accumulate(cepstra: Tensor, densities: Tensor) -> FullMixtureStatistics:
            return accumulate_lda(cepstra, num_states, density_index=densities)

        nothing = around(torch.zeros(1, self.model.base.feature_dim))[:0]
        total = self._total(accumulate, accumulate(nothing, torch.empty(0, dtype=torch.int64)), around)
        dim = min(_LDA_DIM, self.model.base.feature_dim)
        found = self.pool.in_one_thread(partial(estimate_lda, output_dim=dim), total)
        self.model.read(_single(found.transform))

    def _turn(self) -> None:
        """Turn the features so that their dimensions vary independently in each Gaussian (MLLT)."""
        mixtures = self.model.mixtures

        def accumulate(observed: Tensor, densities: Tensor) -> FullMixtureStatistics:
            return accumulate_mllt(mixtures, observed, density_index=densities)

        nothing = torch.empty(0, mixtures.feature_dim), torch.empty(0, dtype=torch.int64)
        total = self._total(accumulate, accumulate(*nothing))
        found = self.pool.in_one_thread(partial(estimate_mllt, max_sweeps=_SWEEPS), total)
        transform = found.transform
        self._update(self.pool.in_one_thread(partial(transform_statistics, transform), total))
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


def context_statistics(
    paths: Mapping[int, _Path], store: FeatureStore, num_units: int, shards: Shards
) -> ContextStatistics:
    """Sum up the features of each state between each pair of neighbours, over all shards."""
    power = np.array([num_units * num_units, num_units, 1])
    seen = [np.unique(path.context @ power) for path in paths.values()]
    codes = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *seen]))
    codes = np.unique(np.concatenate(shards.gather(codes)))
    moments = torch.zeros(len(codes), 1 + 2 * store.feature_dim, dtype=torch.float64)
    for number, path in sorted(paths.items()):
        features = store.read(number).double()
        rows = torch.cat([torch.ones(len(features), 1), features, features.square()], dim=1)
        moments.index_add_(0, torch.from_numpy(np.searchsorted(codes, path.context @ power)), rows.double())
    neighbours = np.stack([codes // num_units % num_units, codes % num_units], axis=1)
    return ContextStatistics(codes // (num_units * num_units), neighbours, shards.sum(moments.numpy()))
