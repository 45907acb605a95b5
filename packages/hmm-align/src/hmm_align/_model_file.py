"""The file that holds a trained aligner, and what it says of the training."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hmm_models import ModelFileError, load_tensors, save_tensors
from hmm_speech import Lexicon, Problem

from ._acoustic import AcousticModel
from ._config import AlignerConfig
from ._features import FeatureExtractor

_FORMAT = 3  # 1 had no network, 2 no tied states
_KIND = "hmm_align.CorpusAligner"


class TrainingReport(NamedTuple):
    """What training saw.

    Attributes
    ----------
    log_likelihood_per_frame : tuple of float
        Of the best paths, each time they were searched; natural logarithm.
    num_utterances : int
        Utterances that were trained on.
    hours : float
        Their length.
    problems : tuple of Problem
        Utterances left out, each with the reason.

    Examples
    --------
    >>> TrainingReport((-50.2, -41.9), 186, 0.33, ()).num_utterances
    186
    """

    log_likelihood_per_frame: tuple[float, ...]
    num_utterances: int
    hours: float
    problems: tuple[Problem, ...]


def write_model(
    path: str | os.PathLike[str],
    acoustic: AcousticModel,
    lexicon: Lexicon,
    config: AlignerConfig,
    report: TrainingReport,
) -> None:
    """Write a model, its configuration and what differs from the CMU dictionary."""
    tensors = acoustic.to_tensors()
    extends_english, own = _own_words(lexicon)
    if own:
        text = json.dumps(own, ensure_ascii=False).encode()
        tensors["lexicon"] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    description = {
        "kind": _KIND,
        "format": _FORMAT,
        "config": asdict(config),
        "phones": list(acoustic.phones),
        "extends_english": extends_english,
        "possessives": lexicon.possessives,
        "language": lexicon.language,
        "training_report": report._asdict() | {"problems": [list(item) for item in report.problems]},
    }
    save_tensors(path, tensors, description)


def read_model(
    path: str | os.PathLike[str], lexicon: Lexicon | None
) -> tuple[AcousticModel, Lexicon, AlignerConfig, TrainingReport]:
    """Read what `write_model` wrote, of this or an earlier format; a given lexicon replaces the file's."""
    tensors, description = load_tensors(path)
    if description.get("kind") != _KIND:
        raise ModelFileError(path, f"it must hold a {_KIND}; got {description.get('kind')!r}")
    if description["format"] > _FORMAT:
        raise ModelFileError(
            path, f"its format {description['format']} is later than {_FORMAT}, update hmm-align"
        )
    choices = description["config"]
    config = AlignerConfig(**({"acoustic": "monophone"} if description["format"] == 1 else {}) | choices)
    acoustic = AcousticModel(
        description["phones"],
        FeatureExtractor(config).feature_dim,
        config.states_per_phone,
        config.silence_states,
        config.variance_floor,
    )
    acoustic.load_tensors(tensors)
    if lexicon is None:
        lexicon = _lexicon_of(tensors, description)
    report = description["training_report"]
    return (
        acoustic,
        lexicon,
        config,
        TrainingReport(
            tuple(report["log_likelihood_per_frame"]),
            report["num_utterances"],
            report["hours"],
            tuple(Problem(*item) for item in report["problems"]),
        ),
    )


def _own_words(lexicon: Lexicon) -> tuple[bool, dict[str, tuple[tuple[str, ...], ...]]]:
    """Return whether a lexicon holds all CMU dictionary words, and what it has beside or instead of them."""
    english = Lexicon.english()
    extends = len(lexicon) >= len(english) and all(word in lexicon for word in english)
    return extends, {
        word: variants for word, variants in lexicon.items() if not extends or english.get(word) != variants
    }


def _lexicon_of(tensors: dict[str, Tensor], description: Mapping[str, Any]) -> Lexicon:
    """Return the pronunciations that a model file holds or names."""
    own = json.loads(tensors["lexicon"].numpy().tobytes().decode()) if "lexicon" in tensors else {}
    # Models of the first version are English.
    lexicon = Lexicon(own, language=description.get("language", "en"))
    if description["extends_english"]:
        lexicon = Lexicon.english() | own
    lexicon.possessives = description["possessives"]
    return lexicon
