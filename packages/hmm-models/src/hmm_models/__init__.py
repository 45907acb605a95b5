"""Hidden Markov models for PyTorch: Gaussian mixtures, EM statistics that add up, safe save and load."""

from importlib.metadata import version as _version

from hmm_models._batch_size import BatchSize as BatchSize
from hmm_models._batch_size import find_optimal_batch_size as find_optimal_batch_size
from hmm_models._batches import PaddedBatch as PaddedBatch
from hmm_models._batches import collate_variable_length as collate_variable_length
from hmm_models._factory import ModelFactory as ModelFactory
from hmm_models._factory import create_speech_hmm as create_speech_hmm
from hmm_models._hmmlearn import from_hmmlearn as from_hmmlearn
from hmm_models._hmmlearn import to_hmmlearn as to_hmmlearn
from hmm_models._report import UpdateReport as UpdateReport
from hmm_models._selection import Selection as Selection
from hmm_models._selection import select_num_mixtures as select_num_mixtures
from hmm_models._selection import select_num_states as select_num_states
from hmm_models._serialization import ModelFileError as ModelFileError
from hmm_models._serialization import SavableModel as SavableModel
from hmm_models._serialization import load_model as load_model
from hmm_models._serialization import load_tensors as load_tensors
from hmm_models._serialization import register_model as register_model
from hmm_models._serialization import save_model as save_model
from hmm_models._serialization import save_tensors as save_tensors
from hmm_models._statistics import Statistics as Statistics
from hmm_models.adaptation._adapt import adapt as adapt
from hmm_models.adaptation._adapt_cmllr import adapt_cmllr as adapt_cmllr
from hmm_models.adaptation._adapt_cmllr import collect_cmllr as collect_cmllr
from hmm_models.adaptation._affine import AffineTransform as AffineTransform
from hmm_models.adaptation._cmllr import CMLLREstimate as CMLLREstimate
from hmm_models.adaptation._cmllr import estimate_cmllr as estimate_cmllr
from hmm_models.adaptation._cmllr_statistics import CMLLRStatistics as CMLLRStatistics
from hmm_models.adaptation._cmllr_statistics import accumulate_cmllr as accumulate_cmllr
from hmm_models.adaptation._cmllr_statistics import cmllr_prior as cmllr_prior
from hmm_models.adaptation._lda import LDAEstimate as LDAEstimate
from hmm_models.adaptation._lda import estimate_lda as estimate_lda
from hmm_models.adaptation._map import adapt_map as adapt_map
from hmm_models.adaptation._map import map_prior as map_prior
from hmm_models.adaptation._mllr import adapt_mllr as adapt_mllr
from hmm_models.adaptation._mllr import estimate_mllr as estimate_mllr
from hmm_models.adaptation._mllt import MLLTEstimate as MLLTEstimate
from hmm_models.adaptation._mllt import estimate_mllt as estimate_mllt
from hmm_models.adaptation._regression_tree import RegressionTree as RegressionTree
from hmm_models.adaptation._regression_tree import regression_tree as regression_tree
from hmm_models.adaptation._report import Adaptation as Adaptation
from hmm_models.adaptation._report import AdaptedClass as AdaptedClass
from hmm_models.adaptation._rows import SingularStatisticsError as SingularStatisticsError
from hmm_models.adaptation._sat import SpeakerAdaptiveFit as SpeakerAdaptiveFit
from hmm_models.adaptation._sat import fit_speakers as fit_speakers
from hmm_models.adaptation._scatter import accumulate_lda as accumulate_lda
from hmm_models.adaptation._scatter import accumulate_mllt as accumulate_mllt
from hmm_models.adaptation._scatter import transform_statistics as transform_statistics
from hmm_models.adaptation._transformed import TransformedEmission as TransformedEmission
from hmm_models.durations._duration_model import DurationModel as DurationModel
from hmm_models.emissions._categorical import CategoricalEmission as CategoricalEmission
from hmm_models.emissions._categorical import CategoricalStatistics as CategoricalStatistics
from hmm_models.emissions._emission import Emission as Emission
from hmm_models.emissions._emission import GeneratingEmission as GeneratingEmission
from hmm_models.emissions._emission import SamplingEmission as SamplingEmission
from hmm_models.emissions._emission import TrainableEmission as TrainableEmission
from hmm_models.emissions._full import FullGaussianMixtures as FullGaussianMixtures
from hmm_models.emissions._lazy import LazyGaussianMixtures as LazyGaussianMixtures
from hmm_models.emissions._mixture_statistics import FullMixtureStatistics as FullMixtureStatistics
from hmm_models.emissions._mixture_statistics import MixtureStatistics as MixtureStatistics
from hmm_models.emissions._mixtures import GaussianMixtures as GaussianMixtures
from hmm_models.emissions._mixtures import SphericalGaussianMixtures as SphericalGaussianMixtures
from hmm_models.emissions._poisson import PoissonEmission as PoissonEmission
from hmm_models.emissions._poisson import PoissonStatistics as PoissonStatistics
from hmm_models.emissions._prior import MixturePrior as MixturePrior
from hmm_models.emissions._scaled_posterior import ScaledPosterior as ScaledPosterior
from hmm_models.emissions._semi_continuous import SemiContinuousMixtures as SemiContinuousMixtures
from hmm_models.emissions._semi_continuous import SemiContinuousStatistics as SemiContinuousStatistics
from hmm_models.emissions._splitting import split_targets as split_targets
from hmm_models.emissions._state_scores import StateScores as StateScores
from hmm_models.emissions._streams import MultiSpaceEmission as MultiSpaceEmission
from hmm_models.emissions._streams import MultiSpaceStatistics as MultiSpaceStatistics
from hmm_models.emissions._streams import MultiStreamEmission as MultiStreamEmission
from hmm_models.emissions._streams import StreamStatistics as StreamStatistics
from hmm_models.emissions._student_t import StudentTEmission as StudentTEmission
from hmm_models.emissions._student_t import StudentTStatistics as StudentTStatistics
from hmm_models.generation._durations import state_durations as state_durations
from hmm_models.generation._global_variance import global_variance as global_variance
from hmm_models.generation._global_variance import mlpg_global_variance as mlpg_global_variance
from hmm_models.generation._mlpg import mlpg as mlpg
from hmm_models.models._em_sequence_model import EMSequenceModel as EMSequenceModel
from hmm_models.models._gaussian_hmm import GaussianHMM as GaussianHMM
from hmm_models.models._gaussian_hmm import MixtureGaussianHMM as MixtureGaussianHMM
from hmm_models.models._gaussian_hmm import MixtureGaussianHMMLayer as MixtureGaussianHMMLayer
from hmm_models.models._generating_model import Generated as Generated
from hmm_models.models._generating_model import GeneratingModel as GeneratingModel
from hmm_models.models._generating_model import Sample as Sample
from hmm_models.models._hidden_markov_model import HiddenMarkovModel as HiddenMarkovModel
from hmm_models.models._hmm_pytorch import HMMPyTorch as HMMPyTorch
from hmm_models.models._model_stream import ModelStream as ModelStream
from hmm_models.models._model_stream import StreamResult as StreamResult
from hmm_models.models._neural_hmm import ContextualNeuralHMM as ContextualNeuralHMM
from hmm_models.models._neural_hmm import NeuralHMM as NeuralHMM
from hmm_models.models._phoneme_synthesizer import PhonemeSynthesizer as PhonemeSynthesizer
from hmm_models.models._phoneme_synthesizer import SynthesizerStatistics as SynthesizerStatistics
from hmm_models.models._semi_markov_hmm import HSMMLayer as HSMMLayer
from hmm_models.models._semi_markov_hmm import SemiMarkovHMM as SemiMarkovHMM
from hmm_models.models._semi_markov_hmm import SemiMarkovStatistics as SemiMarkovStatistics
from hmm_models.models._sequence_model import SequenceModel as SequenceModel
from hmm_models.models._streaming_hmm import StreamingHMM as StreamingHMM
from hmm_models.models._transcribed_model import TranscribedModel as TranscribedModel
from hmm_models.models._word_recognizer import RecognizedWords as RecognizedWords
from hmm_models.models._word_recognizer import RecognizerStatistics as RecognizerStatistics
from hmm_models.models._word_recognizer import WordRecognizer as WordRecognizer
from hmm_models.objectives._joint import JointLoss as JointLoss
from hmm_models.objectives._joint import ctc_hmm_loss as ctc_hmm_loss
from hmm_models.objectives._mmi import MMI as MMI
from hmm_models.objectives._mmi import conditional_log_likelihood as conditional_log_likelihood
from hmm_models.objectives._mmi import graph_log_likelihood as graph_log_likelihood
from hmm_models.objectives._mmi import mmi as mmi
from hmm_models.objectives._ngram import TokenNgram as TokenNgram
from hmm_models.objectives._token_graph import transcript_graph as transcript_graph
from hmm_models.training._distributed import all_reduce_statistics as all_reduce_statistics
from hmm_models.training._distributed import broadcast_model as broadcast_model
from hmm_models.training._em import FitResult as FitResult
from hmm_models.training._em import HMMStatistics as HMMStatistics
from hmm_models.training._em import LikelihoodDecreaseError as LikelihoodDecreaseError
from hmm_models.training._em import SequenceStatistics as SequenceStatistics
from hmm_models.transitions._adaptive import AdaptiveTransitionMatrix as AdaptiveTransitionMatrix
from hmm_models.transitions._hierarchical import HierarchicalTransition as HierarchicalTransition
from hmm_models.transitions._matrices import (
    create_duration_constrained_matrix as create_duration_constrained_matrix,
)
from hmm_models.transitions._matrices import (
    create_hierarchical_transitions as create_hierarchical_transitions,
)
from hmm_models.transitions._matrices import (
    create_left_to_right_matrix as create_left_to_right_matrix,
)
from hmm_models.transitions._matrices import (
    create_phoneme_aware_transitions as create_phoneme_aware_transitions,
)
from hmm_models.transitions._matrices import (
    create_prosody_aware_transitions as create_prosody_aware_transitions,
)
from hmm_models.transitions._matrices import (
    create_skip_state_matrix as create_skip_state_matrix,
)
from hmm_models.transitions._parts import TrainableTransition as TrainableTransition
from hmm_models.transitions._table import ProbabilityTable as ProbabilityTable
from hmm_models.transitions._ties import tie_rows as tie_rows
from hmm_models.transitions._topology import Topology as Topology
from hmm_models.transitions._topology import phone_topology as phone_topology
from hmm_models.transitions._topology import silence_topology as silence_topology

__version__ = _version("hmm-models")
__all__ = [
    "MMI",
    "Adaptation",
    "AdaptedClass",
    "AdaptiveTransitionMatrix",
    "AffineTransform",
    "BatchSize",
    "CMLLREstimate",
    "CMLLRStatistics",
    "CategoricalEmission",
    "CategoricalStatistics",
    "ContextualNeuralHMM",
    "DurationModel",
    "EMSequenceModel",
    "Emission",
    "FitResult",
    "FullGaussianMixtures",
    "FullMixtureStatistics",
    "GaussianHMM",
    "GaussianMixtures",
    "Generated",
    "GeneratingEmission",
    "GeneratingModel",
    "HMMPyTorch",
    "HMMStatistics",
    "HSMMLayer",
    "HiddenMarkovModel",
    "HierarchicalTransition",
    "JointLoss",
    "LDAEstimate",
    "LazyGaussianMixtures",
    "LikelihoodDecreaseError",
    "MLLTEstimate",
    "MixtureGaussianHMM",
    "MixtureGaussianHMMLayer",
    "MixturePrior",
    "MixtureStatistics",
    "ModelFactory",
    "ModelFileError",
    "ModelStream",
    "MultiSpaceEmission",
    "MultiSpaceStatistics",
    "MultiStreamEmission",
    "NeuralHMM",
    "PaddedBatch",
    "PhonemeSynthesizer",
    "PoissonEmission",
    "PoissonStatistics",
    "ProbabilityTable",
    "RecognizedWords",
    "RecognizerStatistics",
    "RegressionTree",
    "Sample",
    "SamplingEmission",
    "SavableModel",
    "ScaledPosterior",
    "Selection",
    "SemiContinuousMixtures",
    "SemiContinuousStatistics",
    "SemiMarkovHMM",
    "SemiMarkovStatistics",
    "SequenceModel",
    "SequenceStatistics",
    "SingularStatisticsError",
    "SpeakerAdaptiveFit",
    "SphericalGaussianMixtures",
    "StateScores",
    "Statistics",
    "StreamResult",
    "StreamStatistics",
    "StreamingHMM",
    "StudentTEmission",
    "StudentTStatistics",
    "SynthesizerStatistics",
    "TokenNgram",
    "Topology",
    "TrainableEmission",
    "TrainableTransition",
    "TranscribedModel",
    "TransformedEmission",
    "UpdateReport",
    "WordRecognizer",
    "accumulate_cmllr",
    "accumulate_lda",
    "accumulate_mllt",
    "adapt",
    "adapt_cmllr",
    "adapt_map",
    "adapt_mllr",
    "all_reduce_statistics",
    "broadcast_model",
    "cmllr_prior",
    "collate_variable_length",
    "collect_cmllr",
    "conditional_log_likelihood",
    "create_duration_constrained_matrix",
    "create_hierarchical_transitions",
    "create_left_to_right_matrix",
    "create_phoneme_aware_transitions",
    "create_prosody_aware_transitions",
    "create_skip_state_matrix",
    "create_speech_hmm",
    "ctc_hmm_loss",
    "estimate_cmllr",
    "estimate_lda",
    "estimate_mllr",
    "estimate_mllt",
    "find_optimal_batch_size",
    "fit_speakers",
    "from_hmmlearn",
    "global_variance",
    "graph_log_likelihood",
    "load_model",
    "load_tensors",
    "map_prior",
    "mlpg",
    "mlpg_global_variance",
    "mmi",
    "phone_topology",
    "register_model",
    "regression_tree",
    "save_model",
    "save_tensors",
    "select_num_mixtures",
    "select_num_states",
    "silence_topology",
    "split_targets",
    "state_durations",
    "tie_rows",
    "to_hmmlearn",
    "transcript_graph",
    "transform_statistics",
]
