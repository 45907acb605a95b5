"""Starts and Viterbi training of an acoustic model (Kaldi's monophone recipe, Povey et al. 2011)."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmm_models import FullMixtureStatistics, MixtureStatistics, split_targets

from ._acoustic import AcousticModel
from ._config import AlignerConfig
from ._corpus import Prepared, minibatches
from ._features import FeatureStore
from ._graph import SILENCE, UnitModel, UtteranceGraph, build_graph
from ._graph_batch import BestPaths, GraphBatch, stack_tables, without_steps
from ._pool import Pool
from ._shards import Shards
from ._start import SHARED_PASSES, share, start_by_class
from ._tied import TiedModel

# A pause shorter than this is left to the phones around it until the silence has been learned.
_SHORTEST_PAUSE = 0.15  # seconds
# How far from an utterance's quiet frames towards its loud ones a frame may be and still count as a pause.
_PAUSE_LEVEL = 0.25
# Gaussians are dealt out by this power of a state's count; one wants so many frames and a weight (Kaldi's).
_SPLIT_POWER = 0.25
_MIN_OCCUPANCY = 10.0
_MIN_WEIGHT = 1e-5
# Mixtures stop growing after this share of the iterations, so that the last of them settle.
_GROWING = 0.75
# Frames whose statistics are collected at once.
_CHUNK = 30_000
# Arcs of graphs that are kept from one search of paths to the next: 16 bytes each.
_KEPT_SLOTS = 1 << 24


def flat_densities(
    features: Tensor,
    pronunciations: Sequence[Sequence[Sequence[str]]],
    models: Mapping[str, UnitModel],
    period: float,
) -> Tensor:
    """Deal an utterance's frames out: its pauses to the silence, the rest evenly to the phones' states.

    The first pronunciation of each word is taken. Where the pauses leave too few frames, there are none.
    """
    energy = torch.nn.functional.avg_pool1d(
        features[None, :, 0], kernel_size=5, stride=1, padding=2, count_include_pad=False
    )[0]
    low, high = torch.quantile(energy, energy.new_tensor([0.05, 0.9])).tolist()
    quiet = _long_runs((energy < low + _PAUSE_LEVEL * (high - low)).numpy(), round(_SHORTEST_PAUSE / period))
    states = np.concatenate([models[phone].densities for variants in pronunciations for phone in variants[0]])
    if (~quiet).sum() < len(states):
        quiet = np.zeros_like(quiet)
    num_loud, num_quiet = int((~quiet).sum()), int(quiet.sum())
    silence = models[SILENCE].densities
    densities = np.empty(len(quiet), dtype=np.int64)
    densities[~quiet] = states[np.arange(num_loud) * len(states) // num_loud]
    densities[quiet] = silence[np.arange(num_quiet) % len(silence)]
    return torch.from_numpy(densities)


def _long_runs(flags: NDArray[np.bool_], shortest: int) -> NDArray[np.bool_]:
    """Keep only the runs of True that are long enough."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    kept = np.zeros_like(flags)
    for start, end in edges.reshape(-1, 2):
        kept[start:end] = end - start >= shortest
    return kept


def is_realigned(iteration: int) -> bool:
    """Tell whether an iteration (from 1) searches paths: each at first, few once they hardly move."""
    return iteration <= 12 or iteration % 4 == 3


M = TypeVar("M", AcousticModel, TiedModel)
S = TypeVar("S", MixtureStatistics, FullMixtureStatistics)


class Trainer(Generic[M]):
    """Trains an acoustic model on prepared utterances, one iteration at a time."""

    # Frames of an utterance whose path is searched anew.
    _longest = math.inf

    def __init__(
        self,
        model: M,
        utterances: Sequence[Prepared],
        store: FeatureStore,
        models: Callable[[], Mapping[str, UnitModel]],
        config: AlignerConfig,
        shards: Shards | None = None,
        pool: Pool | None = None,
    ) -> None:
        self.model: M = model
        self.shards = shards or Shards()
        self.pool = pool or Pool()
        self.config = config
        self.iteration = 0
        self.log_likelihood: list[float] = []
        self.lost: list[Prepared] = []
        self._utterances = utterances
        searched = [item for item in utterances if item.num_frames <= self._longest]
        self._batches = minibatches(searched, config.batch_frames)
        self._store = store
        self._models = models
        self._graphs: dict[int, GraphBatch] = {}  # by number of the batch
        # By number of the utterance, the density that each frame reads: small integers, one for every frame.
        self.densities: dict[int, Tensor] = {}
        frames = sum(self.shards.gather(sum(item.num_frames for item in utterances)))
        budget = min(config.num_components, int(frames / config.frames_per_component))
        self._budget = max(budget, model.num_densities)

    def flat_start(self: "Trainer[AcousticModel]") -> None:
        """Estimate one Gaussian a state from evenly dealt frames."""
        models = self._models()
        for item in self._utterances:
            features = self._store.read(item.number)
            densities = flat_densities(features, item.pronunciations, models, self.config.frame_period)
            self.densities[item.number] = densities.to(torch.int16)
        self._update(self._statistics())

    def class_start(self: "Trainer[AcousticModel]", classes: Mapping[str, str]) -> None:
        """Estimate one Gaussian a state from paths that know no more than how each unit's class sounds."""
        sharing = start_by_class(self.model, classes, self.config.num_ceps)
        for number in range(SHARED_PASSES + 1):
            # At first all states of a unit sound the same: where between them a path passes, no score says.
            self._realign(even=number == 0)
            statistics = self._statistics()
            if number < SHARED_PASSES:
                statistics = share(statistics, sharing)
            self._update(statistics)
        self.log_likelihood.clear()

    def step(self) -> None:
        """Search paths where it is due, and re-estimate."""
        self.iteration += 1
        if self._searches():
            self._realign()
        statistics = self._statistics()
        self._update(statistics)
        grown = min(1.0, self.iteration / (_GROWING * self.config.iterations))
        num_components = self.model.num_densities + round(grown * (self._budget - self.model.num_densities))
        targets = split_targets(statistics.occupancy.sum(dim=1), num_components, power=_SPLIT_POWER)
        silence = self.model.units[SILENCE].densities
        targets[silence] = targets[silence].clamp_max(self.config.silence_components)
        self.model.mixtures.split(targets.maximum(self.model.mixtures.num_components))

    def _searches(self) -> bool:
        """Tell whether this iteration searches paths."""
        return is_realigned(self.iteration)

    def _update(self, statistics: MixtureStatistics) -> None:
        """Re-estimate the mixtures."""
        self.model.mixtures.update(statistics, min_occupancy=_MIN_OCCUPANCY, min_weight=_MIN_WEIGHT)

    def _realign(self, *, even: bool = False) -> None:
        """Find every utterance's best path; keep its densities, and estimate transitions from it."""
        steps, log_score, num_frames = self.search(even=even)
        self.model.update_transitions(steps)
        if num_frames:
            self.log_likelihood.append(log_score / num_frames)

    def search(self, *, even: bool = False) -> tuple[NDArray[np.float64], float, int]:
        """Find every utterance's best path and keep its densities; return steps, log score and frames.

        With ``even``, only the units of the paths count, and each unit's frames are dealt out to its states.
        """
        log_steps = self.model.log_steps()
        steps = torch.zeros_like(log_steps, dtype=torch.float64)
        log_score, num_frames = 0.0, 0
        self.lost = []

        def best(task: tuple[Sequence[Prepared], GraphBatch]) -> BestPaths:
            """Find the best paths of a batch."""
            batch, graphs = task
            features = [self._store.read(item.number) for item in batch]
            scored = stack_tables(self.model.tables(features, graphs.densities))
            return graphs.best_paths(log_steps, *scored, even=even)

        tasks = ((batch, self._graphs_of(number)) for number, batch in enumerate(self._batches))
        for batch, paths in zip(self._batches, self.pool.in_threads(best, tasks), strict=True):
            steps += paths.steps
            for item, densities, score in zip(
                batch, paths.densities.short(), paths.log_score.tolist(), strict=True
            ):
                if not math.isfinite(score):
                    self.lost.append(item)
                    self.densities.pop(item.number, None)
                    continue
                self.densities[item.number] = densities[: item.num_frames].clone()
                log_score += score
                num_frames += item.num_frames
        log_score, num_frames = (
            sum(values) for values in zip(*self.shards.gather((log_score, num_frames)), strict=True)
        )
        return self.shards.sum(steps.numpy()), log_score, num_frames

    def _graphs_of(self, number: int) -> GraphBatch:
        """Return the graphs of a batch; those of a large corpus are built anew each time."""
        if number in self._graphs:
            return self._graphs[number]
        models = {label: without_steps(unit) for label, unit in self._models().items()}
        graphs = GraphBatch(
            [self._build(item, models) for item in self._batches[number]], self.model.log_steps().shape[1]
        )
        if sum(kept.num_slots for kept in self._graphs.values()) + graphs.num_slots <= _KEPT_SLOTS:
            self._graphs[number] = graphs
        return graphs

    def _build(self, item: Prepared, models: Mapping[str, UnitModel]) -> UtteranceGraph:
        """Build the graph of an utterance's paths."""
        return build_graph(item.pronunciations, models, self.config.silence_prob)

    def _statistics(self, model: AcousticModel | TiedModel | None = None) -> MixtureStatistics:
        """Collect the statistics of all frames under the densities that they were given, of any model."""
        model = model or self.model
        mixtures = model.mixtures
        dtype = mixtures.working_dtype(torch.float32)
        return self._total(
            lambda observed, densities: mixtures.accumulate(observed, density_index=densities, dtype=dtype),
            MixtureStatistics.zeros(*mixtures.mean.shape),
            model.observe,
        )

    def _total(
        self,
        accumulate: Callable[[Tensor, Tensor], S],
        nothing: S,
        observe: Callable[[Tensor], Tensor] | None = None,
    ) -> S:
        """Add up statistics of what the densities read (N, D), or something else, and which do (N,)."""
        observe = observe or self.model.observe

        def collect(numbers: Sequence[int]) -> S:
            """Accumulate those of some utterances at once."""
            observed = torch.cat([observe(self._store.read(number)) for number in numbers])
            return accumulate(observed, torch.cat([self.densities[number] for number in numbers]).long())

        total = nothing
        for part in self.pool.in_threads(collect, self._chunks()):
            total = total + part
        return self.shards.sum_statistics(total)

    def _chunks(self) -> Iterator[list[int]]:
        """Yield the numbers of utterances that are taken at once."""
        chunk: list[int] = []
        waiting = 0
        for number in sorted(self.densities):
            chunk.append(number)
            waiting += len(self.densities[number])
            if waiting >= _CHUNK:
                yield chunk
                chunk, waiting = [], 0
        if chunk:
            yield chunk
