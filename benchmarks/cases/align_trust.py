"""Whether the aligner notices wrong transcripts, and whether long recordings get the times of short ones.

Speech: `ljspeech` in the folder named by HMM_SPEECH_DATA, 186 clips of one reader; unknown words are guessed
by hmm-speech[g2p].

Damage: in every second clip one thing is wrong: a word too many (drawn from the corpus), one missing, another
instead, two neighbours swapped. The aligner is trained on these transcripts, damage and all, and aligns them,
strictly and loosely. `hmm_align.diagnose` names words and silences that do not fit the sound; or, aligned
loosely, speech that no word explains and words that are not heard. A place that is named is right if it is
one of the damaged words or next to one (precision); a damage is found if one such is named (recall). The
thresholds were chosen on one half of the clips, eight in turn, so that less than one in twenty undamaged
clips is named; figures are of the other.

Signs: how many clips of that half carry a sign of any kind if all transcripts are right.

Parts: three clips in a row are joined to one recording, whose transcript lacks the text of one of them. The
ends of the words that are there are compared with those of the clips by themselves.

Length: the clips that are aligned piece by piece are joined to one recording with one transcript. Its word
boundaries are compared with those of the pieces; with `--hour`, also with all of it three times over.
"""

import argparse
import csv
import datetime as dt
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch

from hmm_align import Alignment, CorpusAligner, diagnose
from hmm_bench import machine_card
from hmm_speech import Corpus, EnglishG2P, Lexicon, Utterance, load_audio, normalize_text, read_corpus

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("HMM_SPEECH_DATA", ROOT.parent / "shared" / "data"))
RESULTS = ROOT / "benchmarks" / "results" / "align_trust.csv"
KINDS = ("inserted", "missing", "replaced", "swapped")
RATE = 16_000
MISFIT = -3.0  # nats per frame, the default of `diagnose`
UNEXPLAINED = "<unk>"


def damage(words: list[str], kind: str, vocabulary: Sequence[str], chance: np.random.Generator) -> set[int]:
    """Damage a transcript in place; return the places where it is wrong."""
    place = int(chance.integers(1, len(words) - 2))
    stranger = str(chance.choice(vocabulary))
    if kind == "inserted":
        words.insert(place, stranger)
        return {place}
    if kind == "missing":
        del words[place]
        return {place - 1, place}
    if kind == "replaced":
        words[place] = stranger
        return {place}
    words[place : place + 2] = reversed(words[place : place + 2])
    return {place, place + 1}


def damaged(corpus: Corpus) -> tuple[Corpus, dict[str, tuple[str, set[int]]]]:
    """Return a corpus in which every second transcript is wrong, and where."""
    chance = np.random.default_rng(0)
    texts = {item.id: list(normalize_text(item.text)) for item in corpus.utterances}
    vocabulary = sorted({word for words in texts.values() for word in words})
    wrong: dict[str, tuple[str, set[int]]] = {}
    utterances: list[Utterance] = []
    for number, item in enumerate(corpus.utterances):
        words = texts[item.id]
        if number % 2 and len(words) > 4:
            before = list(words)
            kind = KINDS[number // 2 % len(KINDS)]
            places = damage(words, kind, vocabulary, chance)
            if words != before:
                wrong[item.id] = kind, places
        utterances.append(replace(item, text=" ".join(words)))
    return replace(corpus, utterances=tuple(utterances)), wrong


def is_reported(number: int) -> bool:
    """Tell whether a clip is of the half on which no threshold was chosen."""
    return number // 8 % 2 == 1


def named_places(alignment: Alignment) -> list[set[int]]:
    """Return the words that each named interval is or stands between, and each word that is not heard."""
    places = [{word.place} for word in alignment.skipped]
    skipped = {word.place for word in alignment.skipped}
    word = -1
    for interval in alignment.words:
        if interval.label not in {"", UNEXPLAINED}:
            word += 1
            while word in skipped:
                word += 1
        if interval.label == UNEXPLAINED:
            places.append({word, word + 1})
        elif interval.log_ratio < MISFIT and not alignment.loose:
            places.append({word} if interval.label else {word, word + 1})
    return places


def detection(
    name: str, alignments: Iterable[Alignment], wrong: dict[str, tuple[str, set[int]]]
) -> list[tuple[str, str]]:
    """Measure precision, and recall for each kind of damage."""
    right = named = false_alarms = sound = 0
    found: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for item in alignments:
        places = named_places(item)
        kind, damaged_words = wrong.get(item.id, ("", set()))
        near = {place + step for place in damaged_words for step in (-1, 0, 1)}
        hits = sum(bool(place & near) for place in places)
        named += len(places)
        right += hits
        if kind:
            total[kind] += 1
            found[kind] += hits > 0
        else:
            sound += 1
            false_alarms += bool(places)
    rows = [(f"{name}: precision", f"{right / max(named, 1):.3f} of {named} places named")]
    rows += [(f"{name}: recall, {kind}", f"{found[kind]}/{total[kind]}") for kind in KINDS]
    rows.append((f"{name}: recall, all", f"{found.total() / max(total.total(), 1):.3f} of {total.total()}"))
    rows.append((f"{name}: undamaged clips with a place named", f"{false_alarms}/{sound}"))
    return rows


def damage_found(corpus: Corpus, lexicon: Lexicon) -> list[tuple[str, str]]:
    """Train on damaged transcripts, align them strictly and loosely, and measure what is noticed."""
    wrong_corpus, wrong = damaged(corpus)
    aligner = CorpusAligner.train(wrong_corpus, lexicon=lexicon)
    rows = []
    for name, loose in (("strict", False), ("loose", True)):
        aligned = aligner.align(wrong_corpus, loose=loose)
        rows += detection(name, [item for number, item in enumerate(aligned) if is_reported(number)], wrong)
    return rows


def clean_signs(aligner: CorpusAligner, corpus: Corpus) -> list[tuple[str, str]]:
    """Count the clips that look suspicious although their transcripts are right."""
    rows = []
    for name, loose in (("strict", False), ("loose", True)):
        found = diagnose(aligner.align(corpus, loose=loose))
        reported = [item.suspicious for number, item in enumerate(found) if is_reported(number)]
        rows.append((f"{name}: clean clips with any sign", f"{sum(reported)}/{len(reported)}"))
    return rows


def parts(aligner: CorpusAligner, corpus: Corpus) -> list[tuple[str, str]]:
    """Join clips three by three, leave out the text of one of them, and compare the ends of words."""
    alone = {item.id: item for item in aligner.align(corpus) if item.ok}
    usable = [item for item in corpus.utterances if item.id in alone]
    errors: list[float] = []
    skipped = failed = 0
    unexplained = left = 0.0
    for number in range(len(usable) // 3):
        three = usable[3 * number : 3 * number + 3]
        out = number % 3
        with tempfile.TemporaryDirectory() as folder:
            texts = [item.text if place != out else "" for place, item in enumerate(three)]
            whole, starts = joined(three, Path(folder), " ".join(texts))
            found = aligner.align(whole, loose=True)
        if not found.ok:
            failed += 1
            continue
        skipped += len(found.skipped)
        places = {word.place for word in found.skipped}
        expected = [
            (word.start + start, word.end + start)
            for place, (item, start) in enumerate(zip(three, starts, strict=True))
            for word in alone[item.id].words
            if word.label and place != out
        ]
        heard = [word for word in found.words if word.label not in {"", UNEXPLAINED}]
        kept = [times for place, times in enumerate(expected) if place not in places]
        errors += np.abs(np.subtract([(word.start, word.end) for word in heard], kept)).ravel().tolist()
        unexplained += sum(word.end - word.start for word in found.words if word.label == UNEXPLAINED)
        left += sum(word.end - word.start for word in alone[three[out].id].words if word.label)
    within = float((np.asarray(errors) < 0.05).mean())
    return [
        ("parts: word boundaries within 50 ms", f"{within:.4f} of {len(errors)}"),
        ("parts: words not heard", f"{skipped}; {failed} recordings failed"),
        ("parts: unexplained speech, of that left out", f"{unexplained / left:.3f} of {left:.0f} s"),
    ]


def joined(utterances: Sequence[Utterance], folder: Path, text: str) -> tuple[Utterance, list[float]]:
    """Join recordings; return the long one with a transcript, and where each part begins in seconds."""
    starts, position = [], 0
    with soundfile.SoundFile(folder / "long.flac", "w", RATE, 1) as file:
        for item in utterances:
            samples = load_audio(item.audio, RATE).waveform.numpy()
            starts.append(position / RATE)
            position += len(samples)
            file.write(samples)
    (folder / "long.txt").write_text(text, encoding="utf-8")
    return read_corpus(folder).utterances[0], starts


def long_form(aligner: CorpusAligner, corpus: Corpus, repeat: int) -> list[tuple[str, str]]:
    """Align in pieces and in one piece, and compare the ends of words."""
    pieces = [item for item in aligner.align(corpus) if item.ok]
    by_id = {item.id: item for item in corpus.utterances}
    with tempfile.TemporaryDirectory() as folder:
        utterances = [by_id[item.id] for item in pieces] * repeat
        whole, starts = joined(utterances, Path(folder), " ".join(item.text for item in utterances))
        began = time.perf_counter()
        found = aligner.align(whole)
        seconds = time.perf_counter() - began
    if not found.ok:
        return [("one piece", found.reason)]
    together = [word for word in found.words if word.label]
    apart = [
        (word.start + start, word.end + start)
        for start, item in zip(starts, pieces * repeat, strict=True)
        for word in item.words
        if word.label
    ]
    errors = np.abs([(word.start, word.end) for word in together] - np.asarray(apart))
    minutes = found.duration / 60
    name = f"{minutes:.1f} minutes in one piece"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        (f"{name}: word boundaries within 50 ms", f"{(errors < 0.05).mean():.4f} of {errors.size}"),
        (f"{name}: seconds", f"{seconds:.0f}"),
        (f"{name}: peak memory of the process, MB", f"{peak:.0f}"),
    ]


def main() -> int:
    """Train, align, compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="twenty-four clips, and nothing written")
    parser.add_argument("--hour", action="store_true", help="an hour in one piece as well")
    options = parser.parse_args()
    if not DATA.is_dir():
        print("no speech: HMM_SPEECH_DATA must name the folder that holds ljspeech")
        return 2
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    corpus = read_corpus(DATA / "ljspeech")
    if options.quick:
        corpus = replace(corpus, utterances=corpus.utterances[:24])
    lexicon = Lexicon.english(fallback=EnglishG2P())
    rows = damage_found(corpus, lexicon)
    aligner = CorpusAligner.train(corpus, lexicon=lexicon)
    rows += clean_signs(aligner, corpus)
    rows += parts(aligner, corpus)
    for repeat in (1, 3) if options.hour else (1,):
        rows += long_form(aligner, corpus, repeat)
    for name, value in rows:
        print(f"{name}: {value}", flush=True)
    if options.quick:
        return 0
    card = machine_card(dt.datetime.now(tz=dt.UTC).date())
    with RESULTS.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"# {key}: {value}\n" for key, value in card.items())
        csv.writer(file).writerows([("figure", "value"), *rows])
    return 0


if __name__ == "__main__":
    sys.exit(main())
