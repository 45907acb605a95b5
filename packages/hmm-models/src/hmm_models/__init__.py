"""Hidden Markov models for PyTorch: Gaussian mixtures, EM statistics that add up, safe save and load."""

from importlib.metadata import version as _version

from hmm_models._report import UpdateReport as UpdateReport
from hmm_models._serialization import ModelFileError as ModelFileError
from hmm_models._serialization import SavableModel as SavableModel
from hmm_models._serialization import load_model as load_model
from hmm_models._serialization import load_tensors as load_tensors
from hmm_models._serialization import register_model as register_model
from hmm_models._serialization import save_model as save_model
from hmm_models._serialization import save_tensors as save_tensors
from hmm_models._statistics import Statistics as Statistics
from hmm_models.emissions._emission import Emission as Emission
from hmm_models.emissions._emission import SamplingEmission as SamplingEmission
from hmm_models.emissions._emission import TrainableEmission as TrainableEmission
from hmm_models.emissions._full import FullGaussianMixtures as FullGaussianMixtures
from hmm_models.emissions._mixture_statistics import FullMixtureStatistics as FullMixtureStatistics
from hmm_models.emissions._mixture_statistics import MixtureStatistics as MixtureStatistics
from hmm_models.emissions._mixtures import GaussianMixtures as GaussianMixtures
from hmm_models.emissions._mixtures import SphericalGaussianMixtures as SphericalGaussianMixtures
from hmm_models.emissions._prior import MixturePrior as MixturePrior
from hmm_models.emissions._semi_continuous import SemiContinuousMixtures as SemiContinuousMixtures
from hmm_models.emissions._semi_continuous import SemiContinuousStatistics as SemiContinuousStatistics
from hmm_models.emissions._splitting import split_targets as split_targets
from hmm_models.models._gaussian_hmm import GaussianHMM as GaussianHMM
from hmm_models.models._gaussian_hmm import MixtureGaussianHMM as MixtureGaussianHMM
from hmm_models.models._gaussian_hmm import MixtureGaussianHMMLayer as MixtureGaussianHMMLayer
from hmm_models.models._hidden_markov_model import HiddenMarkovModel as HiddenMarkovModel
from hmm_models.models._hidden_markov_model import Sample as Sample
from hmm_models.models._sequence_model import SequenceModel as SequenceModel
from hmm_models.training._em import FitResult as FitResult
from hmm_models.training._em import HMMStatistics as HMMStatistics
from hmm_models.training._em import LikelihoodDecreaseError as LikelihoodDecreaseError
from hmm_models.training._em import SequenceStatistics as SequenceStatistics
from hmm_models.transitions._table import ProbabilityTable as ProbabilityTable
from hmm_models.transitions._topology import Topology as Topology
from hmm_models.transitions._topology import phone_topology as phone_topology
from hmm_models.transitions._topology import silence_topology as silence_topology

__version__ = _version("hmm-models")
__all__ = [
    "Emission",
    "FitResult",
    "FullGaussianMixtures",
    "FullMixtureStatistics",
    "GaussianHMM",
    "GaussianMixtures",
    "HMMStatistics",
    "HiddenMarkovModel",
    "LikelihoodDecreaseError",
    "MixtureGaussianHMM",
    "MixtureGaussianHMMLayer",
    "MixturePrior",
    "MixtureStatistics",
    "ModelFileError",
    "ProbabilityTable",
    "Sample",
    "SamplingEmission",
    "SavableModel",
    "SemiContinuousMixtures",
    "SemiContinuousStatistics",
    "SequenceModel",
    "SequenceStatistics",
    "SphericalGaussianMixtures",
    "Statistics",
    "Topology",
    "TrainableEmission",
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
