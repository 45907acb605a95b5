"""Alignment metrics that state their conventions: boundary errors, frame accuracy."""

from importlib.metadata import version as _version

from hmm_metrics._boundaries import BoundaryErrors as BoundaryErrors
from hmm_metrics._boundaries import BoundarySummary as BoundarySummary
from hmm_metrics._boundaries import boundary_errors as boundary_errors
from hmm_metrics._boundaries import calculate_boundary_accuracy as calculate_boundary_accuracy
from hmm_metrics._boundaries import merge_closures as merge_closures
from hmm_metrics._boundaries import overlap_rate as overlap_rate
from hmm_metrics._boundaries import summarize_boundaries as summarize_boundaries
from hmm_metrics._frames import calculate_alignment_accuracy as calculate_alignment_accuracy
from hmm_metrics._frames import frame_accuracy as frame_accuracy
from hmm_metrics._interval import Interval as Interval
from hmm_metrics._labels import fold_phone as fold_phone
from hmm_metrics._labels import fold_word as fold_word

__version__ = _version("hmm-metrics")
__all__ = [
    "BoundaryErrors",
    "BoundarySummary",
    "Interval",
    "boundary_errors",
    "calculate_alignment_accuracy",
    "calculate_boundary_accuracy",
    "fold_phone",
    "fold_word",
    "frame_accuracy",
    "merge_closures",
    "overlap_rate",
    "summarize_boundaries",
]
