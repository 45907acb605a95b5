"""The corpus aligner: from recordings and their transcripts alone to phone and word times."""

import copy
import hashlib
import json
import logging
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Self, overload

from hmm_speech import Corpus, CorpusError, Lexicon, Problem, TextError, Utterance

from ._acoustic import AcousticModel
from ._adaptation import PASSES, Adapter
from ._aligning import BatchAligner
from ._config import AlignerConfig
from ._corpus import Prepared, Progress, feature_store, minibatches, prepare
from ._features import FeatureExtractor, FeatureStore
from ._graph import min_frames
from ._journal import Journal
from ._kept import KeptAlignments
from ._model_file import TrainingReport, read_model, write_model
from ._phones import inventory, keep_known, labels_of, unit_of
from ._pool import Pool
from ._recipe import Checkpoint, train_stages
from ._result import Alignment
from ._shards import Shards
from ._start import classes_of, nearest_units, start_from
from ._training import Trainer
from .sphinx import PREFIX, SphinxModel, find_model

_LOGGER = logging.getLogger("hmm_align")
_CHECKPOINT = "training.safetensors"
# What a model's densities depend on.
_SHAPING = (
    "sample_rate",
    "frame_period",
    "window",
    "num_mels",
    "num_ceps",
    "delta_window",
    "states_per_phone",
    "silence_states",
)


class CorpusAligner:
    """Aligns recordings with their transcripts; made by `train` or `load`.

    Parameters
    ----------
    acoustic : AcousticModel
        The trained states of silence and phones.
    lexicon : Lexicon
        Where words are looked up.
    config : AlignerConfig
        What the model was trained with.
    training_report : TrainingReport
        What training saw.

    Notes
    -----
    Each phone is a left-to-right HMM with Gaussian mixture emissions, whatever its stress and its neighbours;
    a silence may stand between any two words. The best path chooses pronunciations and silences. Boundaries
    are the expected ones given these choices, and are therefore finer than a frame. They are expected by
    mixtures of states that know the phones before and after, tied by decision trees; with
    ``AlignerConfig(acoustic="monophone")`` by the first mixtures; with ``acoustic="neural"`` by a hybrid of
    the same HMM and a convolutional network, which has learned from the best paths of all utterances and sees
    each frame with its neighbours.

    References
    ----------
    .. [1] D. Povey et al., "The Kaldi speech recognition toolkit", ASRU 2011 (the monophone recipe).
    .. [2] H. Bourlard and N. Morgan, "Connectionist speech recognition", Kluwer, 1994 (the hybrid).
    .. [3] S. J. Young, J. J. Odell and P. C. Woodland, "Tree-based state tying for high accuracy acoustic
       modelling", HLT 1994 (the trees).

    Examples
    --------
    Train on a folder of recordings with their transcripts, and look at the times of one of them.

    >>> from hmm_speech import read_corpus
    >>> corpus = read_corpus("my_recordings")  # doctest: +SKIP
    >>> aligner = CorpusAligner.train(corpus)  # doctest: +SKIP
    >>> aligner.align(corpus.utterances[0]).words[0]  # doctest: +SKIP
    AlignedInterval(start=0.0, end=0.172, label='', confidence=0.99, log_ratio=3.1, end_uncertainty=0.009)
    """

    def __init__(
        self,
        acoustic: AcousticModel | SphinxModel,
        lexicon: Lexicon,
        config: AlignerConfig,
        training_report: TrainingReport,
    ) -> None:
        self.config = config
        self.lexicon = lexicon
        self.training_report = training_report
        self._acoustic = acoustic

    @property
    def phones(self) -> tuple[str, ...]:
        """Phones that the model has heard, without stress."""
        return self._acoustic.phones

    @classmethod
    def train(
        cls,
        corpus: Corpus,
        *,
        language: str | None = None,
        lexicon: Lexicon | None = None,
        config: AlignerConfig | None = None,
        initial: "CorpusAligner | None" = None,
        mapping: Mapping[str, str] | None = None,
        workdir: str | os.PathLike[str] | None = None,
        jobs: int = 1,
        distributed: bool = False,
        progress: Progress | None = None,
    ) -> Self:
        """Train on a corpus, from nothing but it or from a model of another.

        Parameters
        ----------
        corpus : Corpus
            Recordings and transcripts, as `hmm_speech.read_corpus` lists them.
        language : str, optional
            Takes the pronunciations of `hmm_speech.Lexicon.of`: ``"en"``, ``"ko"``, ``"ko-jamo"``, ``"ja"``
            or ``"cmn"``. Not together with a ``lexicon``, which has a language of its own.
        lexicon : Lexicon, optional
            Pronunciations; the CMU dictionary if both are omitted.
        config : AlignerConfig, optional
            Choices; the defaults suit minutes to hours of read speech.
        initial : CorpusAligner, optional
            A trained model, of this language or another, to start from.
        mapping : mapping of str to str, optional
            For phones of this corpus, without stress and tone, the phones of ``initial`` to take them from.
            For the others the one that is made most like it, by `hmm_speech.articulatory_distance`.
        workdir : path, optional
            Folder for features and checkpoints, the caller's to remove. A training that was interrupted,
            killed even, goes on from the last one and ends as if it had not been; one that has ended is not
            repeated.
        jobs : int
            Processes that read the recordings, 1 or more.
        distributed : bool
            Share the corpus out to the processes of torch.distributed, which all call this. Each reads and
            searches its share; statistics and gradients are added up, and all get the same model, that of one
            process up to rounding. Of the ``workdir``, the first process keeps the checkpoints.
        progress : callable, optional
            Called with the name of the stage, the steps done and the steps in all.

        Returns
        -------
        CorpusAligner
            Its `training_report` names the utterances that could not be used.

        Raises
        ------
        CorpusError
            If no utterance can be used.
        ValueError
            If ``language`` is not known or comes with a ``lexicon``; if ``initial`` has other features or
            numbers of states, lacks a phone that ``mapping`` names, or it is not known how a phone is made;
            if ``jobs`` is below 1.
        RuntimeError
            If ``distributed`` and torch.distributed has not been initialised.
        ModelFileError
            If ``workdir`` holds a checkpoint of another corpus, lexicon or configuration, or one that cannot
            be read.

        Notes
        -----
        Random numbers come from a generator of fixed seed, for the network alone, and the global one is left
        as it is: the same corpus gives the same model on the same machine, with any number of threads unless
        there is a network. Each of torch's threads works on utterances of its own. Memory is that of a batch
        for each thread and the model, and 200 bytes per second of speech; features lie in a file, 19 kB per
        second at the default settings.
        """
        if language is not None and lexicon is not None:
            raise ValueError(f"language and lexicon must not both be given; got {language!r} and {lexicon!r}")
        lexicon = Lexicon.of(language or "en") if lexicon is None else lexicon
        config = AlignerConfig() if config is None else config
        if initial is not None:
            _check_initial(initial, config)
        shards = Shards(distributed)
        with (
            _working_folder(workdir) as folder,
            closing(
                feature_store(_share_of(folder, shards), FeatureExtractor(config).feature_dim, config)
            ) as store,
            Pool(jobs) as pool,
        ):
            mine = shards.share(corpus.utterances)
            prepared, problems = prepare(mine, lexicon, config, store, progress, pool)
            store.share_speakers(shards)
            known = sorted(set(shards.joined(inventory(prepared))))
            utterances = [keep_known(item, known) for item in prepared]
            acoustic = AcousticModel(
                known,
                store.feature_dim,
                config.states_per_phone,
                config.silence_states,
                config.variance_floor,
            )
            utterances, too_short = _long_enough(utterances, acoustic, config)
            problems = shards.joined(problems) + shards.joined(too_short)
            everything = sorted(shards.joined(utterances))
            if not everything:
                raise CorpusError(corpus.root, "no utterance can be trained on" + _first_reason(problems))
            trainer = Trainer(
                acoustic,
                utterances,
                store,
                lambda: acoustic.scorer(labels_of(utterances)).models,
                config,
                shards,
                pool,
            )
            checkpoint = None if workdir is None else Path(workdir) / _CHECKPOINT
            start = partial(_start, trainer, lexicon.language, initial, mapping or {})
            fingerprint = _fingerprint(corpus, everything, config, initial, mapping)
            kept = Checkpoint(checkpoint, fingerprint, trainer, start, shards)
            if kept.lost is None:
                train_stages(trainer, kept, utterances, store, lexicon.language, progress)
            lost = set(kept.lost or ())
        problems += [
            Problem(name, "no path: the transcript does not fit the recording") for name in sorted(lost)
        ]
        used = [item for item in everything if item.id not in lost]
        if not used:
            raise CorpusError(corpus.root, "no utterance can be trained on" + _first_reason(problems))
        report = TrainingReport(
            tuple(trainer.log_likelihood),
            len(used),
            sum(item.duration for item in used) / 3600,
            tuple(sorted(problems)),
        )
        return cls(acoustic, lexicon, config, report)

    def adapt(
        self,
        data: Utterance | Corpus,
        *,
        strength: float = 100.0,
        workdir: str | os.PathLike[str] | None = None,
        jobs: int = 1,
        distributed: bool = False,
        progress: Progress | None = None,
    ) -> Self:
        """Move the model towards recordings that it was not trained on, a voice or a room new to it.

        Parameters
        ----------
        data : Utterance or Corpus
            Recordings and transcripts, best of one speaker; seconds help, minutes help more.
        strength : float
            Frames of each density for which the model as it is counts, > 0. The greater, the less it moves.
        workdir : path, optional
            Folder for features, the caller's to remove. With that of an alignment, the recordings are read
            once for both.
        jobs : int
            Processes that read the recordings, 1 or more.
        distributed : bool
            Share the corpus out to the processes of torch.distributed, as `train` does.
        progress : callable, optional
            Called with the name of the stage, the steps done and the steps in all.

        Returns
        -------
        CorpusAligner
            Another one, with this one's `training_report`; utterances that cannot be aligned were left out.

        Raises
        ------
        CorpusError
            If no utterance can be aligned.
        TypeError
            If the model is one of CMU Sphinx.
        ValueError
            If ``strength`` is not positive and finite, or ``jobs`` is below 1.
        RuntimeError
            If ``distributed`` and torch.distributed has not been initialised.

        Notes
        -----
        Paths are searched and Gaussians re-estimated three times, those of tied states once, with the model
        as the prior [1]_. A network stays as it is. Takes about as long as to align the recordings.

        References
        ----------
        .. [1] J.-L. Gauvain and C.-H. Lee, "Maximum a posteriori estimation for multivariate Gaussian mixture
           observations of Markov chains", IEEE Trans. Speech and Audio Processing 2(2), 1994.

        Examples
        --------
        >>> from hmm_speech import read_corpus
        >>> aligner = CorpusAligner.load("english.model")  # doctest: +SKIP
        >>> corpus = read_corpus("another_voice")  # doctest: +SKIP
        >>> alignments = aligner.adapt(corpus).align(corpus)  # doctest: +SKIP
        """
        if not 0.0 < strength < math.inf:
            raise ValueError(f"strength must be > 0 and finite; got {strength}")
        acoustic = copy.deepcopy(_trained(self))
        adapted = type(self)(acoustic, self.lexicon, self.config, self.training_report)
        utterances = [data] if isinstance(data, Utterance) else data.utterances
        shards = Shards(distributed)
        with (
            _working_folder(workdir) as folder,
            closing(feature_store(_share_of(folder, shards), acoustic.feature_dim, self.config)) as store,
            Pool(jobs) as pool,
        ):
            usable, problems = _usable(self, shards.share(utterances), store, progress, pool)
            store.share_speakers(shards)
            if not shards.joined(usable):
                root = data.audio if isinstance(data, Utterance) else data.root
                reason = _first_reason(shards.joined(problems))
                raise CorpusError(root, "no utterance can be adapted to" + reason)
            adapter = Adapter(acoustic, usable, store, self.config, strength, shards, pool)
            while adapter.iteration < PASSES:
                adapter.step()
                if progress is not None:
                    progress("adapting", adapter.iteration, PASSES)
            if acoustic.tied is not None:
                adapter.adapt_tied(acoustic.tied)
        return adapted

    @overload
    def align(
        self,
        data: Utterance,
        *,
        loose: bool = False,
        workdir: str | os.PathLike[str] | None = None,
        jobs: int = 1,
        progress: Progress | None = None,
    ) -> Alignment: ...

    @overload
    def align(
        self,
        data: Corpus,
        *,
        loose: bool = False,
        workdir: str | os.PathLike[str] | None = None,
        jobs: int = 1,
        progress: Progress | None = None,
    ) -> list[Alignment]: ...

    def align(
        self,
        data: Utterance | Corpus,
        *,
        loose: bool = False,
        workdir: str | os.PathLike[str] | None = None,
        jobs: int = 1,
        progress: Progress | None = None,
    ) -> Alignment | list[Alignment]:
        """Find the words' and phones' times.

        Parameters
        ----------
        data : Utterance or Corpus
            What to align. A speaker's utterances are normalised together, so a corpus is better than one
            utterance at a time.
        loose : bool
            Do not trust the transcript: speech that no word explains becomes an interval ``"<unk>"``, and a
            word that is not heard is `Alignment.skipped`. For transcripts that may be wrong, or that cover
            only a part of the recording; it takes longer.
        workdir : path, optional
            Folder for features and for what has been aligned, the caller's to remove. A call that was
            interrupted, killed even, goes on from there and ends as if it had not been. With that of the
            training, the recordings are not read again.
        jobs : int
            Processes of one thread each, or with 1 this process alone, in as many threads as torch may use;
            all give the same, bit for bit. In a script, a call for more than 1 must stand under
            ``if __name__ == "__main__":``.
        progress : callable, optional
            Called with the name of the stage, the steps done and the steps in all.

        Returns
        -------
        Alignment or list of Alignment
            One per utterance, in order. An utterance that cannot be aligned has ``ok=False`` and a reason; it
            does not stop the others.

        Raises
        ------
        ValueError
            If ``jobs`` is below 1.

        Notes
        -----
        The confidence of an interval is the mean posterior probability that its frames belong to it, if the
        transcript is right; whether it is, ``log_ratio`` tells, and `diagnose` names what does not fit.
        """
        utterances = [data] if isinstance(data, Utterance) else data.utterances
        with (
            _working_folder(workdir) as folder,
            closing(self._align_kept(utterances, folder, loose=loose, jobs=jobs, progress=progress)) as kept,
        ):
            found = list(kept)
        return found[0] if isinstance(data, Utterance) else found

    def _align_kept(
        self,
        utterances: Sequence[Utterance],
        folder: Path,
        *,
        loose: bool,
        jobs: int,
        progress: Progress | None,
        shards: Shards | None = None,
    ) -> KeptAlignments:
        """Align a share of utterances, and leave what is found in a folder.

        Memory is that of a batch, and of texts.
        """
        config, acoustic = self.config, self._acoustic
        shards = shards or Shards()
        folder = _share_of(folder, shards)
        utterances = shards.share(utterances)
        with (
            closing(
                feature_store(folder, acoustic.feature_dim, config, normalize=acoustic.is_normalized)
            ) as store,
            Pool(jobs) as pool,
        ):
            usable, problems = _usable(self, utterances, store, progress, pool)
            store.share_speakers(shards)
            batches = minibatches(usable, config.batch_frames)
            kept = KeptAlignments(
                Journal(folder / "alignments.jsonl", self._task(store.task, batches, loose)),
                [item.id for item in utterances],
                [item.id for batch in batches for item in batch],
                problems,
            )
            with ExitStack() as stack:
                stack.callback(kept.close)
                tasks = (
                    (
                        batch,
                        [store.read(item.number) for item in batch],
                        [store.others(item.number) for item in batch],
                    )
                    for batch in kept.rest(batches)
                )
                for found in pool.map(BatchAligner(acoustic, config, loose=loose), tasks):
                    kept.append(found)
                    if progress is not None:
                        progress("aligning", len(kept.journal) + len(kept.failures), len(utterances))
                stack.pop_all()
        return kept

    def _task(self, heard: str, batches: Iterable[Sequence[Prepared]], loose: bool) -> str:
        """Return what identifies an alignment: what was heard, model, utterances and choices."""
        digest = hashlib.sha256(repr((heard, self.config, loose)).encode())
        digest.update(self._acoustic.described().encode())
        for batch in batches:
            for item in batch:
                digest.update(repr(item).encode())
        return digest.hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model, its configuration and its pronunciations to one file.

        Parameters
        ----------
        path : path
            The file; replaced as a whole if it exists.

        Notes
        -----
        A model of CMU Sphinx stays in its own files. Of the CMU dictionary only what differs is written. A
        pronunciation guesser (the lexicon's ``fallback``) is code and cannot be kept in a file: give it to
        `load`.

        Raises
        ------
        TypeError
            If the model is one of CMU Sphinx.
        """
        write_model(path, _trained(self), self.lexicon, self.config, self.training_report)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, lexicon: Lexicon | None = None) -> Self:
        """Read a model that `save` wrote, or one of CMU Sphinx.

        Parameters
        ----------
        path : path
            The file. ``"sphinx:en-us"`` is the model of American English in the package pocketsphinx (extra
            ``[sphinx]``), ``"sphinx:FOLDER"`` any acoustic model of CMU Sphinx: ``mdef``, ``means``,
            ``variances``, ``sendump`` or ``mixture_weights``, ``transition_matrices`` and ``feat.params``.
        lexicon : Lexicon, optional
            Pronunciations to use instead of the ones that the model was trained with; for a model of CMU
            Sphinx, which has none, instead of the CMU dictionary.

        Returns
        -------
        CorpusAligner
            Aligns exactly as the one that was saved.

        Raises
        ------
        ModelFileError
            If the file is missing, damaged, not an aligner, or of a later format.
        ImportError
            If the model is in pocketsphinx, and that is not installed.

        Notes
        -----
        A model of CMU Sphinx is used with all its triphones, across words too, and without pruning; in a
        recording of more than ten minutes with phones out of context, to save memory. Its features are
        normalised by each recording's own mean, as it was trained.
        """
        if str(path).startswith(PREFIX):
            acoustic = SphinxModel(find_model(str(path)))
            lexicon = Lexicon.of("en") if lexicon is None else lexicon
            return cls(acoustic, lexicon, acoustic.config, TrainingReport((), 0, 0.0, ()))
        return cls(*read_model(path, lexicon))


@contextmanager
def _working_folder(workdir: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Give the folder that was asked for, or one that is removed at the end."""
    if workdir is not None:
        yield Path(workdir)
        return
    with tempfile.TemporaryDirectory(prefix="hmm-align-") as folder:
        yield Path(folder)


def _share_of(folder: Path, shards: Shards) -> Path:
    """Name the folder of this process's share."""
    return folder / f"shard{shards.rank}of{shards.number}" if shards.number > 1 else folder


def _usable(
    aligner: CorpusAligner,
    utterances: Sequence[Utterance],
    store: FeatureStore,
    progress: Progress | None,
    pool: Pool,
) -> tuple[list[Prepared], list[Problem]]:
    """Read utterances; return those that a model can align, and why it cannot the others."""
    acoustic, config = aligner._acoustic, aligner.config  # noqa: SLF001 - of this class
    front_end = acoustic.front_end(config)
    prepared, problems = prepare(utterances, aligner.lexicon, config, store, progress, pool, front_end)
    known = []
    for item in prepared:
        try:
            known.append(keep_known(item, acoustic.phones))
        except TextError as error:
            problems.append(Problem(item.id, str(error)))
    usable, too_short = _long_enough(known, acoustic, config)
    return usable, [*problems, *too_short]


def _long_enough(
    utterances: Iterable[Prepared], acoustic: AcousticModel | SphinxModel, config: AlignerConfig
) -> tuple[list[Prepared], list[Problem]]:
    """Part the utterances that can hold their transcripts from those that are too short."""
    fitting, problems = [], []
    for item in utterances:
        needed = min_frames(item.pronunciations, acoustic.scorer(labels_of([item]), item.num_frames).models)
        if needed <= item.num_frames:
            fitting.append(item)
            continue
        seconds = (needed - 1) * config.frame_period  # the first frame is centred at 0
        reason = f"the transcript needs {seconds:.3f} s or more; the recording has {item.duration:.3f} s"
        problems.append(Problem(item.id, reason))
    return fitting, problems


def _first_reason(problems: Sequence[Problem]) -> str:
    """Return how many problems there are, and the first, for an error message."""
    return (
        f" ({len(problems)} problems, the first: {problems[0].id}: {problems[0].reason})" if problems else ""
    )


def _trained(aligner: CorpusAligner) -> AcousticModel:
    """Return the acoustic model of an aligner that this package has trained."""
    acoustic = aligner._acoustic  # noqa: SLF001 - of this class
    if not isinstance(acoustic, AcousticModel):
        raise TypeError("the model must be one that this package has trained; got one of CMU Sphinx")
    return acoustic


def _check_initial(initial: CorpusAligner, config: AlignerConfig) -> None:
    """Refuse to start from a model whose densities mean something else."""
    _trained(initial)
    for name in _SHAPING:
        theirs, ours = getattr(initial.config, name), getattr(config, name)
        if theirs != ours:
            raise ValueError(f"initial must have been trained with {name}={ours!r}; got {theirs!r}")


def _start(
    trainer: Trainer[AcousticModel], language: str, initial: CorpusAligner | None, mapping: Mapping[str, str]
) -> None:
    """Give the model its first densities: those of another model, by class, or flat."""
    units = trainer.model.phones
    if initial is not None:
        nearest = nearest_units(
            [unit for unit in units if unit not in mapping],
            language,
            initial.phones,
            initial.lexicon.language,
        )
        for unit, taken in mapping.items():
            if unit_of(taken) not in initial.phones:
                raise ValueError(f"mapping must name phones of initial; got {taken!r} for {unit!r}")
        start_from(trainer.model, _trained(initial), nearest | dict(mapping))
    elif trainer.config.start == "class" and (classes := classes_of(units, language)) is not None:
        trainer.class_start(classes)
    else:
        trainer.flat_start()


def _fingerprint(
    corpus: Corpus,
    utterances: Sequence[Prepared],
    config: AlignerConfig,
    initial: CorpusAligner | None,
    mapping: Mapping[str, str] | None,
) -> str:
    """Return what identifies a training: everything it depends on but the sound itself."""
    source = {item.id: item for item in corpus.utterances}
    described: list[Any] = [asdict(config)]
    if initial is not None:
        mean = _trained(initial).mixtures.mean.detach()
        described += [hashlib.sha256(mean.contiguous().numpy().tobytes()).hexdigest(), dict(mapping or {})]
    described += [
        [*item, source[item.id].speaker, source[item.id].audio.stat().st_size] for item in utterances
    ]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()
