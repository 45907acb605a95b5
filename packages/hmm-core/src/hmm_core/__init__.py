"""Exact log-space HMM recursions for PyTorch, on ragged batches, with gradients.

Forward, backward, posteriors, expected counts, Viterbi, sampling and path entropies over dense or sparse
transitions.
"""

from importlib.metadata import version as _version

from hmm_core import backends as backends
from hmm_core import online as online
from hmm_core import semi_markov as semi_markov
from hmm_core._dispatch import NativeKernelsMissingWarning as NativeKernelsMissingWarning
from hmm_core._headers import get_cmake_dir as get_cmake_dir
from hmm_core._headers import get_include as get_include
from hmm_core._results import BeamPath as BeamPath
from hmm_core._results import DTWResult as DTWResult
from hmm_core._results import ForwardResult as ForwardResult
from hmm_core._results import KBestPaths as KBestPaths
from hmm_core._results import Posterior as Posterior
from hmm_core._results import ViterbiPath as ViterbiPath
from hmm_core._windows import Itakura as Itakura
from hmm_core._windows import SakoeChiba as SakoeChiba
from hmm_core.backends import BackendUnavailableError as BackendUnavailableError
from hmm_core.ops.backward import backward as backward
from hmm_core.ops.beam_viterbi import beam_viterbi as beam_viterbi
from hmm_core.ops.dtw import dtw as dtw
from hmm_core.ops.entropy import entropy as entropy
from hmm_core.ops.expected_transitions import expected_transitions as expected_transitions
from hmm_core.ops.forward import forward as forward
from hmm_core.ops.kbest import kbest as kbest
from hmm_core.ops.log_likelihood import log_likelihood as log_likelihood
from hmm_core.ops.pairwise_cost import FrameCost as FrameCost
from hmm_core.ops.pairwise_cost import pairwise_cost as pairwise_cost
from hmm_core.ops.posterior import posterior as posterior
from hmm_core.ops.sample import sample as sample
from hmm_core.ops.soft_dtw import soft_dtw as soft_dtw
from hmm_core.ops.soft_dtw import soft_dtw_divergence as soft_dtw_divergence
from hmm_core.ops.viterbi import viterbi as viterbi
from hmm_core.transitions import Graph as Graph
from hmm_core.transitions import Sparse as Sparse
from hmm_core.transitions import ctc_graph as ctc_graph
from hmm_core.transitions import ergodic as ergodic
from hmm_core.transitions import from_arcs as from_arcs
from hmm_core.transitions import left_to_right as left_to_right
from hmm_core.transitions import linear_graph as linear_graph
from hmm_core.transitions import skip as skip
from hmm_core.transitions import stack_graphs as stack_graphs

__version__ = _version("hmm-core")
__all__ = [
    "HAVE_NATIVE",
    "BackendUnavailableError",
    "BeamPath",
    "DTWResult",
    "ForwardResult",
    "FrameCost",
    "Graph",
    "Itakura",
    "KBestPaths",
    "NativeKernelsMissingWarning",
    "Posterior",
    "SakoeChiba",
    "Sparse",
    "ViterbiPath",
    "backends",
    "backward",
    "beam_viterbi",
    "ctc_graph",
    "dtw",
    "entropy",
    "ergodic",
    "expected_transitions",
    "forward",
    "from_arcs",
    "get_cmake_dir",
    "get_include",
    "kbest",
    "left_to_right",
    "linear_graph",
    "log_likelihood",
    "online",
    "pairwise_cost",
    "posterior",
    "sample",
    "semi_markov",
    "skip",
    "soft_dtw",
    "soft_dtw_divergence",
    "stack_graphs",
    "viterbi",
]

HAVE_NATIVE: bool = backends.native_problem() is None
"""Whether the C++ kernels are installed."""
