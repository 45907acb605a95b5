"""The alignment of a batch: mixtures find the paths, and what refines them places the boundaries."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ._acoustic import AcousticModel, Scorer
from ._calibration import MIXTURES, NETWORK, TIED, UncertaintyMap
from ._config import AlignerConfig
from ._corpus import Prepared
from ._decode import (
    Scores,
    UnitTimes,
    best_paths,
    intervals,
    look_up,
    path_units,
    skipped_words,
    unit_ratios,
    unit_times,
    word_intervals,
)
from ._graph import SILENCE, Extended, Unit, UnitModel, UtteranceGraph, build_graph
from ._graph_batch import stack_tables
from ._loose import free_densities, make_loose, with_filler
from ._phones import labels_of
from ._refine import change_of
from ._result import UNEXPLAINED, Alignment
from .sphinx import SphinxModel


class _Path(NamedTuple):
    """An utterance's best path, and what scored it."""

    item: Prepared
    features: Tensor  # (T, D)
    change: Tensor  # (T, C) of the spectrum, C = 0 if it is not asked for
    chain: list[Unit]
    starts: NDArray[np.int64]  # (U,) the frames in which the units begin
    ratios: NDArray[np.float64]  # (U,)
    log_score: float
    log_emission: Tensor  # (T, P)
    other: Tensor | None  # (T,) densities that explain the frames without a transcript


class _Place(NamedTuple):
    """Where the units of a path end, and what their spreads mean."""

    times: UnitTimes
    uncertainty_of: UncertaintyMap


class BatchAligner:
    """Aligns utterances of like length together; small enough to be sent to a process."""

    def __init__(
        self, acoustic: AcousticModel | SphinxModel, config: AlignerConfig, *, loose: bool = False
    ) -> None:
        self._acoustic = acoustic
        self._config = config
        self._loose = loose

    def __call__(
        self, task: tuple[Sequence[Prepared], Sequence[Tensor], Sequence[Tensor]]
    ) -> list[Alignment]:
        """Align utterances, given their features and changes; return what was found in their order."""
        batch, features, changes = task
        scorer = self._acoustic.scorer(labels_of(batch), max(item.num_frames for item in batch))
        freedom = make_loose(scorer.num_background, self._config) if self._loose else None
        models = scorer.models
        if freedom is not None:
            models = Extended({UNEXPLAINED: freedom.filler}, models)
        graphs = [
            build_graph(
                item.pronunciations, scorer.models, self._config.silence_prob, scorer.in_context, freedom
            )
            for item in batch
        ]
        found = list(self._search(batch, features, changes, scorer, graphs))
        paths = [item for item in found if isinstance(item, _Path)]
        places = iter(self._placed(paths, models, scorer.num_background))
        return [
            item if isinstance(item, Alignment) else self._alignment(item, next(places)) for item in found
        ]

    def _search(
        self,
        batch: Sequence[Prepared],
        features: Sequence[Tensor],
        changes: Sequence[Tensor],
        scorer: Scorer,
        graphs: Sequence[UtteranceGraph],
    ) -> Iterator[_Path | Alignment]:
        """Yield each utterance's best path, or that it has none."""
        log_emission, lengths = stack_tables([scorer.log_emission(item) for item in features])
        silent = log_emission[..., scorer.models[SILENCE].densities].amax(dim=-1)
        other = None
        if self._loose:
            other = free_densities(scorer.free, log_emission, lengths)
            log_emission = with_filler(log_emission, other, scorer.num_background, self._config.filler_margin)
        paths = best_paths(log_emission, lengths, graphs)
        for number, (item, (states, score)) in enumerate(zip(batch, paths, strict=True)):
            frames = slice(0, item.num_frames)
            # A voice unlike those of the training may be less likely than silence, but it is not steady.
            silence = float(silent[number, frames].sum()) if item.is_steady else -torch.inf
            reason = _refusal(graphs[number], states, score, silence)
            if reason:
                yield Alignment.failure(item.id, reason, item.duration)
                continue
            chain, starts = path_units(graphs[number], states)
            densities = graphs[number].density_of_state[states]
            own = log_emission[number, frames]
            yield _Path(
                item,
                features[number],
                changes[number],
                chain,
                starts,
                unit_ratios(own, densities, starts, scorer.num_background),
                score,
                own,
                None if other is None else other[number, frames],
            )

    def _placed(
        self, paths: Sequence[_Path], models: Mapping[str, UnitModel], num_background: int
    ) -> list[_Place]:
        """Place the boundaries of paths."""
        config = self._config
        tied = None
        if isinstance(self._acoustic, AcousticModel) and config.acoustic == "triphone":
            tied = self._acoustic.tied
        # Tied states know no other speech: beside it, the mixtures place the boundaries.
        in_context = [
            tied is not None and all(unit.label != UNEXPLAINED for unit in path.chain) for path in paths
        ]
        alone = [path for path, is_refined in zip(paths, in_context, strict=True) if not is_refined]
        places = {
            False: _place(
                alone,
                [path.chain for path in alone],
                models,
                [look_up(self._table(path, num_background)) for path in alone],
                config.network_scale if config.acoustic == "neural" else config.posterior_scale,
                NETWORK if config.acoustic == "neural" else MIXTURES,
            )
        }
        if tied is not None:
            among = [path for path, is_refined in zip(paths, in_context, strict=True) if is_refined]
            places[True] = _place(
                among,
                *tied.in_context([path.chain for path in among]),
                [tied.scores(path.features, look_up(path.log_emission)) for path in among],
                config.posterior_scale,
                TIED,
            )
        return [next(places[is_refined]) for is_refined in in_context]

    def _table(self, path: _Path, num_background: int) -> Tensor:
        """Return the log emissions (T, P) that place boundaries: the network's, if there is one."""
        if not isinstance(self._acoustic, AcousticModel) or self._config.acoustic != "neural":
            return path.log_emission
        log_emission = self._acoustic.network_emission(path.features)
        if path.other is None:
            return log_emission
        return with_filler(log_emission, path.other, num_background, self._config.filler_margin)

    def _alignment(self, path: _Path, place: _Place) -> Alignment:
        """Name what a path says."""
        item = path.item
        phones = intervals(
            path.chain,
            place.times,
            path.ratios,
            item.duration,
            self._config,
            place.uncertainty_of,
            change_of(path.change, self._config.sample_rate) if self._config.change_weight else None,
        )
        words = word_intervals(path.chain, phones, item.words)
        return Alignment(
            item.id,
            item.duration,
            tuple(words),
            tuple(phones),
            log_likelihood_per_frame=path.log_score / item.num_frames,
            skipped=tuple(skipped_words(path.chain, phones, item.words)),
            loose=self._loose,
        )


def _place(
    paths: Sequence[_Path],
    chains: Sequence[Sequence[Unit]],
    models: Mapping[str, UnitModel],
    scores: Sequence[Scores],
    scale: float,
    uncertainty_of: UncertaintyMap,
) -> Iterator[_Place]:
    """Yield where the units of paths end, by the scores of their frames."""
    starts, lengths = [path.starts for path in paths], [path.item.num_frames for path in paths]
    for times in unit_times(chains, starts, models, scores, lengths, scale):
        yield _Place(times, uncertainty_of)


def _refusal(graph: UtteranceGraph, states: NDArray[np.int64], score: float, silence: float) -> str:
    """Say why a best path is no alignment, given what silence alone would score; nothing if it is one."""
    if score == -torch.inf:
        return "no path: the transcript does not fit the recording"
    if score <= silence:
        return "no speech: silence explains the recording better than its transcript does"
    if all(unit.word < 0 for unit in path_units(graph, states)[0]):
        return "no word of the transcript is heard in the recording"
    return ""
