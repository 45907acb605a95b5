"""Where training starts from: how sounds are made, or what a model of another language has learned.

Dealt out evenly, a minute of speech teaches each phone mostly its neighbours, and training never recovers.
But in every language vowels are loud, sibilants hiss, stops are quiet and then burst. That much, said once in
a small table, puts the first paths near enough to the truth for training to find the rest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from hmm_models import MixtureStatistics
from hmm_speech import PhoneSet, articulatory_class

from ._acoustic import AcousticModel
from ._graph import SILENCE
from ._phones import unit_of

# Paths that are searched while the phones of a class still share their densities.
SHARED_PASSES = 8


class _Trait(NamedTuple):
    """Mean and standard deviation of one feature over one class, where all speech has 0 and 1."""

    mean: float
    deviation: float


class _Traits(NamedTuple):
    """How loud a class is, how its spectrum tilts towards the bass, and how its loudness grows."""

    loudness: _Trait
    tilt: _Trait
    growth: _Trait


# Rounded to halves from 24 sentences of a Scottish reader with hand-corrected labels: the middle third of
# each phone.
_CLASSES = {
    SILENCE: _Traits(_Trait(-1.0, 0.5), _Trait(-0.5, 0.5), _Trait(0.0, 0.5)),
    "stop": _Traits(_Trait(-0.5, 0.5), _Trait(-0.5, 0.5), _Trait(0.5, 2.0)),
    "affricate": _Traits(_Trait(0.0, 0.5), _Trait(-1.0, 0.5), _Trait(2.5, 1.5)),
    "fricative": _Traits(_Trait(0.0, 0.5), _Trait(-1.0, 1.0), _Trait(0.0, 1.0)),
    "sibilant": _Traits(_Trait(1.0, 0.5), _Trait(-3.0, 0.5), _Trait(0.0, 0.5)),
    "nasal": _Traits(_Trait(0.0, 0.5), _Trait(0.5, 0.5), _Trait(0.0, 1.0)),
    "liquid": _Traits(_Trait(1.0, 0.5), _Trait(1.5, 0.5), _Trait(0.0, 0.5)),
    "glide": _Traits(_Trait(0.5, 0.5), _Trait(2.0, 0.5), _Trait(1.0, 0.5)),
    "vowel": _Traits(_Trait(1.0, 0.5), _Trait(1.0, 0.5), _Trait(0.0, 0.5)),
}


def classes_of(units: Sequence[str], language: str) -> dict[str, str] | None:
    """Name the class of each unit, by its language's phones or as IPA; None if that of one is not known."""
    phones = PhoneSet.of(language)
    found = {}
    for unit in units:
        try:
            found[unit] = phones.kind(unit) if unit in phones else articulatory_class(unit)
        except ValueError:
            return None
    return found


def start_by_class(model: AcousticModel, classes: Mapping[str, str], num_ceps: int) -> Tensor:
    """Give each unit the densities of its class; return which densities (P,) share theirs, as numbers.

    Features are cepstra followed by their slopes: loudness is C0, tilt C1, and growth the slope of C0. All
    other features are taken to be the same for every class.
    """
    columns = [0, 1, num_ceps]
    state = {name: value.clone() for name, value in model.mixtures.state_dict().items()}
    sharing = torch.zeros(model.num_densities, dtype=torch.int64)
    groups: dict[tuple[str, int], int] = {}
    for label, unit in model.units.items():
        kind = classes.get(label, SILENCE)
        traits = _CLASSES[kind]
        for position, density in enumerate(unit.densities.tolist()):
            sharing[density] = groups.setdefault((kind, position), len(groups))
            state["mean"][density, :, columns] = torch.tensor([trait.mean for trait in traits])
            deviation = torch.tensor([trait.deviation for trait in traits])
            state["log_variance"][density, :, columns] = 2 * deviation.log()
    model.mixtures.load_state_dict(state)
    return sharing


def share(statistics: MixtureStatistics, sharing: Tensor) -> MixtureStatistics:
    """Give every density the statistics of all that it shares with."""
    size = int(sharing.max()) + 1

    def pooled(sums: Tensor) -> Tensor:
        """Add up over those that share."""
        return sums.new_zeros(size, *sums.shape[1:]).index_add(0, sharing, sums)[sharing]

    return MixtureStatistics(
        pooled(statistics.occupancy), pooled(statistics.first), pooled(statistics.second)
    )


def nearest_units(
    units: Sequence[str], language: str, known: Sequence[str], known_language: str
) -> dict[str, str]:
    """Pair each unit with that of another model which is made most like it; the same label if it has it.

    Raises ValueError if how a unit is made is not known.
    """
    source, target = PhoneSet.of(known_language), PhoneSet.of(language)
    described = {unit: source.get(unit, unit) for unit in known}
    there = PhoneSet(described)
    return {
        unit: unit
        if unit in described and language == known_language
        else there.nearest(target.get(unit, unit))
        for unit in units
    }


def start_from(model: AcousticModel, initial: AcousticModel, mapping: Mapping[str, str]) -> None:
    """Give each unit the densities and steps that the unit of another model has learned; the silence too."""
    source = torch.empty(model.num_densities, dtype=torch.int64)
    for label, unit in model.units.items():
        taken = initial.units[SILENCE if label == SILENCE else unit_of(mapping[label])]
        source[unit.densities] = torch.from_numpy(taken.densities)
        model.units[label] = replace(taken, densities=unit.densities)
    model.mixtures = initial.mixtures.select(source)
