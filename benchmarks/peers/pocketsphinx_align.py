# /// script
# requires-python = ">=3.11"
# dependencies = ["pocketsphinx==5.1.1"]
# ///
"""Align clips with pocketsphinx and the model in its wheel; runs in an environment of its own.

Arguments: a folder of X.wav (16 kHz, 16 bits) and X.txt (words of words.dict, which lies there too), a folder
for X.json with words and phones, and so on in pairs. Words are found first, with their pauses and
pronunciations, then phones inside them: what ``pocketsphinx align`` with ``-phone_align yes`` does. Prints
the seconds of each pair.
"""

import json
import sys
import time
import wave
from pathlib import Path

from pocketsphinx import Decoder

FRAME = 0.01  # seconds


def align(decoder: Decoder, samples: bytes, text: str) -> dict[str, list[dict[str, object]]]:
    """Return the words and phones of a clip."""
    decoder.set_align_text(text)
    decode(decoder, samples)
    if decoder.hyp() is None:
        raise RuntimeError("no path")
    decoder.set_alignment()
    decode(decoder, samples)
    alignment = decoder.get_alignment()
    if alignment is None:
        raise RuntimeError("no path through the phones")
    found: dict[str, list[dict[str, object]]] = {"words": [], "phones": []}
    for word in alignment:
        found["words"].append(interval(word))
        found["phones"] += [interval(phone) for phone in word]
    return found


def decode(decoder: Decoder, samples: bytes) -> None:
    """Search a clip as a whole."""
    decoder.start_utt()
    decoder.process_raw(samples, full_utt=True)
    decoder.end_utt()


def interval(entry: object) -> dict[str, object]:
    """Return times and label, without the number of a pronunciation."""
    start, length, name = entry.start, entry.duration, entry.name
    return {"start": FRAME * start, "end": FRAME * (start + length), "label": name.partition("(")[0]}


def main() -> None:
    """Align every clip; those without a path have no file."""
    folders = [Path(argument) for argument in sys.argv[1:]]
    seconds = []
    for clips, out in zip(folders[::2], folders[1::2], strict=True):
        out.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        decoder = Decoder(lm=None, dict=str(clips / "words.dict"), loglevel="FATAL", samprate=16_000)
        for path in sorted(clips.glob("*.wav")):
            with wave.open(str(path), "rb") as file:
                samples = file.readframes(file.getnframes())
            try:
                found = align(decoder, samples, path.with_suffix(".txt").read_text(encoding="utf-8"))
            except RuntimeError as error:
                print(f"{path.stem}: {error}", file=sys.stderr)
                continue
            (out / f"{path.stem}.json").write_text(json.dumps(found), encoding="utf-8")
        seconds.append(time.perf_counter() - began)
    print(json.dumps({"train": 0.0, "align": seconds}))


if __name__ == "__main__":
    main()
