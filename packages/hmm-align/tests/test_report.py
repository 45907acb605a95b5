"""The page on which alignments are looked at: what is in it. How it behaves is tested in a browser."""

import base64
import io
import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from hmm_align import AlignedInterval, Alignment, write_report


def clip(name: str, label: str = "a", confidence: float = 0.9) -> Alignment:
    tier = (
        AlignedInterval(0.0, 0.4, "", 1.0, end_uncertainty=0.012),
        AlignedInterval(0.4, 1.0, label, confidence),
    )
    return Alignment(name, 1.0, tier, tier, log_likelihood_per_frame=-40.0)


def data(page: Path) -> dict[str, Any]:
    match = re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    assert match
    found: dict[str, Any] = json.loads(match[1])
    return found


def test_the_page_holds_every_utterance_and_its_rank(tmp_path: Path) -> None:
    alignments = [clip("good"), clip("doubtful", confidence=0.1), Alignment.failure("bad", "no path")]
    found = write_report(alignments, tmp_path / "report.html", title="A & B")
    assert [item.suspicious for item in found] == [False, True, True]
    entries = data(tmp_path / "report.html")["utterances"]
    assert [(entry["id"], entry["rank"]) for entry in entries] == [("good", 2), ("doubtful", 1), ("bad", 0)]
    assert entries[0]["words"] == [[0.0, 0.4, "", 1.0, 0.0, 0.012], [0.4, 1.0, "a", 0.9, 0.0, 0.0]]
    assert entries[2]["signs"] == ["no path"]
    assert "<title>A &amp; B</title>" in (tmp_path / "report.html").read_text()


def test_the_page_asks_no_server(tmp_path: Path) -> None:
    write_report([clip("good")], tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert not re.search(r"(src|href)=|https?:|@import|url\(", text)
    assert "{{" not in text


def test_a_label_cannot_end_the_element_it_is_written_in(tmp_path: Path) -> None:
    evil = "</script><script>document.title='evil'</script>".replace(" ", "")
    write_report([clip("good", evil)], tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text().count("</script>") == 2
    assert data(tmp_path / "report.html")["utterances"][0]["words"][1][2] == evil


def test_sound_keeps_the_place_of_every_sample(tmp_path: Path) -> None:
    click = np.zeros(44_100)
    click[22_050:22_150] = 0.5
    soundfile.write(tmp_path / "clip.wav", click, 44_100)
    write_report([clip("other"), clip("clip")], tmp_path / "report.html", {"clip": tmp_path / "clip.wav"})
    match = re.search(r'id="sound-1">(\S+)</script>', (tmp_path / "report.html").read_text())
    assert match
    assert 'id="sound-0"' not in (tmp_path / "report.html").read_text()
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(match[1])))
    assert (len(samples), rate) == (16_000, 16_000)
    loud = np.flatnonzero(np.abs(samples) > 0.25)
    assert 7_980 < loud.min() < loud.max() < 8_060


def test_a_recording_that_cannot_be_read_is_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "clip.wav").write_bytes(b"no sound")
    with caplog.at_level(logging.WARNING, "hmm_align"):
        write_report([clip("clip")], tmp_path / "report.html", {"clip": tmp_path / "clip.wav"})
    assert "clip is in the report without sound" in caplog.text
    assert "sound-0" not in (tmp_path / "report.html").read_text().split("<script>")[0]


def test_ids_must_differ_and_nothing_is_written_then(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ids must be unique; 'clip' occurs twice"):
        write_report([clip("clip"), clip("clip")], tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []
