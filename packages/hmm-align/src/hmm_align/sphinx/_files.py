"""The files of an acoustic model of CMU Sphinx: numbers and names, read and checked, nothing executed."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmm_models import ModelFileError

SILENCE_PHONE = "SIL"
# Word positions in the order of their numbers: internal, begin, end, single.
POSITIONS = "ibes"

_MAGIC = 0x11223344
_LARGEST = 1 << 30  # bytes; no acoustic model comes near
_LOG_UNIT = 1024 * math.log(1.0001)  # nats of one step of a quantised mixture weight
_VARIANCE_FLOOR = 1e-4
_WEIGHT_FLOOR = 1e-7
_TRANSITION_FLOOR = 1e-4
_MAX_PHONES = 255
_MAX_STATES = 16

Floats = NDArray[np.float32]


class Definition(NamedTuple):
    """Which phones and triphones there are, and which states they share: a file ``mdef``."""

    phones: tuple[str, ...]
    is_filler: tuple[bool, ...]
    states: NDArray[np.int32]  # (number of phones and triphones, states of each): senones
    transition: NDArray[np.int32]  # (number of phones and triphones,): transition matrices
    triphone_codes: NDArray[np.int64]  # (number of triphones,), ascending
    triphone_rows: NDArray[np.int64]  # (number of triphones,): rows of ``states``
    num_senones: int
    num_ci_senones: int

    def code(self, phone: int, left: int, right: int, position: int) -> int:
        """Return the number by which a triphone is looked up."""
        size = len(self.phones)
        return ((position * size + phone) * size + left) * size + right

    def base_of_senone(self) -> NDArray[np.int64]:
        """Return for each senone the phone whose triphones use it; -1 where none does."""
        base = np.full(self.num_senones, -1, dtype=np.int64)
        size = len(self.phones)
        of_row = np.empty(len(self.states), dtype=np.int64)
        of_row[:size] = np.arange(size)
        of_row[self.triphone_rows] = self.triphone_codes // (size * size) % size
        # Where phones share a senone, the first one's row wins.
        base[self.states[::-1]] = of_row[::-1, None]
        return base


class SphinxFiles(NamedTuple):
    """Everything that the folder of an acoustic model holds.

    A codebook has ``M`` Gaussians in each of its streams; a senone weights those of one codebook.
    """

    definition: Definition
    means: tuple[Floats, ...]  # a stream each, (codebooks, M, D)
    variances: tuple[Floats, ...]  # a stream each, (codebooks, M, D)
    weights: tuple[Floats, ...]  # a stream each, (senones, M)
    codebook_of_senone: NDArray[np.int64]  # (senones,)
    transitions: NDArray[np.float64]  # (matrices, S, S + 1), the last column leaves the phone
    options: dict[str, str]  # of feat.params, without dashes
    transform: Floats | None  # (out, in), of LDA and MLLT


class _Reader:
    """Takes fields off the bytes of a file; what is missing or too much is an error that names it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.order = "<"
        try:
            if path.stat().st_size > _LARGEST:
                raise ModelFileError(path, f"it must have at most {_LARGEST} bytes")
            self._data = path.read_bytes()
        except OSError as error:
            raise ModelFileError(path, f"it cannot be read: {error.strerror}") from error
        self.position = 0

    def take(self, field: str, count: int) -> bytes:
        """Return the next bytes."""
        left = len(self._data) - self.position
        if not 0 <= count <= left:
            raise ModelFileError(self.path, f"{field} must have {count} bytes; {left} are left in the file")
        self.position += count
        return self._data[self.position - count : self.position]

    def array(self, field: str, kind: str, count: int) -> NDArray[np.generic]:
        """Return the next numbers of a kind such as "i4"."""
        item = np.dtype(self.order + kind)
        return np.frombuffer(self.take(field, count * item.itemsize), dtype=item)

    def floats(self, field: str, count: int) -> Floats:
        """Return the next float32 numbers, all finite."""
        values = self.array(field, "f4", count).astype(np.float32)
        if not np.isfinite(values).all():
            raise ModelFileError(self.path, f"{field} must be finite numbers")
        return values

    def integer(self, field: str, lowest: int, highest: int) -> int:
        """Return the next int32, which must lie in a range."""
        value = int(self.array(field, "i4", 1)[0])
        if not lowest <= value <= highest:
            raise ModelFileError(self.path, f"{field} must lie in {lowest}..{highest}; got {value}")
        return value

    def until(self, field: str, end: bytes) -> bytes:
        """Return the bytes up to a mark, and pass it."""
        found = self._data.find(end, self.position)
        if found < 0:
            raise ModelFileError(self.path, f"{field} must end with {end!r}")
        return self.take(field, found + len(end) - self.position)[: -len(end)]

    def text(self) -> str:
        """Return the whole file as text."""
        try:
            return self._data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ModelFileError(self.path, f"it must be UTF-8 text ({error.reason})") from error

    def starts_with(self, *prefixes: bytes) -> bool:
        """Tell how the file begins."""
        return self._data.startswith(prefixes)

    def finish(self) -> None:
        """Refuse bytes after the last field."""
        left = len(self._data) - self.position
        if left:
            raise ModelFileError(self.path, f"it must end after its last field; {left} bytes follow")


def read_sphinx(folder: Path) -> SphinxFiles:
    """Read the folder of an acoustic model.

    Parameters
    ----------
    folder : Path
        Holds ``mdef`` (as text or "BMDF"), ``means``, ``variances``, ``transition_matrices``, ``sendump`` or
        ``mixture_weights``, ``feat.params``, and ``feature_transform`` if there is one.

    Returns
    -------
    SphinxFiles
        Probabilities are normalised and floored as Sphinx does it.

    Raises
    ------
    ModelFileError
        If a file is missing, cut short, too long, or does not fit the others; it names the file and field.
    """
    if not folder.is_dir():
        raise ModelFileError(folder, "it must be the folder of a Sphinx acoustic model")
    definition = read_definition(folder / "mdef")
    means = _read_gaussians(folder / "means")
    variances = _read_gaussians(folder / "variances")
    if [item.shape for item in means] != [item.shape for item in variances]:
        raise ModelFileError(
            folder / "variances", "it must have as many codebooks, streams and Gaussians as means"
        )
    if any((item < 0).any() for item in variances):
        raise ModelFileError(folder / "variances", "a variance must not be negative")
    variances = tuple(np.maximum(item, np.float32(_VARIANCE_FLOOR)) for item in variances)
    shape = (len(means), means[0].shape[1])
    if (folder / "sendump").exists():
        weights = _read_sendump(folder / "sendump", definition.num_senones, shape)
    else:
        weights = _read_weights(folder / "mixture_weights", definition.num_senones, shape)
    transitions = _read_transitions(folder / "transition_matrices", definition)
    transform = folder / "feature_transform"
    return SphinxFiles(
        definition,
        means,
        variances,
        weights,
        _codebooks(folder, definition, len(means[0])),
        transitions,
        read_options(folder / "feat.params"),
        _read_transform(transform) if transform.exists() else None,
    )


def read_options(path: Path) -> dict[str, str]:
    """Read ``feat.params``: options as on a command line, ``-name value``."""
    words = _Reader(path).text().split()
    names, values = words[::2], words[1::2]
    if len(names) != len(values) or any(not name.startswith("-") for name in names):
        raise ModelFileError(path, "it must hold pairs of -name and value")
    return {name[1:]: value for name, value in zip(names, values, strict=True)}


def read_definition(path: Path) -> Definition:
    """Read a file ``mdef``, whichever of its two forms it has."""
    reader = _Reader(path)
    return _binary_definition(reader) if reader.starts_with(b"BMDF", b"FDMB") else _text_definition(reader)


def _binary_definition(reader: _Reader) -> Definition:
    """Read the binary form. Its search tree says nothing that the triphones do not say."""
    path = reader.path
    reader.order = "<" if reader.take("the mark", 4) == b"BMDF" else ">"
    reader.integer("the version", 0, 1)
    reader.take("the description", reader.integer("the length of the description", 0, 1 << 16))
    num_phones = reader.integer("n_ciphone", 1, _MAX_PHONES)
    num_rows = reader.integer("n_phone", num_phones, 1 << 24)
    size = reader.integer("n_emit_state", 1, _MAX_STATES)
    num_ci_senones = reader.integer("n_ci_sen", 1, 1 << 16)
    num_senones = reader.integer("n_sen", num_ci_senones, 1 << 16)
    num_matrices = reader.integer("n_tmat", 1, 1 << 15)
    num_sequences = reader.integer("n_sseq", 1, 1 << 24)
    reader.integer("n_ctx", 3, 3)
    num_nodes = reader.integer("n_cd_tree", 0, 1 << 26)
    reader.integer("sil", -1, num_phones - 1)
    start = reader.position
    names = [reader.until(f"the name of phone {number}", b"\0") for number in range(num_phones)]
    reader.take("the padding of names", (start - reader.position) % 4)
    reader.take("cd_tree", 8 * num_nodes)
    row = np.dtype(
        [("sequence", reader.order + "i4"), ("matrix", reader.order + "i4"), ("attribute", "u1", 4)]
    )
    rows = np.frombuffer(reader.take("phones", row.itemsize * num_rows), dtype=row)
    reader.integer("the length of sseq", num_sequences * size, num_sequences * size)
    sequences = reader.array("sseq", "u2", num_sequences * size).reshape(-1, size).astype(np.int32)
    reader.finish()
    _check_range(path, "ssid of phones", rows["sequence"], num_sequences)
    attribute = rows["attribute"].astype(np.int64)
    return _definition(
        path,
        [_decoded(path, name) for name in names],
        [bool(filler) for filler in attribute[:num_phones, 0]],
        sequences[rows["sequence"]],
        rows["matrix"],
        attribute[num_phones:, [1, 2, 3, 0]],
        (num_senones, num_ci_senones, num_matrices),
    )


def _text_definition(reader: _Reader) -> Definition:
    """Read the text form: counts, then a line for each phone and triphone."""
    path = reader.path
    lines = [line for line in reader.text().splitlines() if line.strip() and not line.startswith("#")]
    if not lines or lines[0].strip() != "0.3":
        raise ModelFileError(path, "it must be a model definition: BMDF, or text that begins with 0.3")
    counts: dict[str, int] = {}
    while len(lines) > len(counts) + 1 and (
        match := re.fullmatch(r"\s*(\d+)\s+(n_\w+)\s*", lines[len(counts) + 1])
    ):
        counts[match[2]] = int(match[1])
    try:
        num_phones, num_triphones = counts["n_base"], counts["n_tri"]
        sizes = counts["n_tied_state"], counts["n_tied_ci_state"], counts["n_tied_tmat"]
    except KeyError as error:
        raise ModelFileError(path, f"the count {error.args[0]} must be given") from error
    rows = [line.split() for line in lines[len(counts) + 1 :]]
    if len(rows) != num_phones + num_triphones or not 1 <= num_phones <= _MAX_PHONES:
        raise ModelFileError(
            path,
            f"n_base + n_tri must be the number of lines; got {num_phones} + {num_triphones} of {len(rows)}",
        )
    width = len(rows[0])
    if any(len(row) != width or row[-1] != "N" for row in rows) or not 8 <= width <= 7 + _MAX_STATES:
        raise ModelFileError(path, "every line must name base lft rt p attrib tmat, as many states, and N")
    names = [row[0] for row in rows[:num_phones]]
    number = {name: index for index, name in enumerate(names)}
    try:
        triphones = [
            (number[row[0]], number[row[1]], number[row[2]], POSITIONS.index(row[3]))
            for row in rows[num_phones:]
        ]
        states = np.array([[int(state) for state in row[6:-1]] for row in rows], dtype=np.int64)
        matrices = np.array([int(row[5]) for row in rows], dtype=np.int64)
    except (KeyError, ValueError) as error:
        raise ModelFileError(path, f"a line has something else than a phone or number ({error})") from error
    return _definition(
        path,
        names,
        [row[4] == "filler" for row in rows[:num_phones]],
        states,
        matrices,
        np.array(triphones, dtype=np.int64).reshape(-1, 4),
        sizes,
    )


def _definition(
    path: Path,
    names: list[str],
    is_filler: list[bool],
    states: NDArray[np.integer],
    matrices: NDArray[np.integer],
    triphones: NDArray[np.int64],
    sizes: tuple[int, int, int],
) -> Definition:
    """Check what either form holds; ``triphones`` are phone, left, right, position."""
    num_senones, num_ci_senones, num_matrices = sizes
    if len(set(names)) < len(names):
        raise ModelFileError(path, "every phone must have a name of its own")
    if SILENCE_PHONE not in names:
        raise ModelFileError(path, f"it must have the phone {SILENCE_PHONE}")
    _check_range(path, "states of phones", states, num_senones)
    _check_range(path, "tmat of phones", matrices, num_matrices)
    _check_range(path, "contexts of triphones", triphones[:, :3], len(names))
    _check_range(path, "word positions of triphones", triphones[:, 3], len(POSITIONS))
    size = len(names)
    phone, left, right, position = triphones.T
    codes = ((position * size + phone) * size + left) * size + right
    order = np.argsort(codes, kind="stable")
    return Definition(
        tuple(names),
        tuple(is_filler),
        states.astype(np.int32),
        matrices.astype(np.int32),
        codes[order],
        order + size,
        num_senones,
        num_ci_senones,
    )


def _decoded(path: Path, name: bytes) -> str:
    """Return the name of a phone."""
    if not name.isascii() or not name.decode("ascii").isprintable() or not name:
        raise ModelFileError(path, f"the name of a phone must be of printable ASCII; got {name!r}")
    return name.decode("ascii")


def _check_range(path: Path, field: str, values: NDArray[np.integer], size: int) -> None:
    """Refuse numbers that point outside."""
    if len(values) and not 0 <= int(values.min()) <= int(values.max()) < size:
        wrong = int(values.min()) if int(values.min()) < 0 else int(values.max())
        raise ModelFileError(path, f"{field} must lie in 0..{size - 1}; got {wrong}")


def _parameters(path: Path) -> tuple[_Reader, bool]:
    """Open a file of parameters; return it read up to its data, and whether a checksum follows these."""
    reader = _Reader(path)
    if not reader.starts_with(b"s3\n"):
        raise ModelFileError(path, 'it must begin with "s3": a parameter file of Sphinx 3')
    header = reader.until("the header", b"endhdr\n")
    mark = reader.take("the byte order", 4)
    if _MAGIC not in {int.from_bytes(mark, "little"), int.from_bytes(mark, "big")}:
        raise ModelFileError(path, f"the byte order must be marked by {_MAGIC:#x}; got {mark.hex()}")
    reader.order = "<" if int.from_bytes(mark, "little") == _MAGIC else ">"
    return reader, b"chksum0" in header


def _finish_parameters(reader: _Reader, start: int, has_checksum: bool) -> None:
    """Compare the checksum of the fields since ``start``, and refuse what follows it."""
    if has_checksum:
        end, reader.position = reader.position, start
        checksum = 0
        for value in reader.array("the data", "u4", (end - start) // 4).tolist():
            checksum = ((checksum << 20 | checksum >> 12) + value) & 0xFFFFFFFF
        expected = int(reader.array("the checksum", "u4", 1)[0])
        if checksum != expected:
            raise ModelFileError(
                reader.path,
                f"the checksum must be {expected:#010x}; the data give {checksum:#010x}: it is damaged",
            )
    reader.finish()


def _read_gaussians(path: Path) -> tuple[Floats, ...]:
    """Read ``means`` or ``variances``: a stream each, (codebooks, M, D)."""
    reader, has_checksum = _parameters(path)
    start = reader.position
    num_codebooks = reader.integer("the number of codebooks", 1, 1 << 16)
    num_streams = reader.integer("the number of streams", 1, 16)
    num_gaussians = reader.integer("the number of Gaussians", 1, 1 << 13)
    sizes = [reader.integer(f"the dimension of stream {number}", 1, 1 << 12) for number in range(num_streams)]
    count = num_codebooks * num_gaussians * sum(sizes)
    if count > _LARGEST // 4:
        raise ModelFileError(path, f"it must hold at most {_LARGEST // 4} numbers; its counts say {count}")
    reader.integer("the number of values", count, count)
    values = reader.floats("the values", count).reshape(num_codebooks, -1)
    _finish_parameters(reader, start, has_checksum)
    parts = np.split(values, np.cumsum([num_gaussians * size for size in sizes])[:-1], axis=1)
    return tuple(
        part.reshape(num_codebooks, num_gaussians, size) for part, size in zip(parts, sizes, strict=True)
    )


def _read_transitions(path: Path, definition: Definition) -> NDArray[np.float64]:
    """Read ``transition_matrices``: (matrices, S, S + 1), each row normalised."""
    reader, has_checksum = _parameters(path)
    start = reader.position
    size = definition.states.shape[1]
    least = int(definition.transition.max()) + 1
    num_matrices = reader.integer("the number of matrices", least, 1 << 15)
    reader.integer("the number of states", size, size)
    reader.integer("the number of states and one", size + 1, size + 1)
    count = num_matrices * size * (size + 1)
    reader.integer("the number of values", count, count)
    values = reader.floats("the values", count).astype(np.float64).reshape(num_matrices, size, size + 1)
    _finish_parameters(reader, start, has_checksum)
    if (values < 0).any() or (values.sum(axis=2) <= 0).any():
        raise ModelFileError(path, "every state must have probabilities >= 0 with a positive sum")
    steps = np.zeros((num_matrices, size + 1, size + 1))
    steps[:, :-1] = values > 0
    if not (np.linalg.matrix_power(steps + np.eye(size + 1), size)[:, 0, -1] > 0).all():
        raise ModelFileError(path, "every matrix must lead out of its phone")
    values /= values.sum(axis=2, keepdims=True)
    values = np.where(values > 0, np.maximum(values, _TRANSITION_FLOOR), 0.0)
    normalised: NDArray[np.float64] = values / values.sum(axis=2, keepdims=True)
    return normalised


def _read_weights(path: Path, num_senones: int, shape: tuple[int, int]) -> tuple[Floats, ...]:
    """Read ``mixture_weights``: a stream each, (senones, M), each senone's normalised."""
    reader, has_checksum = _parameters(path)
    start = reader.position
    num_streams, num_gaussians = shape
    reader.integer("the number of senones", num_senones, num_senones)
    reader.integer("the number of streams", num_streams, num_streams)
    reader.integer("the number of Gaussians", num_gaussians, num_gaussians)
    count = num_senones * num_streams * num_gaussians
    reader.integer("the number of values", count, count)
    values = reader.floats("the values", count).reshape(num_senones, num_streams, num_gaussians)
    _finish_parameters(reader, start, has_checksum)
    if (values < 0).any() or (values.sum(axis=2) <= 0).any():
        raise ModelFileError(path, "every senone must have weights >= 0 with a positive sum")
    values = np.maximum(values / values.sum(axis=2, keepdims=True), np.float32(_WEIGHT_FLOOR))
    values = values / values.sum(axis=2, keepdims=True)
    return tuple(np.ascontiguousarray(values[:, number]) for number in range(num_streams))


def _read_sendump(path: Path, num_senones: int, shape: tuple[int, int]) -> tuple[Floats, ...]:
    """Read ``sendump``: weights quantised to bytes, or to 16 classes; a stream each, (senones, M)."""
    reader = _Reader(path)
    if int.from_bytes(reader.take("the length of the title", 4), "little") > 999:
        reader.order = ">"
    reader.position = 0
    reader.take("the title", reader.integer("the length of the title", 1, 999))
    reader.take("the header", reader.integer("the length of the header", 1, 999))
    counts = {}
    while length := reader.integer("the length of a line of the header", 0, 999):
        line = reader.take("a line of the header", length)
        if match := re.fullmatch(rb"(\w+_(?:count|bits)) (\d{1,9})\s*\0?", line):
            counts[match[1].decode()] = int(match[2])
    num_streams, num_gaussians = shape
    for name, expected in (
        ("feature_count", num_streams),
        ("mixture_count", num_gaussians),
        ("model_count", num_senones),
    ):
        if counts.get(name, expected) != expected:
            raise ModelFileError(path, f"{name} must be {expected}, as elsewhere; got {counts[name]}")
    num_classes, num_bits = counts.get("cluster_count", 0), counts.get("cluster_bits", 8)
    if num_classes not in {0, 15, 16} or num_bits != (4 if num_classes else 8):
        raise ModelFileError(
            path,
            f"cluster_count must be 0 with 8 bits, or 15 or 16 with 4; got {num_classes} with {num_bits}",
        )
    if num_classes:
        width = (num_senones + 1) // 2
        classes = np.frombuffer(reader.take("the classes", 16), dtype=np.uint8)
    else:
        reader.integer("the number of rows", num_gaussians, num_gaussians)
        width = reader.integer("the number of columns", num_senones, num_senones + 64)
    steps = np.frombuffer(reader.take("the weights", num_streams * num_gaussians * width), dtype=np.uint8)
    if num_classes:
        # Two senones share a byte, the first of them its low half.
        steps = np.take(classes, np.stack([steps & 15, steps >> 4], axis=-1).ravel())
        width *= 2
    steps = steps.reshape(num_streams, num_gaussians, width)[..., :num_senones]
    reader.finish()
    weights = np.exp(-_LOG_UNIT * steps.astype(np.float32))
    return tuple(np.ascontiguousarray(weights[number].T) for number in range(num_streams))


def _codebooks(folder: Path, definition: Definition, num_codebooks: int) -> NDArray[np.int64]:
    """Return the codebook of each senone: one for all, one for each phone's, or each its own."""
    if num_codebooks == 1:
        return np.zeros(definition.num_senones, dtype=np.int64)
    if num_codebooks == definition.num_senones:
        return np.arange(definition.num_senones)
    if num_codebooks == len(definition.phones):
        return np.maximum(definition.base_of_senone(), 0)  # a senone that nothing uses may read any
    raise ModelFileError(
        folder / "means",
        f"the number of codebooks must be 1, that of phones ({len(definition.phones)}) or that of senones "
        f"({definition.num_senones}); got {num_codebooks}",
    )


def _read_transform(path: Path) -> Floats:
    """Read ``feature_transform``: (out, in), of LDA and MLLT."""
    reader, has_checksum = _parameters(path)
    start = reader.position
    reader.integer("the number of matrices", 1, 1)
    rows = reader.integer("the number of rows", 1, 1 << 12)
    columns = reader.integer("the number of columns", rows, 1 << 12)
    reader.integer("the number of values", rows * columns, rows * columns)
    matrix = reader.floats("the values", rows * columns).reshape(rows, columns)
    _finish_parameters(reader, start, has_checksum)
    return matrix


def option(options: Mapping[str, str], path: Path, name: str, default: float) -> float:
    """Return the number that an option has."""
    text = options.get(name, str(default))
    try:
        value = float(text)
    except ValueError as error:
        raise ModelFileError(path, f"-{name} must be a number; got {text!r}") from error
    if not math.isfinite(value):
        raise ModelFileError(path, f"-{name} must be finite; got {text!r}")
    return value
