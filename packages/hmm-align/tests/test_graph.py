"""The HMM of a transcript: which paths it has, and how probable they are."""

from itertools import pairwise, product
from math import comb

import numpy as np
import pytest
import torch

from hmm_align._acoustic import AcousticModel
from hmm_align._graph import (
    SILENCE,
    Loose,
    UnitModel,
    UtteranceGraph,
    build_chain,
    build_graph,
    build_loop,
    min_frames,
)
from hmm_core import Sparse, log_likelihood, viterbi
from hmm_core.testing import Arguments, enumerate_paths

STAYS = np.log([[0.5]])
# Units of one state that stay or leave alike: u of them share T frames in comb(T-1, u-1) ways.
ONE_STATE = {
    label: UnitModel(np.array([number]), np.zeros(1), STAYS, np.log([0.5]))
    for number, label in enumerate([SILENCE, "a", "b"])
}
PHONES = AcousticModel(["a", "b"], 2, states_per_phone=3, silence_states=5, variance_floor=0.01).units


def total(graph: UtteranceGraph, frames: int) -> float:
    """Return the probability of all paths of a length, path by path."""
    initial, arcs, final, densities = graph.graph
    silent = torch.zeros(1, frames, 64)
    paths = enumerate_paths(Arguments(initial, arcs, silent, None, final, densities))
    return float(paths.log_likelihood.exp())


def dense(graph: UtteranceGraph) -> torch.Tensor:
    assert isinstance(graph.graph.log_transition, Sparse)
    return graph.graph.log_transition.to_dense().double()


@pytest.mark.parametrize("frames", [1, 2, 3, 5])
def test_a_transcript_has_every_choice_of_silences_and_pronunciations_once(frames: int) -> None:
    graph = build_graph([[("a",)], [("a", "b"), ("b",)]], ONE_STATE, silence_prob=0.3)
    expected = 0.0
    for *silences, second in product([0, 1], [0, 1], [0, 1], [1, 2]):
        units = 1 + second + sum(silences)
        chosen = float(np.prod([0.3 if silence else 0.7 for silence in silences])) * 0.5
        expected += chosen * comb(frames - 1, units - 1) * 0.5**frames
    assert total(graph, frames) == pytest.approx(expected, rel=1e-5)  # arcs are in float32


@pytest.mark.parametrize("models", [ONE_STATE, PHONES], ids=["one state", "phones"])
def test_the_paths_of_all_lengths_have_probability_one(models: dict[str, UnitModel]) -> None:
    graph = build_graph([[("a", "b"), ("b",), ("a",)], [("b",)]], models, silence_prob=0.2)
    arcs = dense(graph).exp()
    visits = torch.linalg.solve((torch.eye(len(arcs)) - arcs).T, graph.graph.log_initial.double().exp())
    assert graph.graph.log_final is not None
    # Three exponentials of float32 logarithms.
    assert float(visits @ graph.graph.log_final.double().exp()) == pytest.approx(1.0, abs=1e-5)


def test_a_chain_has_its_units_in_order_and_no_choice() -> None:
    graph = build_chain(["a", "", "a"], ONE_STATE)
    assert [unit.label for unit in graph.units] == ["a", "", "a"]
    for frames in (2, 3, 5):
        assert total(graph, frames) == pytest.approx(comb(frames - 1, 2) * 0.5**frames, rel=1e-5)


def test_states_are_in_the_order_of_time_and_know_their_units() -> None:
    graph = build_graph([[("a", "b"), ("b",)], [("a",)]], PHONES, silence_prob=0.2)
    back_in_time = torch.from_numpy(graph.unit_of_state[:, None] > graph.unit_of_state)
    assert (dense(graph)[back_in_time] == -torch.inf).all()
    labels = [(unit.label, unit.word, unit.variant) for unit in graph.units]
    assert labels == [
        ("", -1, 0), ("a", 0, 0), ("b", 0, 0), ("b", 0, 1), ("", -1, 0), ("a", 1, 0), ("", -1, 0),
    ]  # fmt: skip
    for number, unit in enumerate(graph.units):
        (states,) = (graph.unit_of_state == number).nonzero()
        assert states[0] == unit.first_state
        assert graph.density_of_state[states].tolist() == PHONES[unit.label].densities.tolist()


def test_the_fewest_frames_are_those_of_the_shortest_path() -> None:
    words: list[list[tuple[str, ...]]] = [[("a", "b"), ("b",)], [("a",)]]
    graph = build_graph(words, PHONES, silence_prob=0.2)
    initial, arcs, final, densities = graph.graph
    shortest = min_frames(words, PHONES)
    assert shortest == 6
    for frames, possible in ((shortest, True), (shortest - 1, False)):
        score = log_likelihood(
            initial, arcs, torch.zeros(1, frames, 11), log_final=final, emission_index=densities
        )
        assert bool(torch.isfinite(score)) is possible
    assert PHONES[SILENCE].min_frames == 3  # its inner states can be left at once


def test_a_silence_is_found_where_the_sound_says_so_and_nowhere_else() -> None:
    graph = build_graph([[("a",)], [("b",)]], ONE_STATE, silence_prob=0.2)
    initial, arcs, final, densities = graph.graph
    heard = torch.tensor([1, 1, 0, 0, 2, 2])  # densities: a, a, silence, silence, b, b
    log_emission = torch.full((1, 6, 3), -20.0).scatter(2, heard[None, :, None], 0.0)
    path = viterbi(initial, arcs, log_emission, log_final=final, emission_index=densities)
    labels = [graph.units[number].label for number in graph.unit_of_state[path.states[0].numpy()]]
    assert labels == ["a", "a", "", "", "b", "b"]


# Other speech of one frame or more, from density 3.
LOOSE = Loose(UnitModel(np.array([3]), np.zeros(1), np.zeros((1, 1)), np.zeros(1)), -5.0, -6.0)


def best(transcript: str, heard: str, loose: Loose | None = LOOSE) -> tuple[list[tuple[str, int]], float]:
    """Return the units of the best path of a frame a letter, "." for silence, "?" for other speech."""
    graph = build_graph([[(letter,)] for letter in transcript], ONE_STATE, 0.2, loose=loose)
    initial, arcs, final, densities = graph.graph
    numbers = torch.tensor([".ab?".index(letter) for letter in heard])
    log_emission = torch.full((1, len(heard), 4), -20.0).scatter(2, numbers[None, :, None], 0.0)
    path = viterbi(initial, arcs, log_emission, log_final=final, emission_index=densities)
    visited = graph.unit_of_state[path.states[0].numpy()]
    units = [graph.units[visited[0]], *(graph.units[two] for one, two in pairwise(visited) if one != two)]
    return [(unit.label, unit.word) for unit in units], float(path.log_score[0])


def test_a_transcript_that_fits_is_aligned_loosely_as_it_is_strictly() -> None:
    for heard in ("ab", "aabb", ".aa..b.", "a.b"):
        assert best("ab", heard) == best("ab", heard, loose=None)


@pytest.mark.parametrize(
    ("transcript", "heard", "expected"),
    [
        ("ab", "aa??b", [("a", 0), ("<unk>", -1), ("b", 1)]),
        ("ab", ".?.aab", [("", -1), ("<unk>", -1), ("", -1), ("a", 0), ("b", 1)]),
        ("ab", "ab.??", [("a", 0), ("b", 1), ("", -1), ("<unk>", -1)]),
        ("aba", "aa", [("a", 0), ("a", 2)]),
        ("ab", "bb", [("b", 1)]),
        ("ab", "aa.", [("a", 0), ("", -1)]),
        ("ba", "a??a", [("<unk>", -1), ("a", 1)]),
    ],
)
def test_other_speech_and_words_that_are_not_said_are_found(
    transcript: str, heard: str, expected: list[tuple[str, int]]
) -> None:
    found, _ = best(transcript, heard)
    if transcript == "ba":  # its first frame fits nothing
        assert found[-1] == expected[-1]
    else:
        assert found == expected


def test_each_stretch_and_each_word_has_its_price() -> None:
    _, plain = best("ab", "ab")
    # A stay in other speech is free; the words before and after it are left and entered as without it.
    assert best("ab", "a???b")[1] == pytest.approx(plain - 5.0 + np.log(0.8), abs=1e-5)
    assert best("abab", "ab")[1] == pytest.approx(plain - 12.0, abs=1e-5)


def test_only_so_many_words_are_left_out_in_one_leap() -> None:
    labels, _ = best("abbba", "aa")
    assert labels == [("a", 0), ("a", 4)]
    # Four are left out in two leaps, with a pause between them.
    labels, _ = best("abbbba", "a.a")
    assert labels == [("a", 0), ("", -1), ("a", 5)]
    cheap, _ = best("abbbba", "aa")
    assert len(cheap) == 2
    assert (cheap[0][1], cheap[-1][1]) != (0, 5)


def test_a_loop_knows_any_order() -> None:
    loop = build_loop(ONE_STATE)
    # Each frame is a stay or a step to any other unit; the last is left.
    assert total(loop, 3) == pytest.approx(0.5, rel=1e-5)
    heard = torch.tensor([1, 1, 2, 0, 1])
    log_emission = torch.full((1, 5, 3), -20.0).scatter(2, heard[None, :, None], 0.0)
    initial, arcs, final, densities = loop.graph
    path = viterbi(initial, arcs, log_emission, log_final=final, emission_index=densities)
    assert loop.density_of_state[path.states[0]].tolist() == heard.tolist()


def test_a_unit_that_leads_nowhere_is_refused() -> None:
    closed = UnitModel(np.array([0]), np.zeros(1), STAYS, np.array([-np.inf]))
    with pytest.raises(ValueError, match="must lead from log_initial to log_final"):
        closed.min_frames  # noqa: B018 - the access is the test


class _Named(dict[str, UnitModel]):
    """Units of one state, whatever their name."""

    def __missing__(self, name: str) -> UnitModel:
        self[name] = ONE_STATE["a"]
        return self[name]


def _in_context(phone: str, left: str, right: str, position: str) -> str:
    return f"{phone} {left or '#'} {right or '#'} {position}"


CONTEXT_WORDS: list[list[tuple[str, ...]]] = [
    [("a",), ("b", "a")],
    [("b",), ("a",)],
    [("a", "b", "a"), ("b", "b")],
]


@pytest.mark.parametrize("frames", [3, 4, 6])
def test_phones_in_context_have_the_paths_that_phones_alone_have(frames: int) -> None:
    alone = build_graph(CONTEXT_WORDS, _Named(), silence_prob=0.3)
    graph = build_graph(CONTEXT_WORDS, _Named(), silence_prob=0.3, in_context=_in_context)
    assert len(graph.units) > len(alone.units)
    silent = torch.zeros(1, frames, 2)
    one, two = (
        log_likelihood(
            item.graph.log_initial,
            item.graph.log_transition,
            silent,
            log_final=item.graph.log_final,
            emission_index=item.graph.emission_index,
        )
        for item in (alone, graph)
    )
    torch.testing.assert_close(one, two, rtol=1e-5, atol=0.0)  # arcs are in float32


def test_neighbours_on_a_path_are_what_a_phone_in_context_expects() -> None:
    graph = build_graph(CONTEXT_WORDS, _Named(), silence_prob=0.3, in_context=_in_context)
    contexts = [unit.name.split() if unit.label else ["#", "", "", ""] for unit in graph.units]
    seen = set()
    for source, target in (dense(graph) > -torch.inf).nonzero().tolist():
        one, two = contexts[source], contexts[target]
        if source == target:
            continue
        assert one[2] in {"", two[0]}  # the silence expects nothing
        assert two[1] in {"", one[0]}
        assert not one[3] or (one[3] in "es") == (graph.units[source].word != graph.units[target].word)
        seen.add(one[3] + two[3])
    assert seen == {"b", "e", "s", "be", "bi", "ie", "es", "sb", "ss"}
    initial, final = graph.graph.log_initial, graph.graph.log_final
    assert final is not None
    for number, context in enumerate(contexts):
        word = graph.units[number].word
        if context[0] != "#":
            assert (initial[number] > -torch.inf) == (word == 0 and context[1] == "#")
            assert (final[number] > -torch.inf) == (word == 2 and context[2] == "#" and context[3] in "es")


def test_contexts_that_make_the_same_unit_share_a_copy() -> None:
    graph = build_graph(CONTEXT_WORDS, _Named(), silence_prob=0.3, in_context=lambda phone, *_: phone)
    alone = build_graph(CONTEXT_WORDS, _Named(), silence_prob=0.3)
    assert [unit.label for unit in graph.units] == [unit.label for unit in alone.units]
    assert torch.equal(dense(graph), dense(alone))
