"""Phone and word alignment of speech, trained on your own recordings."""

from importlib import import_module as _import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING as _TYPE_CHECKING

if _TYPE_CHECKING:
    from ._config import AlignerConfig as AlignerConfig
    from ._diagnose import Diagnosis as Diagnosis
    from ._diagnose import diagnose as diagnose
    from ._evaluate import EvaluationReport as EvaluationReport
    from ._evaluate import Reliability as Reliability
    from ._evaluate import evaluate as evaluate
    from ._evaluate import reliability as reliability
    from ._layouts import MelFrames as MelFrames
    from ._layouts import write_fastspeech2 as write_fastspeech2
    from ._layouts import write_mfa as write_mfa
    from ._model_file import TrainingReport as TrainingReport
    from ._report import write_report as write_report
    from ._result import AlignedInterval as AlignedInterval
    from ._result import Alignment as Alignment
    from ._result import SkippedWord as SkippedWord
    from .aligners._attention import AttentionAligner as AttentionAligner
    from .aligners._attention import AttentionResult as AttentionResult
    from .aligners._attention import guided_attention_loss as guided_attention_loss
    from .aligners._ctc import CTCAligner as CTCAligner
    from .aligners._ctc import CTCSegment as CTCSegment
    from .aligners._ctc import CTCSpans as CTCSpans
    from .aligners._ctc_decode import CTCHypothesis as CTCHypothesis
    from .aligners._dtw import DTWAligner as DTWAligner
    from .aligners._forced import ForcedAligner as ForcedAligner
    from .aligners._forward_sum import ForwardSumAligner as ForwardSumAligner
    from .aligners._forward_sum import ForwardSumAlignment as ForwardSumAlignment
    from .aligners._forward_sum import beta_binomial_prior as beta_binomial_prior
    from .aligners._forward_sum import binarization_loss as binarization_loss
    from .aligners._forward_sum import forward_sum_loss as forward_sum_loss
    from .aligners._monotonic import MonotonicAligner as MonotonicAligner
    from .aligners._monotonic import MonotonicAlignment as MonotonicAlignment
    from .corpus_aligner import CorpusAligner as CorpusAligner
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
    from .plot import plot_reliability as plot_reliability

# Names are looked up on first use, so that the command line answers `--help` without loading torch.
_EXPORTS = {
    "AlignedInterval": "._result",
    "AlignerConfig": "._config",
    "Alignment": "._result",
    "AttentionAligner": ".aligners._attention",
    "AttentionResult": ".aligners._attention",
    "CTCAligner": ".aligners._ctc",
    "CTCHypothesis": ".aligners._ctc_decode",
    "CTCSegment": ".aligners._ctc",
    "CTCSpans": ".aligners._ctc",
    "CorpusAligner": ".corpus_aligner",
    "DTWAligner": ".aligners._dtw",
    "Diagnosis": "._diagnose",
    "EvaluationReport": "._evaluate",
    "ForcedAligner": ".aligners._forced",
    "ForwardSumAligner": ".aligners._forward_sum",
    "ForwardSumAlignment": ".aligners._forward_sum",
    "IntervalFileError": ".export",
    "MelFrames": "._layouts",
    "MonotonicAligner": ".aligners._monotonic",
    "MonotonicAlignment": ".aligners._monotonic",
    "Reliability": "._evaluate",
    "SkippedWord": "._result",
    "Tiers": ".export",
    "TrainingReport": "._model_file",
    "beta_binomial_prior": ".aligners._forward_sum",
    "binarization_loss": ".aligners._forward_sum",
    "diagnose": "._diagnose",
    "evaluate": "._evaluate",
    "forward_sum_loss": ".aligners._forward_sum",
    "guided_attention_loss": ".aligners._attention",
    "plot_alignment": ".plot",
    "plot_reliability": ".plot",
    "read_intervals": ".export",
    "read_json": ".export",
    "read_textgrid": ".export",
    "reliability": "._evaluate",
    "write_alignments": ".export",
    "write_csv": ".export",
    "write_fastspeech2": "._layouts",
    "write_json": ".export",
    "write_mfa": "._layouts",
    "write_report": "._report",
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
