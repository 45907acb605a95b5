import itertools
from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from hmm_metrics._labels import MANNER
from hmm_metrics._pairing import pair_labels

labels = st.lists(st.sampled_from(["aa", "ih", "s", "z", "t", "n", "l", "?", "!"]), max_size=7)


def cost_of(left: str, right: str) -> int:
    if left == right:
        return 0
    return 10 if left in MANNER and right in MANNER and MANNER[left] == MANNER[right] else 16


def total(reference: list[str], hypothesis: list[str], pairs: list[tuple[int, int]]) -> int:
    gaps = len(reference) + len(hypothesis) - 2 * len(pairs)
    return 10 * gaps + sum(cost_of(reference[i], hypothesis[j]) for i, j in pairs)


@given(labels, labels)
def test_the_pairing_is_in_order_and_has_the_least_cost(reference: list[str], hypothesis: list[str]) -> None:
    @cache
    def least(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return 10 * (i + j)
        pair = least(i - 1, j - 1) + cost_of(reference[i - 1], hypothesis[j - 1])
        return min(pair, least(i - 1, j) + 10, least(i, j - 1) + 10)

    pairs = pair_labels(reference, hypothesis)
    assert all(a < c and b < d for (a, b), (c, d) in itertools.pairwise(pairs))
    assert total(reference, hypothesis, pairs) == least(len(reference), len(hypothesis))


@given(labels)
def test_equal_sequences_pair_one_to_one(reference: list[str]) -> None:
    assert pair_labels(reference, reference) == [(i, i) for i in range(len(reference))]


def test_a_reduced_vowel_is_paired_with_its_neighbour_left_over() -> None:
    # "ih" pairs with "ah", a vowel, although the extra "t" stands in the same place.
    assert pair_labels(["s", "ih", "n"], ["s", "t", "ah", "n"]) == [(0, 0), (1, 2), (2, 3)]


def test_of_two_equal_partners_the_last_is_taken() -> None:
    assert pair_labels(["t"], ["t", "t"]) == [(0, 1)]
    assert pair_labels(["t", "t"], ["t"]) == [(1, 0)]


def test_unknown_labels_share_no_manner_class() -> None:
    # Two substitutions across classes cost 3.2; one match and two gaps cost 2.
    assert pair_labels(["?", "+"], ["+", "!"]) == [(1, 0)]
