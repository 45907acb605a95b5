"""Where the compiled kernels of durations and warping wait before they read what another thread wrote."""

import re

import pytest
from test_compilation import LAUNCHES, compiled


def assembly(name: str) -> list[str]:
    """Lines of the assembly for a GPU."""
    lines: list[str] = compiled(LAUNCHES[name], 90).asm["ptx"].splitlines()
    return lines


def reached(lines: list[str], start: int) -> set[int]:
    """Lines that may run after a line without a barrier in between."""
    labels = {found[1]: i for i, line in enumerate(lines) if (found := re.match(r"(\$L__BB\w+):", line))}
    seen: set[int] = set()
    waiting = [start + 1]
    while waiting:
        i = waiting.pop()
        if i in seen or i >= len(lines) or re.search(r"\b(bar\.sync|ret);?\b", lines[i]):
            continue
        seen.add(i)
        branch = re.search(r"\bbra(\.uni)?\s+(\$L__BB\w+);", lines[i])
        if branch:
            waiting.append(labels[branch[2]])
        if not branch or lines[i].strip().startswith("@"):
            waiting.append(i + 1)
    return seen


def places(lines: list[str], pattern: str) -> set[int]:
    """Lines that match."""
    return {i for i, line in enumerate(lines) if re.search(pattern, line)}


@pytest.mark.parametrize("name", [n for n in LAUNCHES if n.startswith("segments_viterbi")])
def test_the_way_back_through_segments_waits_for_the_way_there(name: str) -> None:
    lines = assembly(name)
    bits = 8 * LAUNCHES[name].arguments["origin"].itemsize  # type: ignore[attr-defined]  # a Tensor
    written = places(lines, rf"\bst\.global\S*\.b{bits}\b")
    read = places(lines, rf"\bld\.global\S*\.b{bits}\b")
    assert written
    assert read
    if bits == 16:  # nothing else has so few
        for line in written:
            assert not reached(lines, line) & read


@pytest.mark.parametrize("name", [n for n in LAUNCHES if n.startswith("warp_finish") and "choice" not in n])
def test_a_path_is_turned_around_when_all_of_it_is_there(name: str) -> None:
    lines = assembly(name)
    # The cells that are written one by one have 32 bits, the path has 64.
    path = min(i for i in places(lines, r"\bst\.global\S*\.b64") if "bar.sync" in "".join(lines[:i]))
    turned = {i for i in places(lines, r"\bld\.global\S*\.b32\b") if i < path} - {
        i for i in places(lines, r"\bld\.global\S*\.b32\b") if "bar.sync" not in "".join(lines[:i])
    }
    assert turned
    for line in places(lines, r"\bst\.global\S*\.b32\b"):
        assert not reached(lines, line) & turned


@pytest.mark.parametrize("name", [n for n in LAUNCHES if n.startswith(("warp_forward", "warp_backward"))])
def test_strips_hand_over_what_they_wrote(name: str) -> None:
    lines = assembly(name)
    memory = [line for line in lines if re.search(r"\b(ld|st|atom)\.global|\bbar\.sync", line)]
    given = [i for i, line in enumerate(memory) if "release.exch" in line]
    taken = [i for i, line in enumerate(memory) if "ld.global.gpu.acquire" in line]
    assert given
    assert taken
    # All lanes have written before one of them says so, and none reads before that one was told.
    assert all("bar.sync" in memory[i - 1] for i in given)
    assert all("bar.sync" in memory[i + 1] for i in taken)
    # What was handed over is read past the cache of the reader, which may be old.
    assert any("ld.global.cg" in line for line in memory)
