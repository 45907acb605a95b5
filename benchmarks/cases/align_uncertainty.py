"""Whether boundaries lie within the uncertainties that the corpus aligner gives them.

Each set with exact times (`synth/en_espeak`, `synth/en_hts`, `synth/ko_espeak`, `synth/ja_espeak` and
`synth/cmn_espeak`, as in align_speech) is aligned by models trained on itself: tied states of triphones,
monophones, a network. A map from the spread of a boundary's posterior to its uncertainty is fitted on
`synth/en_espeak`, and printed as the package keeps it (hmm_align/_calibration.py). Then the shares of
boundaries within their intervals of 50, 80 and 95 % are counted twice: `package`, with what the package says,
and `other`, with a map fitted now on another set, `synth/en_hts` for `synth/en_espeak` and `synth/en_espeak`
for the rest. Only the row `package` of `synth/en_espeak` is about sentences that its map was fitted on.

Writes `results/align_uncertainty.csv`, and `docs/explanation/align_uncertainty.svg`: the shares of all
probabilities on the sets that the package's map has not seen. With --quick the two sets of English are
aligned by tied states, and nothing is written.
"""

import csv
import datetime as dt
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from align_speech import DATA, ROOT, SETS, as_english, reference_of

from hmm_align import AlignerConfig, Alignment, CorpusAligner, Reliability, plot_reliability, reliability
from hmm_align._calibration import FACTORS, LEVELS, MIXTURES, NETWORK, TIED, UncertaintyMap, fit_map
from hmm_bench import machine_card
from hmm_speech import EnglishG2P, Lexicon, PhoneSet, read_corpus

RESULTS = ROOT / "benchmarks" / "results" / "align_uncertainty.csv"
PICTURE = ROOT / "docs" / "explanation" / "align_uncertainty.svg"
EXACT = [name for name in SETS if name.startswith("synth/")]
FITTED, OTHER = "synth/en_espeak", "synth/en_hts"
SHOWN = (0.5, 0.8, 0.95)
Acoustic = Literal["triphone", "monophone", "neural"]
COLUMNS = ["set", "acoustic", "map", "boundaries", "median_uncertainty_ms"]
COLUMNS += [f"within_{round(100 * level)}" for level in SHOWN]


def compared(name: str, acoustic: Acoustic, lexicon: Lexicon) -> Reliability:
    """Train on a set, align it, and compare with its times, its phones as those of English."""
    corpus = read_corpus(DATA / name)
    aligner = CorpusAligner.train(corpus, lexicon=lexicon, config=AlignerConfig(acoustic=acoustic))
    found = [as_phones_of_english(item, SETS[name]) for item in aligner.align(corpus) if item.ok]
    with tempfile.TemporaryDirectory() as folder:
        for item in found:
            phones = [phone._asdict() for phone in reference_of(name, item.id).phones]
            Path(folder, f"{item.id}.json").write_text(json.dumps({"words": [], "phones": phones}))
        return reliability(found, folder)


def as_phones_of_english(item: Alignment, language: str) -> Alignment:
    """Name phones of another language by those of English."""
    if language == "en":
        return item
    known = PhoneSet.of(language)
    phones = tuple(phone._replace(label=as_english(known.get(phone.label, ""))) for phone in item.phones)
    return Alignment(item.id, item.duration, item.words, phones)


def shares(
    found: Reliability, ours: UncertaintyMap, used: UncertaintyMap, factors: Sequence[float]
) -> list[str]:
    """Return columns of a row: what lies within the intervals of a map, of uncertainties that ours gave."""
    uncertainty = used(ours.inverse(found.uncertainty))
    width = dict(zip(LEVELS, factors, strict=True))
    within = [np.mean(np.abs(found.error) <= width[level] * uncertainty) for level in SHOWN]
    return [
        str(len(found.error)),
        f"{1000 * np.median(uncertainty):.1f}",
        *(f"{share:.3f}" for share in within),
    ]


def main() -> int:
    """Train, align, fit, count, print, write."""
    if not DATA.is_dir():
        print("no speech: HMM_SPEECH_DATA must name the folder that holds", *EXACT)
        return 2
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    quick = "--quick" in sys.argv
    guess = EnglishG2P()
    lexicons = {
        name: Lexicon.of(SETS[name], fallback=guess if SETS[name] == "en" else None) for name in EXACT
    }
    rows: list[list[str]] = []
    drawn: dict[str, Reliability] = {}
    kinds: list[tuple[Acoustic, UncertaintyMap]] = [("triphone", TIED)]
    if not quick:
        kinds += [("monophone", MIXTURES), ("neural", NETWORK)]
    for acoustic, ours in kinds:
        sets = (FITTED, OTHER) if quick else EXACT
        found = {name: compared(name, acoustic, lexicons[name]) for name in sets}
        fitted = {
            name: fit_map(ours.inverse(found[name].uncertainty), found[name].error)
            for name in (FITTED, OTHER)
        }
        used, factors = fitted[FITTED]
        print(f"{acoustic}: {used}, factors {tuple(round(factor, 2) for factor in factors)}")
        for name in sets:
            rows.append([name, acoustic, "package", *shares(found[name], ours, ours, FACTORS)])
            another, widths = fitted[OTHER if name == FITTED else FITTED]
            rows.append([name, acoustic, "other", *shares(found[name], ours, another, widths)])
        if acoustic == "triphone":
            drawn = {name: item for name, item in found.items() if name != FITTED}
    for row in rows:
        print(*(f"{key}={value}" for key, value in zip(COLUMNS, row, strict=True)))
    if quick:
        return 0
    plot_reliability(drawn, PICTURE)
    card = machine_card(dt.datetime.now(tz=dt.UTC).date())
    with RESULTS.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"# {key}: {value}\n" for key, value in card.items())
        csv.writer(file).writerows([COLUMNS, *rows])
    return 0


if __name__ == "__main__":
    sys.exit(main())
