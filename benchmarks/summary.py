"""Write the tables of results from results/*.csv into their pages; with --check, fail where they differ."""

import argparse
import csv
import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hmm_bench import read_results

HERE = Path(__file__).parent
RESULTS = HERE / "results"
README = HERE / "README.md"
GPU = HERE.parent / "packages" / "hmm-core" / "GPU.md"
ALIGN = HERE.parent / "packages" / "hmm-align" / "README.md"
END = "<!-- end -->\n"
CASES = ("dense", "chains", "gradient", "semi_markov", "warping", "ctc", "ctc_decode", "em", "online")

# What the aligner's sets are called in README.md here, then in the two tables of hmm-align's.
LONG_NAMES = {
    "ljspeech": "ljspeech, 20 min",
    "synth/en_hts": "synth/en_hts, 2.7 min",
    "synth/en_espeak": "synth/en_espeak, 30 clips",
    **{f"synth/{name}_espeak": f"synth/{name}_espeak, 20 clips" for name in ("ko", "ja", "cmn")},
}
DESCRIBED = {
    "synth/en_hts": "40 sentences of an HMM voice, 2.7 min, the labels that drove it",
    "synth/ko_espeak": "20 sentences of Korean by eSpeak NG, exact times",
    "synth/ja_espeak": "20 of Japanese",
    "synth/cmn_espeak": "20 of Mandarin",
    "ljspeech": "186 clips of LJSpeech, 20 min, against the Montreal Forced Aligner",
}
COLUMNS = {
    "synth/en_hts": "HMM voice",
    "synth/en_espeak": "eSpeak NG: English",
    "synth/ko_espeak": "Korean",
    "synth/ja_espeak": "Japanese",
    "synth/cmn_espeak": "Mandarin",
    "ljspeech": "LJSpeech",
    "ljspeech > synth/en_hts": "its model on the HMM voice",
    "ljspeech > cmu_time_awb": "on a Scottish reader",
}
OPTIONS = {
    "default": "as it is",
    "change_weight=2": "`change_weight=2`",
    "monophone": '`acoustic="monophone"`',
}

if TYPE_CHECKING:
    from _suite import Case

Record = dict[str, str]
Rows = dict[str, list[Record]]


def fastest(rows: list[Record]) -> Record | None:
    """Return the fastest row of a peer that has a time."""
    timed = [row for row in rows if row["median_ms"] and not row["implementation"].startswith("hmm-core")]
    return min(timed, key=lambda row: float(row["median_ms"]), default=None)


def ours(rows: list[Record]) -> float | None:
    """Return hmm-core's milliseconds."""
    return next(
        (float(r["median_ms"]) for r in rows if r["implementation"] == "hmm-core" and r["median_ms"]), None
    )


def times(value: float) -> str:
    """Write a ratio with two or three digits."""
    return f"{value:.0f}x" if value >= 20 else f"{value:.1f}x"


def alone(case: "Case") -> str:
    """Return what two threads gain where no peer waits on the second core; "-" if not measured."""
    path = RESULTS / "threads.csv"
    if not path.exists():
        return "-"
    rows: Rows = {}
    for record in read_results(path)[1]:
        rows.setdefault(record["instance"], []).append(record)
    one, two = (ours(rows.get(str(replace(case.instance, threads=threads)), [])) for threads in (1, 2))
    return f"{one / two:.2f}x" if one and two else "-"


def line(case: "Case", rows: Rows) -> str:
    """Return one line of the table of ratios."""
    one, two = (rows.get(str(replace(case.instance, threads=threads)), []) for threads in (1, 2))
    peer, mine, mine_two = fastest(one), ours(one), ours(two)
    cells = [case.label]
    cells.append(f"{peer['implementation']} {peer['version'].split()[0]}" if peer else "-")
    cells.append(f"{float(peer['median_ms']):.4g}" if peer else "-")
    cells.append(f"{mine:.4g}" if mine else "-")
    if case.at_most:
        frames = case.instance.frames
        per_frame = f"{1e3 * mine / frames:.2f} µs a frame" if mine else "-"
        cells += [per_frame, f"at most {case.at_most:g} µs"]
        met = mine is not None and 1e3 * mine / frames <= case.at_most
    else:
        ratio = float(peer["median_ms"]) / mine if peer and mine else 0.0
        cells += [times(ratio) if ratio else "-", f"{case.at_least:g}x"]
        met = ratio >= case.at_least
    cells.append("yes" if met else "no" if mine else "-")
    cells.append(alone(case))
    peer_two = fastest(two)
    cells.append(times(float(peer_two["median_ms"]) / mine_two) if peer_two and mine_two else "-")
    return "| " + " | ".join(cells) + " |"


def ratios() -> list[str]:
    """Return the table of ratios, one line for each case, and what could not be measured."""
    heads = ["workload", "fastest correct peer", "its ms", "hmm-core ms", "ratio", "asked", "reached"]
    heads += ["two threads over one", "ratio, two threads"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    missing: dict[str, list[str]] = {}
    cards = []
    for name in CASES:
        path = RESULTS / f"{name}.csv"
        if not path.exists():
            continue
        card, records = read_results(path)
        cards.append(card)
        rows: Rows = {}
        for record in records:
            rows.setdefault(record["instance"], []).append(record)
        cases: list[Case] = importlib.import_module(name).CASES
        for case in cases:
            for record in rows.get(str(case.instance), []):
                if record["note"]:
                    who = f"{record['implementation']} {record['version']}".strip()
                    missing.setdefault(f"- {who}: {record['note']}", []).append(case.label)
        lines += [line(case, rows) for case in cases if case.at_least or case.at_most]
    if not cards:
        return ["No results yet."]
    where = sorted(
        {f"{card['date']}, {card['cpu']}, {card['cores']} cores, torch {card['torch']}" for card in cards}
    )
    loads = [float(card["load"]) for card in cards]
    busy = f"load at the end of a case {min(loads):.1f} to {max(loads):.1f}"
    head = f"float32, medians; {'; '.join(where)}; {busy}."
    unmeasured = (
        ["", "Without a time:", "", *(f"{why} ({', '.join(labels)})" for why, labels in missing.items())]
        if missing
        else []
    )
    return [head, "", *lines, *unmeasured]


def overhead() -> list[str]:
    """Return the table of the call overhead."""
    path = RESULTS / "overhead.csv"
    if not path.exists():
        return []
    lines = ["", "A call with nothing to compute (one sequence of two frames, two states), one thread:", ""]
    lines += ["| computation | by | µs |", "|---|---|---|"]
    for record in read_results(path)[1]:
        if record["median_ms"]:
            op = record["instance"].split()[0].removeprefix("op=")
            lines.append(f"| {op} | {record['implementation']} | {1e3 * float(record['median_ms']):.3g} |")
    return lines


def scaling() -> list[str]:
    """Return the table of exponents."""
    path = RESULTS / "scaling.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(row for row in file if not row.startswith("#")))
    found = {(row["structure"], row["op"], row["letter"]): row["exponent"] for row in records}
    columns = list(dict.fromkeys((structure, letter) for structure, _, letter in found))
    lines = [
        "",
        "Time grows with the power of each size that the table says (`results/scaling.svg`, one thread):",
        "",
    ]
    lines.append(
        "| operation | " + " | ".join(f"{structure} {letter}" for structure, letter in columns) + " |"
    )
    lines.append("|---" * (len(columns) + 1) + "|")
    for op in dict.fromkeys(op for _, op, _ in found):
        cells = [found.get((structure, op, letter), "-") for structure, letter in columns]
        lines.append(f"| {op} | " + " | ".join(cells) + " |")
    return lines


def large() -> list[str]:
    """Return the table of what two threads gain on one large model."""
    path = RESULTS / "large.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(row for row in file if not row.startswith("#")))
    gains = {(row["model"], row["op"]): row["gain"] for row in records}
    ops = list(dict.fromkeys(op for _, op in gains))
    lines = ["", "One sequence, whose states two threads share: how many times faster than one thread:", ""]
    lines += ["| model | " + " | ".join(ops) + " |", "|---" * (len(ops) + 1) + "|"]
    for model in dict.fromkeys(model for model, _ in gains):
        lines.append(f"| {model} | " + " | ".join(f"{gains[model, op]}x" for op in ops) + " |")
    return lines


def gpu() -> list[str]:
    """Return the table of what the CUDA kernels reach."""
    path = RESULTS / "gpu.csv"
    if not path.exists():
        return ["None yet."]
    card, records = read_results(path)
    where = f"{card['gpu']}, driver {card['driver']}, torch {card['torch']}, triton {card['triton']}"
    lines = [f"{where}, {card['date']}. Medians, in milliseconds.", ""]
    lines += [
        "| workload | CUDA kernels | asked | others on this machine | one kernel | copy of the emissions |"
    ]
    lines += ["|---" * 6 + "|"]
    cases: Rows = {}
    for record in records:
        cases.setdefault(record["label"], []).append(record)
    for label, rows in cases.items():
        found = {row["implementation"]: row["median_ms"] or row["note"] for row in rows}
        mine = found.pop("hmm-core cuda")
        floors = [found.pop(f"floor: {name}") for name in ("one kernel", "copy of the emissions")]
        asked = next((f"{row['asked_ms']}: {row['reached']}" for row in rows if row["asked_ms"]), "-")
        others = ", ".join(f"{name} {value}" for name, value in found.items())
        lines.append(f"| {label} | {mine} | {asked} | {others} | {floors[0]} | {floors[1]} |")
    return lines


def percents(row: Record, *limits: int) -> str:
    """Write the shares of boundaries within so many milliseconds."""
    return " / ".join(f"{100 * float(row[f'within_{limit}ms']):.1f}" for limit in limits)


def aligners() -> list[str]:
    """Return the table of all aligners on all sets."""
    shares = "within 10 / 20 / 25 / 50 / 100 ms, %"
    heads = ["set", "aligner", "times", "mean, ms", "bias, ms", shares, "aligned", "train", "align"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    last = ""
    for row in read_results(RESULTS / "align_speech.csv")[1]:
        name = LONG_NAMES.get(row["set"], row["set"].replace(" > ", " → ")) if row["set"] != last else ""
        last = row["set"]
        cells = [name, row["aligner"], row["times"]]
        if row["times"] == "failed":
            lines.append(f"| {' | '.join(cells)} | | | | | | |")
            continue
        found = ["", "", ""]
        if row["boundaries"] != "0":
            found = [row["mean_ms"], f"{float(row['bias_ms']):+.1f}", percents(row, 10, 20, 25, 50, 100)]
        seconds = [f"{float(row['train_seconds']):.0f} s", f"{float(row['align_seconds']):.1f} s"]
        lines.append(f"| {' | '.join([*cells, *found, row['aligned'].replace('/', ' of '), *seconds])} |")
    return lines


def adapted() -> list[str]:
    """Return the table of models before and after they were adapted."""
    lines = [
        "| set | model | adapted | mean, ms | bias, ms | within 10 / 20 / 50 / 100 ms, % | adapting |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in read_results(RESULTS / "align_adapt.csv")[1]:
        after = row["adapted"] == "yes"
        cells = ["", ""] if after else [row["set"], row["model"]]
        cells += [
            row["adapted"],
            row["mean_ms"],
            f"{float(row['bias_ms']):+.1f}",
            percents(row, 10, 20, 50, 100),
        ]
        lines.append(f"| {' | '.join(cells)} | {row['seconds'] + ' s' if after else ''} |")
    return lines


def e_step() -> list[str]:
    """Return the table of what an E-step takes."""
    names = ["frames", "states", "components", "features"]
    lines = [f"| {' | '.join([*names, 'MB'])} |", "|---|---|---|---|---|"]
    for row in read_results(RESULTS / "out_of_core.csv")[1]:
        if row["measured"] == "E-step":
            cells = [f"{int(row[name]):,}" for name in names]
            lines.append(f"| {' | '.join([*cells, row['grown_MB']])} |")
    return lines


def our_aligner() -> tuple[list[str], list[str]]:
    """Return what the aligner reaches on each set, and what its options gain."""
    rows = {
        (row["set"], row["aligner"].removeprefix("hmm-align").split(maxsplit=1)[-1]): row
        for row in read_results(RESULTS / "align_speech.csv")[1]
        if row["aligner"].startswith("hmm-align") and row["times"] == "as they are"
    }
    reached = [
        "| recordings | mean error | within 20 ms | within 50 ms | train and align |",
        "|---|---|---|---|---|",
    ]
    for name, described in DESCRIBED.items():
        row = rows[name, "default"]
        shares = " | ".join(f"{percents(row, limit)} %" for limit in (20, 50))
        seconds = float(row["train_seconds"]) + float(row["align_seconds"])
        reached.append(f"| {described} | {row['mean_ms']} ms | {shares} | {seconds:.0f} s |")
    options = [f"| `AlignerConfig` | {' | '.join(COLUMNS.values())} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for option, described in OPTIONS.items():
        shares = " | ".join(percents(rows[name, option], 10, 20) for name in COLUMNS)
        options.append(f"| {described} | {shares} |")
    return reached, options


def filled(page: Path, sections: dict[str, list[str]]) -> str:
    """Return a page with its generated parts replaced."""
    text = page.read_text(encoding="utf-8")
    for name, lines in sections.items():
        before, begin, rest = text.partition(f"<!-- from {name}: python benchmarks/summary.py -->\n")
        _, end, after = rest.partition(END)
        if not end:
            raise ValueError(f"{page.name} must have a part for {name}")
        text = "\n".join([before + begin, *lines, "", end + after])
    return text


def main() -> int:
    """Write the tables, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    sys.path.insert(0, str(HERE / "cases"))
    tables = [*ratios(), *large(), *overhead(), *scaling()]
    reached, options = our_aligner()
    sections = {
        README: {
            "results": tables,
            "out_of_core.csv": e_step(),
            "align_speech.csv": aligners(),
            "align_adapt.csv": adapted(),
        },
        ALIGN: {"align_speech.csv": reached, "options of align_speech.csv": options},
        GPU: {"results": gpu()},
    }
    pages = {page: filled(page, parts) for page, parts in sections.items()}
    if check:
        return int(any(page.read_text(encoding="utf-8") != text for page, text in pages.items()))
    for page, text in pages.items():
        page.write_text(text, encoding="utf-8")
    print("\n".join([*tables, *gpu()]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
