"""Acoustic models of CMU Sphinx as files: what they say is read, and what is wrong with one is named."""

import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hmm_align.sphinx._files import read_definition, read_options, read_sphinx
from hmm_models import ModelFileError

TEXT = """0.3
3 n_base
2 n_tri
20 n_state_map
8 n_tied_state
6 n_tied_ci_state
2 n_tied_tmat
#
# base lft rt p attrib tmat ... state ids ...
+N+ - - - filler 0 0 1 N
A - - - n/a 1 2 3 N
SIL - - - filler 0 4 5 N
A SIL A b n/a 1 6 3 N
A A SIL e n/a 1 2 7 N
"""


def binary_definition(order: str = "<") -> bytes:
    """The model definition of TEXT in the other form, with a search tree that says nothing."""
    names = b"+N+\0A\0SIL\0"
    rows = [
        (0, 0, 1, 0, 0, 0),
        (1, 1, 0, 0, 0, 0),
        (2, 0, 1, 0, 0, 0),
        (3, 1, 1, 1, 2, 1),
        (4, 1, 2, 1, 1, 2),
    ]
    sequences = [0, 1, 2, 3, 4, 5, 6, 3, 2, 7]
    return b"".join([
        b"BMDF" if order == "<" else b"FDMB",
        struct.pack(f"{order}2i", 1, 8), b"what it\0",
        struct.pack(f"{order}10i", 3, 5, 2, 6, 8, 2, 5, 3, 1, 2),
        names, b"\0" * (-len(names) % 4),
        struct.pack(f"{order}2hi", 0, 0, -1),
        *(struct.pack(f"{order}2i4B", *row) for row in rows),
        struct.pack(f"{order}i{len(sequences)}H", len(sequences), *sequences),
    ])  # fmt: skip


@pytest.mark.parametrize("content", [TEXT.encode(), binary_definition(), binary_definition(">")])
def test_both_forms_of_a_definition_say_the_same(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mdef").write_bytes(content)
    found = read_definition(tmp_path / "mdef")
    assert found.phones == ("+N+", "A", "SIL")
    assert found.is_filler == (True, False, True)
    assert found.states.tolist() == [[0, 1], [2, 3], [4, 5], [6, 3], [2, 7]]
    assert found.transition.tolist() == [0, 1, 0, 1, 1]
    assert found.triphone_codes.tolist() == [found.code(1, 2, 1, 1), found.code(1, 1, 2, 2)]
    assert found.triphone_rows.tolist() == [3, 4]
    assert (found.num_senones, found.num_ci_senones) == (8, 6)
    assert found.base_of_senone().tolist() == [0, 0, 1, 1, 2, 2, 1, 1]


@pytest.mark.parametrize("content", [TEXT.encode(), binary_definition()])
def test_a_definition_that_is_cut_short_is_never_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mdef"
    for size in range(len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(ModelFileError, match="mdef"):
            read_definition(path)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("0.3", "0.4", "must be a model definition"),
        ("8 n_tied_state\n", "", "the count n_tied_state must be given"),
        ("2 n_tri", "3 n_tri", "n_base + n_tri must be the number of lines; got 3 + 3 of 5"),
        ("2 7 N", "2 7 8 N", "every line must name"),
        ("A SIL A b", "A SIL B b", "a line has something else than a phone or number ('B')"),
        ("2 7 N", "2 8 N", "states of phones must lie in 0..7; got 8"),
        ("n/a 1 2 7", "n/a 2 2 7", "tmat of phones must lie in 0..1; got 2"),
        ("SIL - -", "PAU - -", "a line has something else than a phone or number ('SIL')"),
        ("+N+ - -", "A - -", "every phone must have a name of its own"),
    ],
)
def test_a_wrong_text_is_refused_with_the_reason(tmp_path: Path, old: str, new: str, reason: str) -> None:
    (tmp_path / "mdef").write_text(TEXT.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ModelFileError, match=re.escape(reason)):
        read_definition(tmp_path / "mdef")


@pytest.mark.parametrize(
    ("position", "value", "reason"),
    [
        (4, 2, "the version must lie in 0..1; got 2"),
        (20, 1 << 30, "n_ciphone must lie in 1..255"),
        (24, -1, "n_phone must lie in 3..16777216; got -1"),
        (44, 1 << 24, "the length of sseq must lie in"),
        (52, 1 << 20, "cd_tree must have 8388608 bytes"),
        (80, 9, "ssid of phones must lie in 0..4; got 9"),
    ],
)
def test_a_wrong_number_is_refused_with_its_field(
    tmp_path: Path, position: int, value: int, reason: str
) -> None:
    content = bytearray(binary_definition())
    content[position : position + 4] = struct.pack("<i", value)
    (tmp_path / "mdef").write_bytes(content)
    with pytest.raises(ModelFileError, match=re.escape(reason)):
        read_definition(tmp_path / "mdef")


def test_what_follows_a_definition_or_names_no_phone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mdef"
    path.write_bytes(binary_definition() + b"\0")
    with pytest.raises(ModelFileError, match="1 bytes follow"):
        read_definition(path)
    path.write_bytes(binary_definition().replace(b"+N+", b"+\x80+"))
    with pytest.raises(ModelFileError, match="printable ASCII"):
        read_definition(path)
    path.write_bytes(binary_definition().replace(b"SIL", b"PAU"))
    with pytest.raises(ModelFileError, match="must have the phone SIL"):
        read_definition(path)


def test_every_file_of_a_model_cut_short_or_changed_is_named(sphinx_folder: Path, tmp_path: Path) -> None:
    for name in ("means", "variances", "mixture_weights", "transition_matrices"):
        whole = (sphinx_folder / name).read_bytes()
        for content in (
            *(whole[:size] for size in (0, 10, 37, 43, len(whole) // 2, len(whole) - 1)),
            whole + b"\0",
        ):
            folder = tmp_path / "model"
            shutil.copytree(sphinx_folder, folder, dirs_exist_ok=True)
            (folder / name).write_bytes(content)
            with pytest.raises(ModelFileError, match=name):
                read_sphinx(folder)
        damaged = bytearray(whole)
        damaged[-8] ^= 1  # the last bit of the last value's mantissa
        (folder / name).write_bytes(damaged)
        with pytest.raises(ModelFileError, match=f"{name}: the checksum must be .*: it is damaged"):
            read_sphinx(folder)
        (folder / name).unlink()
        with pytest.raises(ModelFileError, match=f"{name}: it cannot be read: No such file"):
            read_sphinx(folder)


def test_numbers_of_other_byte_order_and_without_checksum_are_read(
    sphinx_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(sphinx_folder, folder)
    for name in ("means", "variances", "mixture_weights", "transition_matrices"):
        header, data = (sphinx_folder / name).read_bytes().split(b"endhdr\n")
        swapped = np.frombuffer(data[:-4], "<u4").astype(">u4").tobytes()
        (folder / name).write_bytes(header.replace(b"chksum0 yes\n", b"") + b"endhdr\n" + swapped)
    expected, found = read_sphinx(sphinx_folder), read_sphinx(folder)
    np.testing.assert_array_equal(found.means[0], expected.means[0])
    np.testing.assert_array_equal(found.transitions, expected.transitions)


def _packed(steps: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], classes: bytes) -> bytes:
    """Quantised weights (F, M, S) as a file, as bytes or as halves of bytes."""
    lines = [b"title\0", b"header\0", f"feature_count {steps.shape[0]}\0".encode()]
    lines += [f"cluster_count {len(classes)}\0".encode(), f"cluster_bits {4 if classes else 8}\0".encode()]
    content = b"".join(struct.pack("<i", len(line)) + line for line in lines) + struct.pack("<i", 0)
    if not classes:
        padded = np.pad(steps, ((0, 0), (0, 0), (0, 3)))
        return content + struct.pack("<2i", steps.shape[1], padded.shape[2]) + padded.tobytes()
    even, odd = steps[..., ::2], steps[..., 1::2]
    return content + classes.ljust(16, b"\0") + (even | odd << 4).tobytes()


@pytest.mark.parametrize("classes", [b"", bytes(range(0, 150, 10))])
def test_quantised_weights_are_powers_of_their_unit(
    sphinx_folder: Path, tmp_path: Path, sphinx_parameters: Callable[..., bytes], classes: bytes
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(sphinx_folder, folder)
    num_senones = read_definition(folder / "mdef").num_senones
    chance = np.random.default_rng(0)
    # One codebook of two streams with four Gaussians.
    for name in ("means", "variances"):
        values = chance.uniform(1, 2, 4 * (20 + 19)).astype(np.float32)
        (folder / name).write_bytes(sphinx_parameters([1, 2, 4, 20, 19, values.size], values))
    steps = chance.integers(0, 15 if classes else 256, (2, 4, num_senones), dtype=np.uint8)
    (folder / "sendump").write_bytes(_packed(steps, classes))
    found = read_sphinx(folder)
    assert [item.shape for item in found.means] == [(1, 4, 20), (1, 4, 19)]
    assert not found.codebook_of_senone.any()
    exponent = np.asarray(bytearray(classes))[steps] if classes else steps
    for weights, expected in zip(found.weights, 1.0001 ** (-1024.0 * exponent), strict=True):
        np.testing.assert_allclose(weights, expected.T, rtol=1e-5)  # float32 exponents up to 26
    (folder / "sendump").write_bytes(_packed(steps, classes)[:-1])
    with pytest.raises(ModelFileError, match="sendump: the weights must have"):
        read_sphinx(folder)
    (folder / "sendump").write_bytes(_packed(steps[:1], classes))
    with pytest.raises(ModelFileError, match="feature_count must be 2, as elsewhere; got 1"):
        read_sphinx(folder)
    (folder / "sendump").write_bytes(_packed(steps, classes).replace(b"_bits ", b"_bits 1"))
    with pytest.raises(ModelFileError, match="cluster_count must be 0 with 8 bits"):
        read_sphinx(folder)


def _damaged_models() -> list[tuple[str, list[int], list[float], str]]:
    return [
        ("variances", [2, 1, 1, 39], [1.0] * 78, "variances: it must have as many codebooks"),
        ("variances", [30, 1, 1, 39], [-1.0] * 1170, "a variance must not be negative"),
        ("means", [30, 1, 1, 39], [float("nan")] * 1170, "the values must be finite"),
        ("means", [1 << 16, 1, 1 << 13, 39], [], "it must hold at most"),
        ("mixture_weights", [30, 1, 1], [0.0] * 30, "weights >= 0 with a positive sum"),
        ("transition_matrices", [1, 3, 4], [0.0] * 12, "probabilities >= 0 with a positive sum"),
        ("transition_matrices", [1, 3, 4], [1, 0, 0, 0] * 3, "every matrix must lead out"),
        (
            "transition_matrices",
            [1, 3, 4],
            [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1],
            "every matrix must lead out",
        ),
        ("feature_transform", [1, 2, 39], [1.0] * 77, "the checksum must have 4 bytes; 0 are left"),
    ]


@pytest.mark.parametrize(("name", "sizes", "values", "reason"), _damaged_models())
def test_parameters_that_make_no_model_are_refused(
    sphinx_folder: Path,
    tmp_path: Path,
    sphinx_parameters: Callable[..., bytes],
    name: str,
    sizes: list[int],
    values: list[float],
    reason: str,
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(sphinx_folder, folder)
    counted = [*sizes, 78 if name == "feature_transform" else len(values)]
    (folder / name).write_bytes(sphinx_parameters(counted, np.array(values, np.float32)))
    with pytest.raises(ModelFileError, match=re.escape(reason)):
        read_sphinx(folder)


def test_codebooks_are_those_of_all_of_phones_or_of_senones(
    sphinx_folder: Path, tmp_path: Path, sphinx_parameters: Callable[..., bytes]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(sphinx_folder, folder)
    definition = read_definition(folder / "mdef")
    for number, expected in ((10, definition.base_of_senone()), (30, np.arange(30))):
        for name in ("means", "variances"):
            values = np.ones(number * 39, np.float32)
            (folder / name).write_bytes(sphinx_parameters([number, 1, 1, 39, values.size], values))
        np.testing.assert_array_equal(read_sphinx(folder).codebook_of_senone, expected)
    for name in ("means", "variances"):
        (folder / name).write_bytes(sphinx_parameters([2, 1, 1, 39, 78], np.ones(78, np.float32)))
    with pytest.raises(ModelFileError, match=r"1, that of phones \(10\) or that of senones \(30\); got 2"):
        read_sphinx(folder)


def test_options_come_in_pairs(tmp_path: Path) -> None:
    path = tmp_path / "feat.params"
    path.write_text("-nfilt 25\n-cmn\tbatch -lowerf -1\n", encoding="utf-8")
    assert read_options(path) == {"nfilt": "25", "cmn": "batch", "lowerf": "-1"}
    for text in ("-nfilt", "nfilt 25"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ModelFileError, match="pairs of -name and value"):
            read_options(path)
    path.write_bytes(b"-nfilt \xff")
    with pytest.raises(ModelFileError, match="UTF-8"):
        read_options(path)
    with pytest.raises(ModelFileError, match="must be the folder"):
        read_sphinx(path)
