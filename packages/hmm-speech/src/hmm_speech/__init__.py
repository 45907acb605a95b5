"""Speech front end for PyTorch: audio, log-mel, MFCC, lexicon, G2P, text normalisation, corpus readers."""

from importlib.metadata import version as _version

from ._articulation import Articulation as Articulation
from ._articulation import articulation as articulation
from ._articulation import articulatory_class as articulatory_class
from ._articulation import articulatory_distance as articulatory_distance
from ._audio import Audio as Audio
from ._audio import AudioError as AudioError
from ._audio import load_audio as load_audio
from ._corpus import Corpus as Corpus
from ._corpus import CorpusError as CorpusError
from ._corpus import Problem as Problem
from ._corpus import Utterance as Utterance
from ._corpus import read_corpus as read_corpus
from ._corpus import read_folder as read_folder
from ._corpus import read_kss as read_kss
from ._corpus import read_librispeech as read_librispeech
from ._corpus import read_ljspeech as read_ljspeech
from ._corpus import read_recording as read_recording
from ._corpus import read_speaker_folders as read_speaker_folders
from ._deltas import deltas as deltas
from ._durations import durations_from_intervals as durations_from_intervals
from ._durations import intervals_from_durations as intervals_from_durations
from ._features import MFCC as MFCC
from ._features import LogMel as LogMel
from ._features import frame_times as frame_times
from ._features import mel_filterbank as mel_filterbank
from ._features import num_frames as num_frames
from ._g2p import EnglishG2P as EnglishG2P
from ._lexicon import Lexicon as Lexicon
from ._lexicon import UnknownWordError as UnknownWordError
from ._normalization import MeanVariance as MeanVariance
from ._phone_set import LANGUAGES as LANGUAGES
from ._phone_set import PhoneSet as PhoneSet
from ._phone_set import map_phones as map_phones
from ._text import TextError as TextError
from ._text import normalize_text as normalize_text

__version__ = _version("hmm-speech")
__all__ = [
    "LANGUAGES",
    "MFCC",
    "Articulation",
    "Audio",
    "AudioError",
    "Corpus",
    "CorpusError",
    "EnglishG2P",
    "Lexicon",
    "LogMel",
    "MeanVariance",
    "PhoneSet",
    "Problem",
    "TextError",
    "UnknownWordError",
    "Utterance",
    "articulation",
    "articulatory_class",
    "articulatory_distance",
    "deltas",
    "durations_from_intervals",
    "frame_times",
    "intervals_from_durations",
    "load_audio",
    "map_phones",
    "mel_filterbank",
    "normalize_text",
    "num_frames",
    "read_corpus",
    "read_folder",
    "read_kss",
    "read_librispeech",
    "read_ljspeech",
    "read_recording",
    "read_speaker_folders",
]
