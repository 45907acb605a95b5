"""Honest benchmarks of HMM recursions: instances, medians, machine cards, peers in the same run."""

from importlib.metadata import version as _version

from hmm_bench._compare import Row as Row
from hmm_bench._compare import compare as compare
from hmm_bench._compare import make_workload as make_workload
from hmm_bench._implementations import Absent as Absent
from hmm_bench._implementations import Computation as Computation
from hmm_bench._implementations import CoreImplementation as CoreImplementation
from hmm_bench._implementations import Implementation as Implementation
from hmm_bench._implementations import LocalComputation as LocalComputation
from hmm_bench._instance import Instance as Instance
from hmm_bench._measure import Timed as Timed
from hmm_bench._measure import Timing as Timing
from hmm_bench._measure import measure_all as measure_all
from hmm_bench._peer import Peer as Peer
from hmm_bench._peer import peers as peers
from hmm_bench._results import format_rows as format_rows
from hmm_bench._results import machine_card as machine_card
from hmm_bench._results import read_results as read_results
from hmm_bench._results import write_results as write_results
from hmm_bench._workload import Workload as Workload
from hmm_bench.problems import UnavailableError as UnavailableError

__version__ = _version("hmm-bench")
__all__ = [
    "Absent",
    "Computation",
    "CoreImplementation",
    "Implementation",
    "Instance",
    "LocalComputation",
    "Peer",
    "Row",
    "Timed",
    "Timing",
    "UnavailableError",
    "Workload",
    "compare",
    "format_rows",
    "machine_card",
    "make_workload",
    "measure_all",
    "peers",
    "read_results",
    "write_results",
]
