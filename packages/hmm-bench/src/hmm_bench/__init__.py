"""Honest benchmarks of HMM recursions: instances, medians, machine cards, peers in the same run."""

from importlib.metadata import version as _version

from hmm_bench._compare import Row as Row
from hmm_bench._compare import compare as compare
from hmm_bench._implementations import CoreImplementation as CoreImplementation
from hmm_bench._implementations import HmmlearnImplementation as HmmlearnImplementation
from hmm_bench._implementations import Implementation as Implementation
from hmm_bench._implementations import UnavailableError as UnavailableError
from hmm_bench._implementations import implementations as implementations
from hmm_bench._instance import Instance as Instance
from hmm_bench._instance import Workload as Workload
from hmm_bench._instance import make_workload as make_workload
from hmm_bench._measure import Timing as Timing
from hmm_bench._measure import measure as measure
from hmm_bench._measure import measure_all as measure_all
from hmm_bench._results import format_rows as format_rows
from hmm_bench._results import machine_card as machine_card
from hmm_bench._results import read_results as read_results
from hmm_bench._results import write_results as write_results

__version__ = _version("hmm-bench")
__all__ = [
    "CoreImplementation",
    "HmmlearnImplementation",
    "Implementation",
    "Instance",
    "Row",
    "Timing",
    "UnavailableError",
    "Workload",
    "compare",
    "format_rows",
    "implementations",
    "machine_card",
    "make_workload",
    "measure",
    "measure_all",
    "read_results",
    "write_results",
]
