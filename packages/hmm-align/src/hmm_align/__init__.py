"""Phone and word alignment of speech, trained on your own recordings."""

from importlib import import_module as _import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING as _TYPE_CHECKING

if _TYPE_CHECKING:
    from ._config import AlignerConfig as AlignerConfig
    from ._evaluate import EvaluationReport as EvaluationReport
    from ._evaluate import evaluate as evaluate
    from ._result import AlignedInterval as AlignedInterval
    from ._result import Alignment as Alignment
    from .corpus_aligner import CorpusAligner as CorpusAligner
    from .corpus_aligner import TrainingReport as TrainingReport
    from .export import IntervalFileError as IntervalFileError
    from .export import Tiers as Tiers
    from .export import read_intervals as read_intervals
    from .export import read_json as read_json
    from .export import read_textgrid as read_textgrid
    from .export import write_alignments as write_alignments
    from .export import write_csv as write_csv
    from .export import write_json as write_json
    from .export import write_textgrid as write_textgrid
    from .plot import plot_alignment as plot_alignment

# Names are looked up on first use, so that the command line answers `--help` without loading torch.
_EXPORTS = {
    "AlignedInterval": "._result",
    "AlignerConfig": "._config",
    "Alignment": "._result",
    "CorpusAligner": ".corpus_aligner",
    "EvaluationReport": "._evaluate",
    "IntervalFileError": ".export",
    "Tiers": ".export",
    "TrainingReport": ".corpus_aligner",
    "evaluate": "._evaluate",
    "plot_alignment": ".plot",
    "read_intervals": ".export",
    "read_json": ".export",
    "read_textgrid": ".export",
    "write_alignments": ".export",
    "write_csv": ".export",
    "write_json": ".export",
    "write_textgrid": ".export",
}
__all__ = list(_EXPORTS)
__version__ = _version("hmm-align")


def __getattr__(name: str) -> object:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_import_module(_EXPORTS[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
