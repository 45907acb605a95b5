"""pytorch-hmm: every public name of the hmm-* packages under one import.

A name is looked up when it is first used: ``import pytorch_hmm`` loads nothing else, not even torch.
"""

from importlib import import_module as _import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING as _TYPE_CHECKING

if _TYPE_CHECKING:
    from hmm_align import AlignedInterval as AlignedInterval
    from hmm_align import AlignerConfig as AlignerConfig
    from hmm_align import Alignment as Alignment
    from hmm_align import AttentionAligner as AttentionAligner
    from hmm_align import AttentionResult as AttentionResult
    from hmm_align import CorpusAligner as CorpusAligner
    from hmm_align import CTCAligner as CTCAligner
    from hmm_align import CTCHypothesis as CTCHypothesis
    from hmm_align import CTCSegment as CTCSegment
    from hmm_align import CTCSpans as CTCSpans
    from hmm_align import Diagnosis as Diagnosis
    from hmm_align import DTWAligner as DTWAligner
    from hmm_align import EvaluationReport as EvaluationReport
    from hmm_align import ForcedAligner as ForcedAligner
    from hmm_align import ForwardSumAligner as ForwardSumAligner
    from hmm_align import ForwardSumAlignment as ForwardSumAlignment
    from hmm_align import IntervalFileError as IntervalFileError
    from hmm_align import MelFrames as MelFrames
    from hmm_align import MonotonicAligner as MonotonicAligner
    from hmm_align import MonotonicAlignment as MonotonicAlignment
    from hmm_align import Reliability as Reliability
    from hmm_align import SkippedWord as SkippedWord
    from hmm_align import Tiers as Tiers
    from hmm_align import TrainingReport as TrainingReport
    from hmm_align import beta_binomial_prior as beta_binomial_prior
    from hmm_align import binarization_loss as binarization_loss
    from hmm_align import diagnose as diagnose
    from hmm_align import evaluate as evaluate
    from hmm_align import forward_sum_loss as forward_sum_loss
    from hmm_align import guided_attention_loss as guided_attention_loss
    from hmm_align import plot_alignment as plot_alignment
    from hmm_align import plot_reliability as plot_reliability
    from hmm_align import read_intervals as read_intervals
    from hmm_align import read_json as read_json
    from hmm_align import read_textgrid as read_textgrid
    from hmm_align import reliability as reliability
    from hmm_align import write_alignments as write_alignments
    from hmm_align import write_csv as write_csv
    from hmm_align import write_fastspeech2 as write_fastspeech2
    from hmm_align import write_json as write_json
    from hmm_align import write_mfa as write_mfa
    from hmm_align import write_report as write_report
    from hmm_align import write_textgrid as write_textgrid
    from hmm_core import HAVE_NATIVE as HAVE_NATIVE
    from hmm_core import BackendUnavailableError as BackendUnavailableError
    from hmm_core import BeamPath as BeamPath
    from hmm_core import DTWResult as DTWResult
    from hmm_core import ForwardResult as ForwardResult
    from hmm_core import FrameCost as FrameCost
    from hmm_core import Graph as Graph
    from hmm_core import Itakura as Itakura
    from hmm_core import KBestPaths as KBestPaths
    from hmm_core import NativeKernelsMissingWarning as NativeKernelsMissingWarning
    from hmm_core import Posterior as Posterior
    from hmm_core import SakoeChiba as SakoeChiba
    from hmm_core import Sparse as Sparse
    from hmm_core import ViterbiPath as ViterbiPath
    from hmm_core import backends as backends
    from hmm_core import backward as backward
    from hmm_core import beam_viterbi as beam_viterbi
    from hmm_core import ctc_graph as ctc_graph
    from hmm_core import dtw as dtw
    from hmm_core import entropy as entropy
    from hmm_core import ergodic as ergodic
    from hmm_core import expected_transitions as expected_transitions
    from hmm_core import forward as forward
    from hmm_core import from_arcs as from_arcs
    from hmm_core import get_cmake_dir as get_cmake_dir
    from hmm_core import get_include as get_include
    from hmm_core import kbest as kbest
    from hmm_core import left_to_right as left_to_right
    from hmm_core import linear_graph as linear_graph
    from hmm_core import log_likelihood as log_likelihood
    from hmm_core import online as online
    from hmm_core import pairwise_cost as pairwise_cost
    from hmm_core import posterior as posterior
    from hmm_core import sample as sample
    from hmm_core import semi_markov as semi_markov
    from hmm_core import skip as skip
    from hmm_core import soft_dtw as soft_dtw
    from hmm_core import soft_dtw_divergence as soft_dtw_divergence
    from hmm_core import stack_graphs as stack_graphs
    from hmm_core import viterbi as viterbi
    from hmm_metrics import BoundaryErrors as BoundaryErrors
    from hmm_metrics import BoundarySummary as BoundarySummary
    from hmm_metrics import Interval as Interval
    from hmm_metrics import boundary_errors as boundary_errors
    from hmm_metrics import calculate_alignment_accuracy as calculate_alignment_accuracy
    from hmm_metrics import calculate_boundary_accuracy as calculate_boundary_accuracy
    from hmm_metrics import fold_phone as fold_phone
    from hmm_metrics import fold_word as fold_word
    from hmm_metrics import frame_accuracy as frame_accuracy
    from hmm_metrics import merge_closures as merge_closures
    from hmm_metrics import overlap_rate as overlap_rate
    from hmm_metrics import summarize_boundaries as summarize_boundaries
    from hmm_models import MMI as MMI
    from hmm_models import Adaptation as Adaptation
    from hmm_models import AdaptedClass as AdaptedClass
    from hmm_models import AdaptiveTransitionMatrix as AdaptiveTransitionMatrix
    from hmm_models import AffineTransform as AffineTransform
    from hmm_models import BatchSize as BatchSize
    from hmm_models import CategoricalEmission as CategoricalEmission
    from hmm_models import CategoricalStatistics as CategoricalStatistics
    from hmm_models import CMLLREstimate as CMLLREstimate
    from hmm_models import CMLLRStatistics as CMLLRStatistics
    from hmm_models import ContextualNeuralHMM as ContextualNeuralHMM
    from hmm_models import DurationModel as DurationModel
    from hmm_models import Emission as Emission
    from hmm_models import EMSequenceModel as EMSequenceModel
    from hmm_models import FitResult as FitResult
    from hmm_models import FullGaussianMixtures as FullGaussianMixtures
    from hmm_models import FullMixtureStatistics as FullMixtureStatistics
    from hmm_models import GaussianHMM as GaussianHMM
    from hmm_models import GaussianMixtures as GaussianMixtures
    from hmm_models import Generated as Generated
    from hmm_models import GeneratingEmission as GeneratingEmission
    from hmm_models import GeneratingModel as GeneratingModel
    from hmm_models import HiddenMarkovModel as HiddenMarkovModel
    from hmm_models import HierarchicalTransition as HierarchicalTransition
    from hmm_models import HMMPyTorch as HMMPyTorch
    from hmm_models import HMMStatistics as HMMStatistics
    from hmm_models import HSMMLayer as HSMMLayer
    from hmm_models import JointLoss as JointLoss
    from hmm_models import LazyGaussianMixtures as LazyGaussianMixtures
    from hmm_models import LDAEstimate as LDAEstimate
    from hmm_models import LikelihoodDecreaseError as LikelihoodDecreaseError
    from hmm_models import MixtureGaussianHMM as MixtureGaussianHMM
    from hmm_models import MixtureGaussianHMMLayer as MixtureGaussianHMMLayer
    from hmm_models import MixturePrior as MixturePrior
    from hmm_models import MixtureStatistics as MixtureStatistics
    from hmm_models import MLLTEstimate as MLLTEstimate
    from hmm_models import ModelFactory as ModelFactory
    from hmm_models import ModelFileError as ModelFileError
    from hmm_models import ModelStream as ModelStream
    from hmm_models import MultiSpaceEmission as MultiSpaceEmission
    from hmm_models import MultiSpaceStatistics as MultiSpaceStatistics
    from hmm_models import MultiStreamEmission as MultiStreamEmission
    from hmm_models import NeuralHMM as NeuralHMM
    from hmm_models import PaddedBatch as PaddedBatch
    from hmm_models import PhonemeSynthesizer as PhonemeSynthesizer
    from hmm_models import PoissonEmission as PoissonEmission
    from hmm_models import PoissonStatistics as PoissonStatistics
    from hmm_models import ProbabilityTable as ProbabilityTable
    from hmm_models import RecognizedWords as RecognizedWords
    from hmm_models import RecognizerStatistics as RecognizerStatistics
    from hmm_models import RegressionTree as RegressionTree
    from hmm_models import Sample as Sample
    from hmm_models import SamplingEmission as SamplingEmission
    from hmm_models import SavableModel as SavableModel
    from hmm_models import ScaledPosterior as ScaledPosterior
    from hmm_models import Selection as Selection
    from hmm_models import SemiContinuousMixtures as SemiContinuousMixtures
    from hmm_models import SemiContinuousStatistics as SemiContinuousStatistics
    from hmm_models import SemiMarkovHMM as SemiMarkovHMM
    from hmm_models import SemiMarkovStatistics as SemiMarkovStatistics
    from hmm_models import SequenceModel as SequenceModel
    from hmm_models import SequenceStatistics as SequenceStatistics
    from hmm_models import SingularStatisticsError as SingularStatisticsError
    from hmm_models import SpeakerAdaptiveFit as SpeakerAdaptiveFit
    from hmm_models import SphericalGaussianMixtures as SphericalGaussianMixtures
    from hmm_models import StateScores as StateScores
    from hmm_models import Statistics as Statistics
    from hmm_models import StreamingHMM as StreamingHMM
    from hmm_models import StreamResult as StreamResult
    from hmm_models import StreamStatistics as StreamStatistics
    from hmm_models import StudentTEmission as StudentTEmission
    from hmm_models import StudentTStatistics as StudentTStatistics
    from hmm_models import SynthesizerStatistics as SynthesizerStatistics
    from hmm_models import TokenNgram as TokenNgram
    from hmm_models import Topology as Topology
    from hmm_models import TrainableEmission as TrainableEmission
    from hmm_models import TrainableTransition as TrainableTransition
    from hmm_models import TranscribedModel as TranscribedModel
    from hmm_models import TransformedEmission as TransformedEmission
    from hmm_models import UpdateReport as UpdateReport
    from hmm_models import WordRecognizer as WordRecognizer
    from hmm_models import accumulate_cmllr as accumulate_cmllr
    from hmm_models import accumulate_lda as accumulate_lda
    from hmm_models import accumulate_mllt as accumulate_mllt
    from hmm_models import adapt as adapt
    from hmm_models import adapt_cmllr as adapt_cmllr
    from hmm_models import adapt_map as adapt_map
    from hmm_models import adapt_mllr as adapt_mllr
    from hmm_models import all_reduce_statistics as all_reduce_statistics
    from hmm_models import broadcast_model as broadcast_model
    from hmm_models import cmllr_prior as cmllr_prior
    from hmm_models import collate_variable_length as collate_variable_length
    from hmm_models import collect_cmllr as collect_cmllr
    from hmm_models import conditional_log_likelihood as conditional_log_likelihood
    from hmm_models import create_duration_constrained_matrix as create_duration_constrained_matrix
    from hmm_models import create_hierarchical_transitions as create_hierarchical_transitions
    from hmm_models import create_left_to_right_matrix as create_left_to_right_matrix
    from hmm_models import create_phoneme_aware_transitions as create_phoneme_aware_transitions
    from hmm_models import create_prosody_aware_transitions as create_prosody_aware_transitions
    from hmm_models import create_skip_state_matrix as create_skip_state_matrix
    from hmm_models import create_speech_hmm as create_speech_hmm
    from hmm_models import ctc_hmm_loss as ctc_hmm_loss
    from hmm_models import estimate_cmllr as estimate_cmllr
    from hmm_models import estimate_lda as estimate_lda
    from hmm_models import estimate_mllr as estimate_mllr
    from hmm_models import estimate_mllt as estimate_mllt
    from hmm_models import find_optimal_batch_size as find_optimal_batch_size
    from hmm_models import fit_speakers as fit_speakers
    from hmm_models import from_hmmlearn as from_hmmlearn
    from hmm_models import global_variance as global_variance
    from hmm_models import graph_log_likelihood as graph_log_likelihood
    from hmm_models import load_model as load_model
    from hmm_models import load_tensors as load_tensors
    from hmm_models import map_prior as map_prior
    from hmm_models import mlpg as mlpg
    from hmm_models import mlpg_global_variance as mlpg_global_variance
    from hmm_models import mmi as mmi
    from hmm_models import phone_topology as phone_topology
    from hmm_models import register_model as register_model
    from hmm_models import regression_tree as regression_tree
    from hmm_models import save_model as save_model
    from hmm_models import save_tensors as save_tensors
    from hmm_models import select_num_mixtures as select_num_mixtures
    from hmm_models import select_num_states as select_num_states
    from hmm_models import silence_topology as silence_topology
    from hmm_models import split_targets as split_targets
    from hmm_models import state_durations as state_durations
    from hmm_models import tie_rows as tie_rows
    from hmm_models import to_hmmlearn as to_hmmlearn
    from hmm_models import transcript_graph as transcript_graph
    from hmm_models import transform_statistics as transform_statistics
    from hmm_speech import LANGUAGES as LANGUAGES
    from hmm_speech import MFCC as MFCC
    from hmm_speech import Articulation as Articulation
    from hmm_speech import Audio as Audio
    from hmm_speech import AudioError as AudioError
    from hmm_speech import Corpus as Corpus
    from hmm_speech import CorpusError as CorpusError
    from hmm_speech import EnglishG2P as EnglishG2P
    from hmm_speech import Lexicon as Lexicon
    from hmm_speech import LogMel as LogMel
    from hmm_speech import MeanVariance as MeanVariance
    from hmm_speech import PhoneSet as PhoneSet
    from hmm_speech import Problem as Problem
    from hmm_speech import TextError as TextError
    from hmm_speech import UnknownWordError as UnknownWordError
    from hmm_speech import Utterance as Utterance
    from hmm_speech import articulation as articulation
    from hmm_speech import articulatory_class as articulatory_class
    from hmm_speech import articulatory_distance as articulatory_distance
    from hmm_speech import deltas as deltas
    from hmm_speech import durations_from_intervals as durations_from_intervals
    from hmm_speech import frame_times as frame_times
    from hmm_speech import intervals_from_durations as intervals_from_durations
    from hmm_speech import load_audio as load_audio
    from hmm_speech import map_phones as map_phones
    from hmm_speech import mel_filterbank as mel_filterbank
    from hmm_speech import normalize_text as normalize_text
    from hmm_speech import num_frames as num_frames
    from hmm_speech import read_corpus as read_corpus
    from hmm_speech import read_folder as read_folder
    from hmm_speech import read_kss as read_kss
    from hmm_speech import read_librispeech as read_librispeech
    from hmm_speech import read_ljspeech as read_ljspeech
    from hmm_speech import read_recording as read_recording
    from hmm_speech import read_speaker_folders as read_speaker_folders
    from hmm_stream import FilterResult as FilterResult
    from hmm_stream import OnlineFilter as OnlineFilter

_EXPORTS = {
    "Adaptation": "hmm_models",
    "AdaptedClass": "hmm_models",
    "AdaptiveTransitionMatrix": "hmm_models",
    "AffineTransform": "hmm_models",
    "AlignedInterval": "hmm_align",
    "AlignerConfig": "hmm_align",
    "Alignment": "hmm_align",
    "Articulation": "hmm_speech",
    "AttentionAligner": "hmm_align",
    "AttentionResult": "hmm_align",
    "Audio": "hmm_speech",
    "AudioError": "hmm_speech",
    "BackendUnavailableError": "hmm_core",
    "BatchSize": "hmm_models",
    "BeamPath": "hmm_core",
    "BoundaryErrors": "hmm_metrics",
    "BoundarySummary": "hmm_metrics",
    "CMLLREstimate": "hmm_models",
    "CMLLRStatistics": "hmm_models",
    "CTCAligner": "hmm_align",
    "CTCHypothesis": "hmm_align",
    "CTCSegment": "hmm_align",
    "CTCSpans": "hmm_align",
    "CategoricalEmission": "hmm_models",
    "CategoricalStatistics": "hmm_models",
    "ContextualNeuralHMM": "hmm_models",
    "Corpus": "hmm_speech",
    "CorpusAligner": "hmm_align",
    "CorpusError": "hmm_speech",
    "DTWAligner": "hmm_align",
    "DTWResult": "hmm_core",
    "Diagnosis": "hmm_align",
    "DurationModel": "hmm_models",
    "EMSequenceModel": "hmm_models",
    "Emission": "hmm_models",
    "EnglishG2P": "hmm_speech",
    "EvaluationReport": "hmm_align",
    "FilterResult": "hmm_stream",
    "FitResult": "hmm_models",
    "ForcedAligner": "hmm_align",
    "ForwardResult": "hmm_core",
    "ForwardSumAligner": "hmm_align",
    "ForwardSumAlignment": "hmm_align",
    "FrameCost": "hmm_core",
    "FullGaussianMixtures": "hmm_models",
    "FullMixtureStatistics": "hmm_models",
    "GaussianHMM": "hmm_models",
    "GaussianMixtures": "hmm_models",
    "Generated": "hmm_models",
    "GeneratingEmission": "hmm_models",
    "GeneratingModel": "hmm_models",
    "Graph": "hmm_core",
    "HAVE_NATIVE": "hmm_core",
    "HMMPyTorch": "hmm_models",
    "HMMStatistics": "hmm_models",
    "HSMMLayer": "hmm_models",
    "HiddenMarkovModel": "hmm_models",
    "HierarchicalTransition": "hmm_models",
    "Interval": "hmm_metrics",
    "IntervalFileError": "hmm_align",
    "Itakura": "hmm_core",
    "JointLoss": "hmm_models",
    "KBestPaths": "hmm_core",
    "LANGUAGES": "hmm_speech",
    "LDAEstimate": "hmm_models",
    "LazyGaussianMixtures": "hmm_models",
    "Lexicon": "hmm_speech",
    "LikelihoodDecreaseError": "hmm_models",
    "LogMel": "hmm_speech",
    "MFCC": "hmm_speech",
    "MLLTEstimate": "hmm_models",
    "MMI": "hmm_models",
    "MeanVariance": "hmm_speech",
    "MelFrames": "hmm_align",
    "MixtureGaussianHMM": "hmm_models",
    "MixtureGaussianHMMLayer": "hmm_models",
    "MixturePrior": "hmm_models",
    "MixtureStatistics": "hmm_models",
    "ModelFactory": "hmm_models",
    "ModelFileError": "hmm_models",
    "ModelStream": "hmm_models",
    "MonotonicAligner": "hmm_align",
    "MonotonicAlignment": "hmm_align",
    "MultiSpaceEmission": "hmm_models",
    "MultiSpaceStatistics": "hmm_models",
    "MultiStreamEmission": "hmm_models",
    "NativeKernelsMissingWarning": "hmm_core",
    "NeuralHMM": "hmm_models",
    "OnlineFilter": "hmm_stream",
    "PaddedBatch": "hmm_models",
    "PhoneSet": "hmm_speech",
    "PhonemeSynthesizer": "hmm_models",
    "PoissonEmission": "hmm_models",
    "PoissonStatistics": "hmm_models",
    "Posterior": "hmm_core",
    "ProbabilityTable": "hmm_models",
    "Problem": "hmm_speech",
    "RecognizedWords": "hmm_models",
    "RecognizerStatistics": "hmm_models",
    "RegressionTree": "hmm_models",
    "Reliability": "hmm_align",
    "SakoeChiba": "hmm_core",
    "Sample": "hmm_models",
    "SamplingEmission": "hmm_models",
    "SavableModel": "hmm_models",
    "ScaledPosterior": "hmm_models",
    "Selection": "hmm_models",
    "SemiContinuousMixtures": "hmm_models",
    "SemiContinuousStatistics": "hmm_models",
    "SemiMarkovHMM": "hmm_models",
    "SemiMarkovStatistics": "hmm_models",
    "SequenceModel": "hmm_models",
    "SequenceStatistics": "hmm_models",
    "SingularStatisticsError": "hmm_models",
    "SkippedWord": "hmm_align",
    "Sparse": "hmm_core",
    "SpeakerAdaptiveFit": "hmm_models",
    "SphericalGaussianMixtures": "hmm_models",
    "StateScores": "hmm_models",
    "Statistics": "hmm_models",
    "StreamResult": "hmm_models",
    "StreamStatistics": "hmm_models",
    "StreamingHMM": "hmm_models",
    "StudentTEmission": "hmm_models",
    "StudentTStatistics": "hmm_models",
    "SynthesizerStatistics": "hmm_models",
    "TextError": "hmm_speech",
    "Tiers": "hmm_align",
    "TokenNgram": "hmm_models",
    "Topology": "hmm_models",
    "TrainableEmission": "hmm_models",
    "TrainableTransition": "hmm_models",
    "TrainingReport": "hmm_align",
    "TranscribedModel": "hmm_models",
    "TransformedEmission": "hmm_models",
    "UnknownWordError": "hmm_speech",
    "UpdateReport": "hmm_models",
    "Utterance": "hmm_speech",
    "ViterbiPath": "hmm_core",
    "WordRecognizer": "hmm_models",
    "accumulate_cmllr": "hmm_models",
    "accumulate_lda": "hmm_models",
    "accumulate_mllt": "hmm_models",
    "adapt": "hmm_models",
    "adapt_cmllr": "hmm_models",
    "adapt_map": "hmm_models",
    "adapt_mllr": "hmm_models",
    "all_reduce_statistics": "hmm_models",
    "articulation": "hmm_speech",
    "articulatory_class": "hmm_speech",
    "articulatory_distance": "hmm_speech",
    "backends": "hmm_core",
    "backward": "hmm_core",
    "beam_viterbi": "hmm_core",
    "beta_binomial_prior": "hmm_align",
    "binarization_loss": "hmm_align",
    "boundary_errors": "hmm_metrics",
    "broadcast_model": "hmm_models",
    "calculate_alignment_accuracy": "hmm_metrics",
    "calculate_boundary_accuracy": "hmm_metrics",
    "cmllr_prior": "hmm_models",
    "collate_variable_length": "hmm_models",
    "collect_cmllr": "hmm_models",
    "conditional_log_likelihood": "hmm_models",
    "create_duration_constrained_matrix": "hmm_models",
    "create_hierarchical_transitions": "hmm_models",
    "create_left_to_right_matrix": "hmm_models",
    "create_phoneme_aware_transitions": "hmm_models",
    "create_prosody_aware_transitions": "hmm_models",
    "create_skip_state_matrix": "hmm_models",
    "create_speech_hmm": "hmm_models",
    "ctc_graph": "hmm_core",
    "ctc_hmm_loss": "hmm_models",
    "deltas": "hmm_speech",
    "diagnose": "hmm_align",
    "dtw": "hmm_core",
    "durations_from_intervals": "hmm_speech",
    "entropy": "hmm_core",
    "ergodic": "hmm_core",
    "estimate_cmllr": "hmm_models",
    "estimate_lda": "hmm_models",
    "estimate_mllr": "hmm_models",
    "estimate_mllt": "hmm_models",
    "evaluate": "hmm_align",
    "expected_transitions": "hmm_core",
    "find_optimal_batch_size": "hmm_models",
    "fit_speakers": "hmm_models",
    "fold_phone": "hmm_metrics",
    "fold_word": "hmm_metrics",
    "forward": "hmm_core",
    "forward_sum_loss": "hmm_align",
    "frame_accuracy": "hmm_metrics",
    "frame_times": "hmm_speech",
    "from_arcs": "hmm_core",
    "from_hmmlearn": "hmm_models",
    "get_cmake_dir": "hmm_core",
    "get_include": "hmm_core",
    "global_variance": "hmm_models",
    "graph_log_likelihood": "hmm_models",
    "guided_attention_loss": "hmm_align",
    "intervals_from_durations": "hmm_speech",
    "kbest": "hmm_core",
    "left_to_right": "hmm_core",
    "linear_graph": "hmm_core",
    "load_audio": "hmm_speech",
    "load_model": "hmm_models",
    "load_tensors": "hmm_models",
    "log_likelihood": "hmm_core",
    "map_phones": "hmm_speech",
    "map_prior": "hmm_models",
    "mel_filterbank": "hmm_speech",
    "merge_closures": "hmm_metrics",
    "mlpg": "hmm_models",
    "mlpg_global_variance": "hmm_models",
    "mmi": "hmm_models",
    "normalize_text": "hmm_speech",
    "num_frames": "hmm_speech",
    "online": "hmm_core",
    "overlap_rate": "hmm_metrics",
    "pairwise_cost": "hmm_core",
    "phone_topology": "hmm_models",
    "plot_alignment": "hmm_align",
    "plot_reliability": "hmm_align",
    "posterior": "hmm_core",
    "read_corpus": "hmm_speech",
    "read_folder": "hmm_speech",
    "read_intervals": "hmm_align",
    "read_json": "hmm_align",
    "read_kss": "hmm_speech",
    "read_librispeech": "hmm_speech",
    "read_ljspeech": "hmm_speech",
    "read_recording": "hmm_speech",
    "read_speaker_folders": "hmm_speech",
    "read_textgrid": "hmm_align",
    "register_model": "hmm_models",
    "regression_tree": "hmm_models",
    "reliability": "hmm_align",
    "sample": "hmm_core",
    "save_model": "hmm_models",
    "save_tensors": "hmm_models",
    "select_num_mixtures": "hmm_models",
    "select_num_states": "hmm_models",
    "semi_markov": "hmm_core",
    "silence_topology": "hmm_models",
    "skip": "hmm_core",
    "soft_dtw": "hmm_core",
    "soft_dtw_divergence": "hmm_core",
    "split_targets": "hmm_models",
    "stack_graphs": "hmm_core",
    "state_durations": "hmm_models",
    "summarize_boundaries": "hmm_metrics",
    "tie_rows": "hmm_models",
    "to_hmmlearn": "hmm_models",
    "transcript_graph": "hmm_models",
    "transform_statistics": "hmm_models",
    "viterbi": "hmm_core",
    "write_alignments": "hmm_align",
    "write_csv": "hmm_align",
    "write_fastspeech2": "hmm_align",
    "write_json": "hmm_align",
    "write_mfa": "hmm_align",
    "write_report": "hmm_align",
    "write_textgrid": "hmm_align",
}
_SUBMODULES = frozenset({"alignment", "demo", "metrics", "streaming"})
__all__ = list(_EXPORTS)
__version__ = _version("pytorch-hmm")


def __getattr__(name: str) -> object:
    if name in _SUBMODULES:
        return _import_module(f"{__name__}.{name}")
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_SUBMODULES})
