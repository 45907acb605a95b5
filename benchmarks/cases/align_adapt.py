"""What a model gains on voices that it has not been trained on when it is adapted to them.

Models trained on `ljspeech` (one reader, 20 minutes) align `synth/en_hts`, `cmu_time_awb`, `arctic_hts` and
`librivox`, each as it is and adapted to the recordings of the set by `CorpusAligner.adapt`; scored as in
align_speech, times as they are. `seconds` are those of adapting. Writes `results/align_adapt.csv`; with
--quick a monophone model meets the smallest set, and nothing is written.
"""

import csv
import datetime as dt
import os
import sys
import time
from collections.abc import Iterator

import torch
from align_speech import DATA, HEARD, ROOT, UNHEARD, VARIANTS, WITHIN, corpus_of, report, score, times_of

from hmm_align import AlignerConfig, CorpusAligner
from hmm_bench import machine_card
from hmm_speech import EnglishG2P, Lexicon

RESULTS = ROOT / "benchmarks" / "results" / "align_adapt.csv"
MODELS = ("default", "change_weight=2", "monophone")
COLUMNS = ["set", "model", "adapted", "boundaries", "mean_ms", "median_ms", "bias_ms"]
COLUMNS += [*(f"within_{round(1000 * tolerance)}ms" for tolerance in WITHIN), "seconds"]


def rows(name: str, aligner: CorpusAligner, sets: tuple[str, ...]) -> Iterator[list[str]]:
    """Yield the rows of a model: each set by the model as it is, and adapted."""
    for item in sets:
        corpus = corpus_of(item)
        began = time.perf_counter()
        adapted = aligner.adapt(corpus)
        seconds = time.perf_counter() - began
        for kind, used in (("no", aligner), ("yes", adapted)):
            found = score(item, times_of(used.align(corpus)), "en")
            row = [item, name, kind, str(found.num_boundaries)]
            row += [f"{1000 * value:.1f}" for value in (found.mean, found.median, found.bias)]
            row += [f"{found.within[tolerance]:.3f}" for tolerance in WITHIN]
            yield [*row, f"{seconds:.1f}" if used is adapted else ""]


def main() -> int:
    """Train, adapt, align, print, write."""
    if not DATA.is_dir():
        print("no speech: HMM_SPEECH_DATA must name the folder that holds", HEARD, *UNHEARD)
        return 2
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    quick = "--quick" in sys.argv
    lexicon = Lexicon.of("en", fallback=EnglishG2P())
    found: list[list[str]] = []
    for name in MODELS[-1:] if quick else MODELS:
        config = AlignerConfig(acoustic="monophone", iterations=8) if quick else VARIANTS[name]
        aligner = CorpusAligner.train(corpus_of(HEARD), lexicon=lexicon, config=config)
        found += report(COLUMNS, rows(name, aligner, UNHEARD[2:3] if quick else tuple(UNHEARD)))
    if quick:
        return 0
    card = machine_card(dt.datetime.now(tz=dt.UTC).date())
    with RESULTS.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"# {key}: {value}\n" for key, value in card.items())
        csv.writer(file).writerows([COLUMNS, *found])
    return 0


if __name__ == "__main__":
    sys.exit(main())
