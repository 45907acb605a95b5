"""Hidden Markov models for PyTorch: Gaussian mixtures, EM statistics that add up, safe save and load."""

from importlib.metadata import version as _version

from hmm_models._em import FitResult as FitResult
from hmm_models._em import HMMStatistics as HMMStatistics
from hmm_models._em import LikelihoodDecreaseError as LikelihoodDecreaseError
from hmm_models._gaussian_hmm import GaussianHMM as GaussianHMM
from hmm_models._gaussian_hmm import Sample as Sample
from hmm_models._mixtures import GaussianMixtures as GaussianMixtures
from hmm_models._mixtures import UpdateReport as UpdateReport
from hmm_models._serialization import ModelFileError as ModelFileError
from hmm_models._serialization import SavableModel as SavableModel
from hmm_models._serialization import load_model as load_model
from hmm_models._serialization import load_tensors as load_tensors
from hmm_models._serialization import register_model as register_model
from hmm_models._serialization import save_model as save_model
from hmm_models._serialization import save_tensors as save_tensors
from hmm_models._splitting import split_targets as split_targets
from hmm_models._statistics import MixtureStatistics as MixtureStatistics
from hmm_models._table import ProbabilityTable as ProbabilityTable
from hmm_models._topology import Topology as Topology
from hmm_models._topology import phone_topology as phone_topology
from hmm_models._topology import silence_topology as silence_topology

__version__ = _version("hmm-models")
__all__ = [
    "FitResult",
    "GaussianHMM",
    "GaussianMixtures",
    "HMMStatistics",
    "LikelihoodDecreaseError",
    "MixtureStatistics",
    "ModelFileError",
    "ProbabilityTable",
    "Sample",
    "SavableModel",
    "Topology",
    "UpdateReport",
    "load_model",
    "load_tensors",
    "phone_topology",
    "register_model",
    "save_model",
    "save_tensors",
    "silence_topology",
    "split_targets",
]
