"""An acoustic model of CMU Sphinx as the aligner sees it: units in context, and the densities they read."""

import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hmm_align._acoustic import Scorer
from hmm_align._config import AlignerConfig
from hmm_align._features import Extractor
from hmm_align._graph import SILENCE, UnitModel
from hmm_align._phones import unit_of
from hmm_models import ModelFileError

from ._files import POSITIONS, SILENCE_PHONE, Definition, SphinxFiles, read_sphinx
from ._front_end import FrontEnd
from ._mixtures import TiedMixtures

PREFIX = "sphinx:"

# Frames of a recording whose phones are modelled in context: thousands of numbers for each of them.
LONGEST_IN_CONTEXT = 60_000
# Sphinx puts boundaries where a frame begins, 7.8 ms before where they are here, between the centres of two
# frames. The marks of some voices suit the one better, those of others the other.
_BOUNDARY_SHIFT = -0.005  # seconds
_POSTERIOR_SCALE = 0.07
# The voice is never one of the training.
_CHANGE_WEIGHT = 2.0


def find_model(name: str) -> Path:
    """Return the folder that ``sphinx:NAME`` means: a model of the wheel of pocketsphinx, or a folder."""
    wanted = name.removeprefix(PREFIX)
    if not wanted:
        raise ModelFileError(Path(name), 'the name of a model must follow, as in "sphinx:en-us"')
    folder = Path(wanted)
    if folder.is_dir() or folder.name != wanted:
        return folder
    spec = importlib.util.find_spec("pocketsphinx")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(f'{name} is in the package pocketsphinx: pip install "hmm-align[sphinx]"')
    models = Path(spec.submodule_search_locations[0]) / "model"
    folder = models / wanted / wanted
    if not folder.is_dir():
        known = ", ".join(sorted(item.name for item in models.iterdir() if item.is_dir()))
        raise ModelFileError(folder, f"pocketsphinx has no such model, but {known}; or give a folder")
    return folder


class SphinxModel:
    """What an aligner needs of an acoustic model, read from its folder.

    A phone is modelled by the triphone of its neighbours and its place in the word, or the nearest that the
    model has.
    """

    # Its front end normalises features by itself.
    is_normalized = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        files = read_sphinx(folder)
        self._front_end = FrontEnd(files.options, files.transform, folder / "feat.params")
        dims = tuple(item.shape[2] for item in files.means)
        if dims != self._front_end.stream_dims:
            raise ModelFileError(
                folder / "means",
                f"its streams must have the dimensions {self._front_end.stream_dims}; got {dims}",
            )
        self.feature_dim = self._front_end.feature_dim
        # Utterances one by one: each asks for a few hundred of the thousands of densities.
        self.config = AlignerConfig(
            sample_rate=self._front_end.sample_rate,
            frame_period=self._front_end.frame_period,
            batch_frames=1,
            posterior_scale=_POSTERIOR_SCALE,
            boundary_shift=_BOUNDARY_SHIFT,
            change_weight=_CHANGE_WEIGHT,
        )
        definition = files.definition
        self.phones = tuple(
            name for name, filler in zip(definition.phones, definition.is_filler, strict=True) if not filler
        )
        self._files = files
        self._mixtures = TiedMixtures(files)
        self._triphones = _Triphones(definition)

    def __reduce__(self) -> tuple[Callable[[Path], "SphinxModel"], tuple[Path]]:
        """Let other processes read the folder themselves, once each."""
        return _read_once, (self._folder,)

    def described(self) -> str:
        """Return what tells this model from others: its files."""
        files = [(item.name, item.stat()) for item in sorted(self._folder.iterdir())]
        return repr([(name, state.st_size, state.st_mtime_ns) for name, state in files])

    def front_end(self, _config: AlignerConfig) -> Extractor:
        """Return what turns a recording into features: what the model was trained with."""
        return self._front_end

    def scorer(self, _labels: Iterable[str], num_frames: int) -> Scorer:
        """Return what scores transcripts: units in context, and only the densities that they need.

        Those of an hour need all of them, more than memory holds: units are then out of context.
        """
        units = _Units(self._files, self._mixtures, self._triphones)
        free = {label: units[label] for label in (SILENCE, *self.phones)}
        in_context = units.in_context if num_frames <= LONGEST_IN_CONTEXT else None
        return Scorer(units, units.log_emission, units.num_background, free, in_context)


@cache
def _read_once(folder: Path) -> SphinxModel:
    """Read a folder if this process has not read it yet."""
    return SphinxModel(folder)


class _Triphones:
    """Looks triphones up, and backs off as Sphinx does."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.number = {name: index for index, name in enumerate(definition.phones)}
        self.silence = self.number[SILENCE_PHONE]
        self._found: dict[tuple[int, int, int, int], int] = {}

    def row(self, phone: int, left: int, right: int, position: int) -> int:
        """Return the row of the definition that models a phone between two others."""
        key = phone, left, right, position
        if key not in self._found:
            self._found[key] = self._search(*key)
        return self._found[key]

    def _search(self, phone: int, left: int, right: int, position: int) -> int:
        """Try the triphone, then in other places of a word, then beside silence; else the phone alone."""
        begins, ends = POSITIONS[position] in "bs", POSITIONS[position] in "es"
        contexts = [(left, right), (self.silence if begins else left, self.silence if ends else right)]
        places = [position, *(place for place in range(len(POSITIONS)) if place != position)]
        for context in dict.fromkeys(contexts):
            for place in places:
                code = self.definition.code(phone, *context, place)
                index = int(np.searchsorted(self.definition.triphone_codes, code))
                if (
                    index < len(self.definition.triphone_codes)
                    and self.definition.triphone_codes[index] == code
                ):
                    return int(self.definition.triphone_rows[index])
        return phone


class _Units(Mapping[str, UnitModel]):
    """The units that a batch of transcripts has asked for, by name, and the densities of their states.

    Densities are numbered as they are asked for; those of the phones out of context come first. The number
    after these is left free, for other speech.
    """

    def __init__(self, files: SphinxFiles, mixtures: TiedMixtures, triphones: _Triphones) -> None:
        self._files = files
        self._mixtures = mixtures
        self._triphones = triphones
        self._senones: dict[int, int] = {}
        self._units: dict[str, UnitModel] = {}
        for senone in range(files.definition.num_ci_senones):
            self._senones[senone] = senone
        self.num_background = len(self._senones)

    def in_context(self, phone: str, left: str, right: str, position: str) -> str:
        """Name the unit of a phone between two others, ``""`` being silence; equal states have one name."""
        row = self._triphones.row(
            self._base(phone), self._base(left), self._base(right), POSITIONS.index(position)
        )
        return self._named(row)

    def _base(self, label: str) -> int:
        return self._triphones.silence if label == SILENCE else self._triphones.number[unit_of(label)]

    def _named(self, row: int) -> str:
        definition = self._files.definition
        states, matrix = definition.states[row], int(definition.transition[row])
        name = f"{matrix}:{','.join(map(str, states.tolist()))}"
        if name not in self._units:
            numbers = [self._senones.setdefault(senone, len(self._senones) + 1) for senone in states.tolist()]
            with np.errstate(divide="ignore"):
                steps = np.log(self._files.transitions[matrix])
            log_initial = np.full(len(numbers), -np.inf)
            log_initial[0] = 0.0
            self._units[name] = UnitModel(np.asarray(numbers), log_initial, steps[:, :-1], steps[:, -1])
        return name

    def __getitem__(self, name: str) -> UnitModel:
        if name not in self._units:
            return self._units[self._named(self._base(name))]
        return self._units[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._units)

    def __len__(self) -> int:
        return len(self._units)

    def log_emission(self, features: Tensor) -> Tensor:
        """Return log p(features | density), (T, P), of the densities asked for so far."""
        senones = list(self._senones)
        senones.insert(self.num_background, 0)  # nobody reads what stands there
        return self._mixtures.log_prob(features, torch.tensor(senones))
