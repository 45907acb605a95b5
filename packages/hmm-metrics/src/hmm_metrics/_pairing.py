"""Which phone of one tier is which phone of the other."""

from collections.abc import Sequence

import numpy as np

from hmm_metrics._labels import MANNER

# Tenths, in integers, so that equal costs are equal.
_GAP = 10
_SAME_MANNER = 10
_OTHER = 16


def pair_labels(reference: Sequence[str], hypothesis: Sequence[str]) -> list[tuple[int, int]]:
    """Pair indices by minimum edit distance; from the end, ties pair, then skip a reference label."""
    identity = {label: number for number, label in enumerate({*reference, *hypothesis})}
    ref, hyp = (
        np.array([identity[label] for label in labels], dtype=np.int64) for labels in (reference, hypothesis)
    )
    # A label without a manner is in a class of its own, on each side, and so equals no other class.
    ref_manner = np.array([MANNER.get(label, -1) for label in reference], dtype=np.int64)
    hyp_manner = np.array([MANNER.get(label, -2) for label in hypothesis], dtype=np.int64)

    ramp = _GAP * np.arange(len(hyp) + 1, dtype=np.int64)
    cost = np.empty((len(ref) + 1, len(hyp) + 1), dtype=np.int64)
    cost[0] = ramp
    for i in range(len(ref)):
        substitution = np.where(hyp_manner == ref_manner[i], _SAME_MANNER, _OTHER)
        substitution[hyp == ref[i]] = 0
        row = cost[i] + _GAP
        row[1:] = np.minimum(row[1:], cost[i, :-1] + substitution)
        # Insertions run along the row: cost[j] = min over k <= j of row[k] + (j - k) gaps.
        cost[i + 1] = np.minimum.accumulate(row - ramp) + ramp

    pairs = []
    i, j = len(ref), len(hyp)
    while i and j:
        same_manner = ref_manner[i - 1] == hyp_manner[j - 1]
        step = 0 if ref[i - 1] == hyp[j - 1] else _SAME_MANNER if same_manner else _OTHER
        if cost[i, j] == cost[i - 1, j - 1] + step:
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif cost[i, j] == cost[i - 1, j] + _GAP:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]
