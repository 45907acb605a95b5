"""A page to look at alignments: what is suspicious first, with sound, in one file that needs nothing else."""

import base64
import html
import io
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import soundfile

from hmm_speech import AudioError, load_audio

from ._diagnose import FAR, MISFIT, Diagnosis, diagnose
from ._result import AlignedInterval, Alignment
from .export import replacing

_LOGGER = logging.getLogger("hmm_align")
# Hz: of the sound in the page, and of what it draws.
_RATE = 16000
# Samples encoded at once; the encoder keeps its memory in proportion.
_BLOCK = 1 << 16


def write_report(
    alignments: Iterable[Alignment],
    path: str | Path,
    recordings: Mapping[str, str | Path] | None = None,
    *,
    title: str = "Alignments",
) -> list[Diagnosis]:
    """Write one page of HTML on which alignments can be seen and heard, the worst first.

    Parameters
    ----------
    alignments : iterable of Alignment
        Of one corpus and one model; failures among them.
    path : str or Path
        The file to write or replace, atomically.
    recordings : mapping of str to path, optional
        Where the recording of each id is. An utterance without one, or whose recording cannot be read, is in
        the page without sound and picture.
    title : str
        At its top.

    Returns
    -------
    list of Diagnosis
        What `diagnose` says of each, in order.

    Raises
    ------
    ValueError
        If an id occurs twice.

    Notes
    -----
    The page holds everything itself and asks no server. Sound is kept as mono Ogg Vorbis of 16 kHz, about
    8 kB of page for a second; the browser draws waveform and spectrogram from it when an utterance is opened.
    Memory while writing is that of the alignments and one recording.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> tier = (AlignedInterval(0.0, 0.3, "a", 0.9),)
    >>> with TemporaryDirectory() as folder:
    ...     _ = write_report([Alignment("clip", 0.3, tier, tier)], Path(folder, "report.html"))
    ...     Path(folder, "report.html").read_text()[:15]
    '<!doctype html>'
    """
    alignments = list(alignments)
    names = [item.id for item in alignments]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"ids must be unique; {twice!r} occurs twice")
    diagnoses = diagnose(alignments)
    recordings = {} if recordings is None else recordings
    data = {
        "sample_rate": _RATE,
        "far": FAR,
        "misfit": MISFIT,
        "utterances": _utterances(alignments, diagnoses),
    }
    page = {
        "title": html.escape(title),
        "style": _asset("page.css"),
        "script": _asset("page.js"),
        "data": _embedded(json.dumps(data, ensure_ascii=False, allow_nan=False)),
    }
    head, tail = _asset("page.html").split("{{recordings}}")
    with replacing(Path(path)) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(_filled(head, page))
        file.writelines(_sounds(names, recordings))
        file.write(_filled(tail, page))
    return diagnoses


def _utterances(alignments: list[Alignment], diagnoses: list[Diagnosis]) -> list[dict[str, Any]]:
    """Describe alignments for the page."""
    worst_first = sorted(range(len(alignments)), key=lambda number: diagnoses[number].rank)
    rank = {number: place for place, number in enumerate(worst_first)}
    return [
        {
            "number": number,
            "rank": rank[number],
            "id": item.id,
            "ok": item.ok,
            "duration": round(item.duration, 6),
            "words": [_short(word) for word in item.words],
            "phones": [_short(phone) for phone in item.phones],
            "signs": found.signs,
            "coverage": round(found.coverage, 4),
            "confidence": round(found.confidence, 4),
            "lowest_confidence": round(found.lowest_confidence, 4),
            "log_likelihood_per_frame": round(item.log_likelihood_per_frame, 4) if item.ok else 0.0,
            "likelihood_z": round(found.likelihood_z, 3),
            "duration_z": [round(z, 2) for z in found.duration_z],
        }
        for number, (item, found) in enumerate(zip(alignments, diagnoses, strict=True))
    ]


def _short(interval: AlignedInterval) -> tuple[float, float, str, float, float, float]:
    """Give an interval as the page wants it."""
    start, end, label, confidence, log_ratio, uncertainty = interval
    return (
        round(start, 6),
        round(end, 6),
        label,
        round(confidence, 4),
        round(log_ratio, 3),
        round(uncertainty, 4),
    )


def _sounds(names: Iterable[str], recordings: Mapping[str, str | Path]) -> Iterator[str]:
    """Encode each recording as an element that the page finds by number."""
    for number, name in enumerate(names):
        if name not in recordings:
            continue
        try:
            sound = base64.b64encode(_vorbis(recordings[name])).decode()
        except AudioError as error:
            _LOGGER.warning("%s is in the report without sound: %s", name, error)
            continue
        yield f'<script type="application/octet-stream" id="sound-{number}">{sound}</script>\n'


def _vorbis(path: str | Path) -> bytes:
    """Encode a recording as Ogg Vorbis, which keeps the place of every sample."""
    samples = load_audio(path, _RATE).waveform.numpy()
    encoded = io.BytesIO()
    with soundfile.SoundFile(encoded, "w", _RATE, 1, format="OGG", subtype="VORBIS") as file:
        for start in range(0, len(samples), _BLOCK):
            file.write(samples[start : start + _BLOCK].clip(-1.0, 1.0))
    return encoded.getvalue()


def _asset(name: str) -> str:
    """Read a part of the page that lies in this package."""
    return files("hmm_align").joinpath("page", name).read_text(encoding="utf-8")


def _filled(template: str, page: Mapping[str, str]) -> str:
    """Put texts in the places that are named for them."""
    return re.sub(r"\{\{(\w+)\}\}", lambda place: page[place[1]], template)


def _embedded(text: str) -> str:
    """Write JSON so that nothing in it can end the element around it."""
    return text.replace("<", "\\u003c")
