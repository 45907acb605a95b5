"""Words and phones of one recording, from a model that has been trained."""

import os
import tempfile
from pathlib import Path
from typing import Self

import soundfile

from hmm_align._result import Alignment
from hmm_align.corpus_aligner import CorpusAligner
from hmm_speech import Audio, Lexicon, Utterance


class ForcedAligner:
    """Aligns one transcript with one recording at a time.

    Parameters
    ----------
    model : CorpusAligner
        A trained aligner.

    Raises
    ------
    TypeError
        If the model is something else.

    Notes
    -----
    The times are those of :meth:`CorpusAligner.align` for a speaker who said nothing else: features are
    normalised over this recording alone. Where there are many recordings of a speaker, align them as a
    corpus.

    References
    ----------
    .. [1] F. Brugnara, D. Falavigna and M. Omologo, "Automatic segmentation and labeling of speech based on
       hidden Markov models", Speech Communication 12(4), 1993.

    Examples
    --------
    >>> ForcedAligner.from_pretrained("no_such_model.safetensors")
    Traceback (most recent call last):
    hmm_models._serialization.ModelFileError: no_such_model.safetensors: no such file
    >>> aligner = ForcedAligner.from_pretrained("model.safetensors")  # doctest: +SKIP
    >>> for word in aligner.align("hello world", "hello.wav").words:  # doctest: +SKIP
    ...     print(f"{word.start:.3f} {word.end:.3f} {word.confidence:.2f} {word.label}")
    0.000 0.112 0.98
    0.112 0.431 0.97 hello
    0.431 0.903 0.99 world
    """

    def __init__(self, model: CorpusAligner) -> None:
        if not isinstance(model, CorpusAligner):
            raise TypeError(f"model must be a CorpusAligner; got {type(model).__name__}")
        self.model = model

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str], *, lexicon: Lexicon | None = None) -> Self:
        """Read a model that :meth:`CorpusAligner.save` or ``hmm-align train`` wrote.

        Parameters
        ----------
        path : path
            The file.
        lexicon : Lexicon, optional
            Pronunciations to use instead of the ones that the model was trained with.

        Returns
        -------
        ForcedAligner
            Ready to align.

        Raises
        ------
        ModelFileError
            If the file is missing, damaged, not an aligner, or of a later format.
        """
        return cls(CorpusAligner.load(path, lexicon=lexicon))

    def align(self, text: str, audio: str | os.PathLike[str] | Audio) -> Alignment:
        """Find the times of the words and phones of a transcript.

        Parameters
        ----------
        text : str
            What is said, as written.
        audio : path or Audio
            The recording: a file that :func:`hmm_speech.load_audio` reads, or samples with their rate.

        Returns
        -------
        Alignment
            Words and phones from 0 to the end of the recording, each with a confidence. Where there is no
            alignment ``ok`` is False and ``reason`` says why: a file that cannot be read, a word without a
            pronunciation, a transcript that does not fit.

        Raises
        ------
        TypeError
            If an argument has the wrong type.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a str; got {type(text).__name__}")
        if isinstance(audio, Audio):
            with tempfile.TemporaryDirectory(prefix="hmm-align-") as folder:
                path = Path(folder) / "recording.wav"
                samples = audio.waveform.detach().cpu().float().numpy()
                soundfile.write(path, samples, audio.sample_rate, subtype="FLOAT")
                return self._align(text, path)
        if not isinstance(audio, str | os.PathLike):
            raise TypeError(f"audio must be a path or an Audio; got {type(audio).__name__}")
        return self._align(text, Path(audio))

    def _align(self, text: str, path: Path) -> Alignment:
        """Align a file as a corpus of one utterance."""
        return self.model.align(Utterance(path.stem, path, text, speaker=""))
