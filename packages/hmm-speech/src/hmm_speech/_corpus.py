"""Find the recordings of a folder and what is said in them."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif")  # the earlier wins
_TEXT_SUFFIXES = (".txt", ".lab")  # the earlier wins
_NOTES = frozenset({"readme", "license", "licence", "copying", "notice", "changelog", "authors"})
_KSS = "transcript.v."
_LIBRISPEECH = ".trans.txt"
_TIMED_LINE = re.compile(r"\s*(\d+(?:\.\d+)?)\s+\d+(?:\.\d+)?(?:\s+\S.*)?")


class CorpusError(ValueError):
    """A path holds no corpus.

    Parameters
    ----------
    path : Path
        What was to be read.
    reason : str
        Why it cannot be, in one line.

    Examples
    --------
    >>> print(CorpusError(Path("speech"), "not a folder"))
    speech: not a folder
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Utterance:
    """A recording and its transcript.

    Attributes
    ----------
    id : str
        Name, unique in its corpus.
    audio : Path
        The recording, for :func:`load_audio`.
    text : str
        The transcript as written, in one line; never empty.
    speaker : str
        Who speaks.
    """

    id: str
    audio: Path
    text: str
    speaker: str


class Problem(NamedTuple):
    """Something in a corpus that cannot be used.

    Attributes
    ----------
    id : str
        Name of the utterance.
    reason : str
        Why it cannot be used, in one line.
    """

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """The utterances of a folder; iterate over it or take its length.

    Attributes
    ----------
    root : Path
        The folder.
    utterances : tuple of Utterance
        What can be used, sorted by id.
    problems : tuple of Problem
        What cannot, sorted by id.
    """

    root: Path
    utterances: tuple[Utterance, ...]
    problems: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        return len(self.utterances)

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    @property
    def speakers(self) -> tuple[str, ...]:
        """Names of the speakers, sorted."""
        return tuple(sorted({utterance.speaker for utterance in self.utterances}))


def read_corpus(path: str | os.PathLike[str]) -> Corpus:
    """Read a folder of recordings and transcripts, whichever of the known layouts it has.

    Parameters
    ----------
    path : str or path-like
        The folder.

    Returns
    -------
    Corpus
        See :func:`read_ljspeech` (taken if there is a ``metadata.csv`` with ``|`` between its columns),
        :func:`read_kss` (a ``transcript.v.1.x.txt``), :func:`read_librispeech` (files ``X.trans.txt`` beside
        recordings), :func:`read_speaker_folders` (recordings in sub-folders) and :func:`read_folder`.

    Raises
    ------
    CorpusError
        If the path is not a folder, or holds neither recordings nor transcripts.

    Notes
    -----
    Audio is not opened here: a corrupt recording shows when it is loaded.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> for name in ("ann/a.wav", "ann/a.txt", "bob/b.flac"):
    ...     file = Path(folder.name) / name
    ...     file.parent.mkdir(exist_ok=True)
    ...     _ = file.write_text("Good morning.")
    >>> corpus = read_corpus(folder.name)
    >>> [(u.id, u.text, u.speaker) for u in corpus]
    [('a', 'Good morning.', 'ann')]
    >>> corpus.problems
    (Problem(id='b', reason='no transcript (b.txt or b.lab) beside b.flac'),)
    >>> folder.cleanup()
    """
    root = _folder(path)
    metadata = root / "metadata.csv"
    if metadata.is_file() and b"|" in metadata.read_bytes():
        return read_ljspeech(root)
    files = _files(root)
    if any(file.name.startswith(_KSS) and file.suffix == ".txt" and len(file.parts) == 1 for file in files):
        return read_kss(root)
    if any(file.name.endswith(_LIBRISPEECH) for file in files):
        return read_librispeech(root)
    in_folders = any(len(file.parts) > 1 and file.suffix.lower() in _AUDIO_SUFFIXES for file in files)
    return _read_pairs(root, files, per_speaker=in_folders)


def read_folder(path: str | os.PathLike[str]) -> Corpus:
    """Read a folder, and its sub-folders, of recordings X.wav with transcripts X.txt or X.lab beside them.

    Parameters
    ----------
    path : str or path-like
        The folder; its name is the only speaker.

    Returns
    -------
    Corpus
        The id of an utterance is X, or its path in the folder without suffix where X occurs more than once.

    Raises
    ------
    CorpusError
        If the path is not a folder, or holds neither recordings nor transcripts.

    Notes
    -----
    Recordings end in .wav, .flac, .ogg, .opus, .mp3, .aiff or .aif; where X has several, the first of these
    is taken. Where X has both transcripts, ``X.txt`` is. A ``.lab`` that holds times (HTK's ``start end
    label``, festvox's ``#`` and ``end number label``) is no transcript. Transcripts are UTF-8. Hidden files,
    README, LICENSE and the like are passed over.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "hello.wav").touch()
    ...     _ = Path(folder, "hello.lab").write_text("hello")
    ...     read_folder(folder).utterances[0].text
    'hello'
    """
    root = _folder(path)
    return _read_pairs(root, _files(root), per_speaker=False)


def read_speaker_folders(path: str | os.PathLike[str]) -> Corpus:
    """Read a folder with one sub-folder per speaker, the layout of the Montreal Forced Aligner.

    Parameters
    ----------
    path : str or path-like
        The folder. The name of the first sub-folder on the way to a recording is its speaker; recordings that
        lie in ``path`` itself are by the speaker named as it is.

    Returns
    -------
    Corpus
        In all else as :func:`read_folder` reads it.

    Raises
    ------
    CorpusError
        If the path is not a folder, or holds neither recordings nor transcripts.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "anna").mkdir()
    ...     Path(folder, "anna", "hello.wav").touch()
    ...     _ = Path(folder, "anna", "hello.txt").write_text("hello")
    ...     read_speaker_folders(folder).speakers
    ('anna',)
    """
    root = _folder(path)
    return _read_pairs(root, _files(root), per_speaker=True)


def read_ljspeech(path: str | os.PathLike[str]) -> Corpus:
    """Read a folder with ``metadata.csv``, the layout of LJSpeech.

    Parameters
    ----------
    path : str or path-like
        The folder; its name is the speaker. ``metadata.csv`` has a line ``id|text`` or ``id|text|normalised
        text`` per recording, without quoting; the normalised text is taken where there is one. The recording
        is ``wavs/id.wav``, or ``id.wav`` beside ``metadata.csv``, or the same with another suffix of
        :func:`read_folder`.

    Returns
    -------
    Corpus
        Listed recordings that are absent, and recordings that are not listed, are problems.

    Raises
    ------
    CorpusError
        If the path is not a folder, or ``metadata.csv`` is absent, not UTF-8 or empty.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "LJ001-0001.wav").touch()
    ...     _ = Path(folder, "metadata.csv").write_text("LJ001-0001|In 1455.|In fourteen fifty-five.")
    ...     read_ljspeech(folder).utterances[0].text
    'In fourteen fifty-five.'
    """
    root = _folder(path)
    metadata = root / "metadata.csv"
    if not metadata.is_file():
        raise CorpusError(root, "there is no metadata.csv")
    lines = _lines(metadata)
    recordings = {
        stem: file
        for folder in (root, root / "wavs")
        if folder.is_dir()
        for stem, file in sorted(_by_stem(folder).items())
    }
    utterances, problems = [], []
    seen: dict[str, int] = {}
    for number, line in lines:
        columns = [column.strip() for column in line.split("|")]
        name = (
            Path(columns[0]).stem if columns[0].lower().endswith(_AUDIO_SUFFIXES) else Path(columns[0]).name
        )
        text = " ".join(next((c for c in (*columns[2:3], *columns[1:2]) if c), "").split())
        if not name:
            problems.append(Problem(f"metadata.csv:{number}", "the line names no recording"))
        elif name in seen:
            problems.append(
                Problem(name, f"listed again in line {number} of metadata.csv, after line {seen[name]}")
            )
        elif name not in recordings:
            problems.append(Problem(name, "no recording in wavs/ or beside metadata.csv"))
        elif not text:
            problems.append(Problem(name, f"empty transcript (line {number} of metadata.csv)"))
        else:
            utterances.append(Utterance(name, recordings[name], text, root.name))
        seen.setdefault(name, number)
    problems += [Problem(name, "no transcript in metadata.csv") for name in recordings if name not in seen]
    return _corpus(root, utterances, problems)


def read_kss(path: str | os.PathLike[str]) -> Corpus:
    """Read the Korean Single Speaker corpus: ``transcript.v.1.4.txt`` and numbered folders of recordings.

    Parameters
    ----------
    path : str or path-like
        The folder; its name is the speaker. The transcript, the last of its versions, has a line
        ``1/1_0000.wav|as written|numbers in words|letters apart|seconds|English`` per recording; the third
        column is taken, or the second where that is empty. Recordings lie in ``1/`` to ``4/``, or in
        ``kss/1/`` and so on.

    Returns
    -------
    Corpus
        Ids are such as ``1_0000``. Listed recordings that are absent are problems.

    Raises
    ------
    CorpusError
        If the path is not a folder, or the transcript is absent, not UTF-8 or empty.

    References
    ----------
    .. [1] K. Park, "KSS Dataset: Korean Single Speaker Speech Dataset", 2018 (CC BY-NC-SA 4.0).

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "1").mkdir()
    ...     Path(folder, "1", "1_0000.wav").touch()
    ...     line = "1/1_0000.wav|3개|세 개|세 개|1.0|three"
    ...     _ = Path(folder, "transcript.v.1.4.txt").write_text(line, encoding="utf-8")
    ...     [(u.id, u.text) for u in read_kss(folder)]
    [('1_0000', '세 개')]
    """
    root = _folder(path)
    transcripts = _kss_transcripts(root)
    if not transcripts:
        raise CorpusError(root, "there is no transcript.v.1.4.txt")
    utterances, problems = [], []
    for number, line in _lines(transcripts[-1]):
        columns = [column.strip() for column in line.split("|")]
        name = Path(columns[0]).stem
        text = " ".join(next((c for c in (*columns[2:3], *columns[1:2]) if c), "").split())
        places = (folder / columns[0] for folder in (root, root / "kss"))
        audio = next((place for place in places if columns[0] and place.is_file()), None)
        if audio is None:
            problems.append(Problem(name or f"{transcripts[-1].name}:{number}", f"no recording {columns[0]}"))
        elif not text:
            problems.append(Problem(name, f"empty transcript (line {number} of {transcripts[-1].name})"))
        else:
            utterances.append(Utterance(name, audio, text, root.name))
    return _unique(root, utterances, problems)


def read_librispeech(path: str | os.PathLike[str]) -> Corpus:
    """Read LibriSpeech, or a part of it: ``speaker/chapter/speaker-chapter.trans.txt`` beside recordings.

    Parameters
    ----------
    path : str or path-like
        ``LibriSpeech``, a part such as ``dev-clean``, a speaker or a chapter. A line of a transcript is
        ``84-121123-0000 GO DO YOU HEAR``; the recording ``84-121123-0000.flac`` lies beside it, or one with
        another suffix of :func:`read_folder`.

    Returns
    -------
    Corpus
        The speaker is what the id begins with. Listed recordings that are absent, and recordings that are not
        listed, are problems.

    Raises
    ------
    CorpusError
        If the path is not a folder, holds no ``X.trans.txt``, or one of them is not UTF-8.

    References
    ----------
    .. [1] V. Panayotov, G. Chen, D. Povey and S. Khudanpur, "Librispeech: an ASR corpus based on public
       domain audio books", ICASSP 2015.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "84-121123-0000.flac").touch()
    ...     _ = Path(folder, "84-121123.trans.txt").write_text("84-121123-0000 GO DO YOU HEAR")
    ...     [(u.id, u.text, u.speaker) for u in read_librispeech(folder)]
    [('84-121123-0000', 'GO DO YOU HEAR', '84')]
    """
    root = _folder(path)
    transcripts = [root / file for file in _files(root) if file.name.endswith(_LIBRISPEECH)]
    if not transcripts:
        raise CorpusError(root, f"there is no transcript X{_LIBRISPEECH}")
    utterances, problems = [], []
    for transcript in transcripts:
        recordings = _by_stem(transcript.parent)
        listed = set()
        for number, line in _lines(transcript):
            name, _, text = line.strip().partition(" ")
            listed.add(name)
            if name not in recordings:
                problems.append(Problem(name, f"no recording beside {transcript.name}"))
            elif not text.strip():
                problems.append(Problem(name, f"empty transcript (line {number} of {transcript.name})"))
            else:
                speaker = name.partition("-")[0]
                utterances.append(Utterance(name, recordings[name], " ".join(text.split()), speaker))
        problems += [
            Problem(name, f"no transcript in {transcript.name}") for name in recordings if name not in listed
        ]
    return _unique(root, utterances, problems)


def _kss_transcripts(root: Path) -> list[Path]:
    """List the versions of the transcript of KSS in a folder, the last one last."""
    return sorted(root.glob(f"{_KSS}*.txt"))


def _lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a list that hold something, numbered from 1."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(
            path, f"the file is not UTF-8 text ({error.reason} at byte {error.start})"
        ) from error
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        raise CorpusError(path, "the file is empty")
    return lines


def _unique(root: Path, utterances: Iterable[Utterance], problems: list[Problem]) -> Corpus:
    """Make a corpus in which a name that was listed again counts once."""
    found: dict[str, Utterance] = {}
    for utterance in utterances:
        if utterance.id in found:
            problems.append(Problem(utterance.id, "listed again"))
        found.setdefault(utterance.id, utterance)
    return _corpus(root, found.values(), problems)


def read_recording(path: str | os.PathLike[str], text: str | None = None) -> Corpus:
    """Read one recording and what is said in it.

    Parameters
    ----------
    path : str or path-like
        A recording X.wav, or with another suffix of :func:`read_folder`. Its folder's name is the speaker.
    text : str, optional
        What is said; else the transcript beside it, X.txt or X.lab.

    Returns
    -------
    Corpus
        Of one utterance, X, or of one problem. Nothing else in the folder is looked at.

    Raises
    ------
    CorpusError
        If there is no such file, or its suffix is not that of a recording.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "hello.wav").touch()
    ...     read_recording(Path(folder, "hello.wav"), "Hello.").utterances[0].text
    'Hello.'
    """
    audio = Path(path)
    if not audio.is_file():
        raise CorpusError(audio, "not a file" if audio.exists() else "there is no such file")
    if audio.suffix.lower() not in _AUDIO_SUFFIXES:
        raise CorpusError(audio, f"a recording must end in {', '.join(_AUDIO_SUFFIXES)}")
    audio = audio.resolve()
    if text is None:
        names = [audio.with_suffix(suffix) for suffix in _TEXT_SUFFIXES]
        source, text, reason = _transcript(
            audio.parent, [Path(item.name) for item in names if item.is_file()]
        )
        if source is None and not reason:
            reason = f"no transcript ({audio.stem}.txt or {audio.stem}.lab) beside {audio.name}"
    else:
        text = " ".join(text.split())
        reason = "" if text else "empty transcript"
    if reason:
        return Corpus(audio.parent, (), (Problem(audio.stem, reason),))
    return Corpus(audio.parent, (Utterance(audio.stem, audio, text, audio.parent.name),))


def _folder(path: str | os.PathLike[str]) -> Path:
    """Reject what is no folder, and give it a name even if it was called "."."""
    root = Path(path)
    if not root.is_dir():
        raise CorpusError(root, "not a folder" if root.exists() else "there is no such folder")
    return root.resolve()


def _files(root: Path) -> list[Path]:
    """List all files below a folder, relative to it, sorted; without hidden ones, links followed once."""
    found: list[Path] = []
    visited: set[Path] = set()
    for folder, names, files in os.walk(root, followlinks=True):
        here = Path(folder)
        real = here.resolve()
        if real in visited:
            names.clear()
            continue
        visited.add(real)
        names[:] = sorted(name for name in names if not name.startswith(".") and name != "__MACOSX")
        relative = here.relative_to(root)
        found += [relative / file for file in files if not file.startswith(".")]
    return sorted(found)


def _by_stem(folder: Path) -> dict[str, Path]:
    """Find the recordings right in a folder, the preferred format of each."""
    files = [
        f for f in folder.iterdir() if f.suffix.lower() in _AUDIO_SUFFIXES and not f.name.startswith(".")
    ]
    files.sort(key=lambda f: _AUDIO_SUFFIXES.index(f.suffix.lower()), reverse=True)
    return {file.stem: file for file in files}


def _read_pairs(root: Path, files: Iterable[Path], *, per_speaker: bool) -> Corpus:
    """Pair recordings and transcripts that differ in their suffix only."""
    audio: dict[Path, list[Path]] = {}
    texts: dict[Path, list[Path]] = {}
    for file in files:
        suffix = file.suffix.lower()
        if suffix in _AUDIO_SUFFIXES:
            audio.setdefault(file.with_suffix(""), []).append(file)
        elif suffix in _TEXT_SUFFIXES and file.stem.lower() not in _NOTES:
            texts.setdefault(file.with_suffix(""), []).append(file)
    count = Counter(stem.name for stem in audio.keys() | texts.keys())
    utterances, problems = [], []
    for stem in sorted(audio.keys() | texts.keys()):
        name = stem.name if count[stem.name] == 1 else stem.as_posix()
        speaker = stem.parts[0] if per_speaker and len(stem.parts) > 1 else root.name
        recording = _preferred(audio.get(stem, []), _AUDIO_SUFFIXES)
        source, text, reason = _transcript(root, texts.get(stem, []))
        if recording is None and source is None:
            continue  # a .lab of times on its own
        if recording is None:
            reason = f"no recording beside {source}"
        elif source is None and not reason:
            reason = f"no transcript ({stem.name}.txt or {stem.name}.lab) beside {recording.name}"
        if reason or recording is None:
            problems.append(Problem(name, reason))
        else:
            utterances.append(Utterance(name, root / recording, text, speaker))
    if not utterances and not problems:
        raise CorpusError(root, "the folder holds neither recordings nor transcripts")
    return _corpus(root, utterances, problems)


def _transcript(root: Path, files: Iterable[Path]) -> tuple[str | None, str, str]:
    """Name of the transcript's file (None: there is none), the text in one line, and what is wrong."""
    file = _preferred(files, _TEXT_SUFFIXES)
    if file is None:
        return None, "", ""
    try:
        text = (root / file).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        return file.name, "", f"the transcript {file.name} is not UTF-8 text"
    except OSError as error:
        return file.name, "", f"the transcript {file.name} cannot be read: {error.strerror}"
    if file.suffix.lower() == ".lab" and _holds_times(text):
        return None, "", f"no transcript: {file.name} holds times"
    line = " ".join(text.split())
    return file.name, line, "" if line else f"empty transcript ({file.name})"


def _holds_times(text: str) -> bool:
    """Tell HTK and festvox label files from transcripts."""
    *header, body = re.split(r"^#\s*$", text, maxsplit=1, flags=re.MULTILINE)
    lines = [line for line in body.splitlines() if line.strip()]
    matches = [_TIMED_LINE.fullmatch(line) for line in lines]
    times = [float(match[1]) for match in matches if match]
    # A transcript may be the one line "10 20 30"; labels on one line start at 0.
    enough = bool(header) or len(lines) > 1 or times[:1] == [0.0]
    return bool(lines) and len(times) == len(lines) and times == sorted(times) and enough


def _preferred(files: Iterable[Path], suffixes: tuple[str, ...]) -> Path | None:
    """File with the earliest suffix."""
    return min(files, key=lambda file: (suffixes.index(file.suffix.lower()), file.name), default=None)


def _corpus(root: Path, utterances: Iterable[Utterance], problems: Iterable[Problem]) -> Corpus:
    """Sort by id; a name that is no text, which nothing could be written under, is a problem."""
    usable, unusable = [], [Problem(_readable(name), _readable(reason)) for name, reason in problems]
    for item in utterances:
        if (name := _readable(item.id)) == item.id:
            usable.append(item)
        else:
            unusable.append(Problem(name, "the name of the file is not UTF-8; rename it"))
    return Corpus(root, tuple(sorted(usable, key=lambda item: item.id)), tuple(sorted(unusable)))


def _readable(text: str) -> str:
    """Write bytes of a file's name that are no text as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
