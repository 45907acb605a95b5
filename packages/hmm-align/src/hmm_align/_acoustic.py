"""The acoustic model of an aligner: what each phone's states sound like, and how the states follow."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmm_models import GaussianMixtures, ScaledPosterior, phone_topology, silence_topology

from ._config import AlignerConfig
from ._features import Extractor, FeatureExtractor
from ._graph import SILENCE, InContext, UnitModel
from ._network import make_network
from ._phones import unit_of
from ._tied import TiedModel

# Added to the count of every allowed step, so that a state seen once does not become certain of anything.
_STEP_PRIOR = 5.0


class Scorer(NamedTuple):
    """What some transcripts need of an acoustic model: their units, and the densities that these read."""

    models: Mapping[str, UnitModel]  # by label, or by the names that ``in_context`` gives
    log_emission: Callable[[Tensor], Tensor]  # features (..., D) to log densities (..., P)
    num_background: int  # densities of phones whatever is around them; they come first
    free: Mapping[str, UnitModel]  # the units that read these: of every phone and of the silence
    in_context: InContext | None = None


class AcousticModel:
    """Units (the silence and the phones), each with its own densities and transition probabilities.

    Densities are numbered unit by unit, the silence's first. Features should have mean 0 and variance 1.
    Mixtures of Gaussians find the words; where there is a ``network`` of the same densities, or a model of
    ``tied`` states, it places their boundaries.
    """

    # Features are normalised to a speaker's mean and variance before they are scored.
    is_normalized = True

    def __init__(
        self,
        phones: Sequence[str],
        feature_dim: int,
        states_per_phone: int,
        silence_states: int,
        variance_floor: float,
    ) -> None:
        self.phones = tuple(phones)
        self.feature_dim = feature_dim
        self.units: dict[str, UnitModel] = {}
        self.num_densities = 0
        for label in (SILENCE, *self.phones):
            topology = (
                phone_topology(states_per_phone) if label != SILENCE else silence_topology(silence_states)
            )
            size = len(topology.log_initial)
            self.units[label] = UnitModel(
                np.arange(self.num_densities, self.num_densities + size),
                topology.log_initial.double().numpy(),
                topology.log_transition.double().numpy(),
                _final(topology.log_final),
            )
            self.num_densities += size
        self._max_states = max(states_per_phone, silence_states)
        self.mixtures = GaussianMixtures.flat(
            self.num_densities,
            torch.zeros(feature_dim),
            torch.ones(feature_dim),
            variance_floor=variance_floor,
        )
        self.network: ScaledPosterior | None = None
        self.tied: TiedModel | None = None

    def observe(self, features: Tensor) -> Tensor:
        """Return what the densities read of an utterance's features: these."""
        return features

    def described(self) -> str:
        """Return what tells this model from others."""
        digest = hashlib.sha256()
        for name, value in self.to_tensors().items():
            digest.update(name.encode() + value.detach().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def front_end(self, config: AlignerConfig) -> Extractor:
        """Return what turns a recording into features."""
        return FeatureExtractor(config)

    def scorer(self, labels: Iterable[str], _num_frames: int = 0) -> Scorer:
        """Return the units of phones, and of the silence; a phone's is the same wherever it stands.

        ``_num_frames``, of the longest recording, is for models that must save memory.
        """
        models = {label: self.units[unit_of(label)] for label in sorted(set(labels))}
        models[SILENCE] = self.units[SILENCE]
        return Scorer(models, self.log_emission, self.num_densities, self.units)

    @torch.no_grad()
    def log_emission(self, features: Tensor) -> Tensor:
        """Return log p(features | density), (..., P)."""
        return self.mixtures.log_prob(features)

    def tables(self, features: Sequence[Tensor], densities: Sequence[Tensor]) -> list[Tensor]:
        """Return for each utterance (T, D) the log densities (T, Q) of some of them (Q,)."""
        # One product for all is faster than one for each, although most of these need some densities only.
        every = torch.split(self.log_emission(torch.cat(list(features))), [len(item) for item in features])
        return [table.index_select(1, own) for table, own in zip(every, densities, strict=True)]

    @torch.no_grad()
    def network_emission(self, features: Tensor) -> Tensor:
        """Return the network's scaled log-likelihoods (T, P) of one utterance's features (T, D)."""
        if self.network is None:
            raise ValueError("the acoustic model must have a network")
        scores: Tensor = self.network(features[None])
        return scores[0]

    def no_steps(self) -> NDArray[np.float64]:
        """Return counts (P, S + 1) of steps from a density's state to a state of its unit, last out of it."""
        return np.zeros((self.num_densities, self._max_states + 1))

    def log_steps(self) -> Tensor:
        """Return the log probabilities (P, S + 1) of steps, laid out as ``no_steps``."""
        log_steps = np.full((self.num_densities, self._max_states + 1), -np.inf)
        for unit in self.units.values():
            log_steps[unit.densities, : len(unit.densities)] = unit.log_transition
            log_steps[unit.densities, -1] = unit.log_final
        return torch.from_numpy(log_steps).float()

    def update_transitions(self, steps: NDArray[np.float64]) -> None:
        """Re-estimate how states follow from counted steps; a step that was forbidden stays so."""
        for label, unit in self.units.items():
            size = len(unit.densities)
            counts = steps[unit.densities]
            counts = np.concatenate([counts[:, :size], counts[:, -1:]], axis=1) + _STEP_PRIOR
            possible = np.concatenate([unit.log_transition, unit.log_final[:, None]], axis=1) > -np.inf
            counts[~possible] = 0.0
            with np.errstate(divide="ignore"):
                log_probs = np.log(counts / counts.sum(axis=1, keepdims=True))
            self.units[label] = replace(unit, log_transition=log_probs[:, :-1], log_final=log_probs[:, -1])

    def to_tensors(self) -> dict[str, Tensor]:
        """Return everything learned, as tensors by name."""
        tensors = {f"mixtures.{name}": value.detach() for name, value in self.mixtures.state_dict().items()}
        if self.network is not None:
            tensors |= {f"network.{name}": value for name, value in self.network.state_dict().items()}
        if self.tied is not None:
            tensors |= {f"tied.{name}": value for name, value in self.tied.to_tensors().items()}
        for number, unit in enumerate(self.units.values()):
            tensors[f"unit{number}.log_transition"] = torch.from_numpy(unit.log_transition)
            tensors[f"unit{number}.log_final"] = torch.from_numpy(unit.log_final)
        return tensors

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take what ``to_tensors`` returned."""
        state = _part(tensors, "mixtures.")
        self.mixtures = GaussianMixtures(self.num_densities, state["mean"].shape[1], self.feature_dim)
        self.mixtures.load_state_dict(state)
        state = _part(tensors, "network.")
        self.network = None
        if state:
            channels = state["classifier.output.weight"].shape[1]
            self.network = make_network(self.feature_dim, channels, self.num_densities)
            self.network.load_state_dict(state)
        state = _part(tensors, "tied.")
        self.tied = TiedModel.of_tensors(self, state) if state else None
        for number, (label, unit) in enumerate(self.units.items()):
            self.units[label] = replace(
                unit,
                log_transition=tensors[f"unit{number}.log_transition"].numpy(),
                log_final=tensors[f"unit{number}.log_final"].numpy(),
            )


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with the prefix, by the rest of their names."""
    return {name.removeprefix(prefix): item for name, item in tensors.items() if name.startswith(prefix)}


def _final(log_final: Tensor | None) -> NDArray[np.float64]:
    """Return exit probabilities of a topology, which phones and silences always have."""
    if log_final is None:
        raise ValueError("the topology of a unit must have log_final")
    final: NDArray[np.float64] = log_final.double().numpy()
    return final
