"""Descriptions of the transitions of a model, and builders for the common ones."""

from hmm_core.transitions._builders import Graph as Graph
from hmm_core.transitions._builders import ergodic as ergodic
from hmm_core.transitions._builders import from_arcs as from_arcs
from hmm_core.transitions._builders import left_to_right as left_to_right
from hmm_core.transitions._builders import linear_graph as linear_graph
from hmm_core.transitions._builders import skip as skip
from hmm_core.transitions._builders import stack_graphs as stack_graphs
from hmm_core.transitions._ctc import ctc_graph as ctc_graph
from hmm_core.transitions._sparse import Sparse as Sparse

__all__ = [
    "Graph",
    "Sparse",
    "ctc_graph",
    "ergodic",
    "from_arcs",
    "left_to_right",
    "linear_graph",
    "skip",
    "stack_graphs",
]
