"""All argument checks of the operations, and the canonical description that the backends receive."""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from hmm_core._tracing import values_are_readable
from hmm_core.transitions import Sparse


class Problem(NamedTuple):
    """The arguments of an operation. In canonical form, an axis that does not vary has size 1.

    The C++ kernels, which only need addresses and sizes, take tensors without these axes as well.
    ``predecessors`` is None for dense transitions, whose ``log_weight`` is indexed [from, to].
    """

    log_initial: Tensor  # (B|1, K)
    predecessors: Tensor | None  # (B|1, K, R)
    log_weight: Tensor  # (B|1, T-1|1, K, K) or (B|1, T-1|1, K, R)
    log_emission: Tensor  # (B, T, P)
    lengths: Tensor  # (B,)
    log_final: Tensor  # (B|1, K)
    emission_index: Tensor | None  # (B|1, K)

    def canonical(self) -> "Problem":
        """Return views that have all axes."""
        log_initial, predecessors, weight, log_emission, lengths, log_final, emission_index = self
        return Problem(
            log_initial if log_initial.ndim == 2 else log_initial[None],
            predecessors if predecessors is None or predecessors.ndim == 3 else predecessors[None],
            weight if weight.ndim == 4 else (weight[None, None] if weight.ndim == 2 else weight[:, None]),
            log_emission,
            lengths,
            log_final if log_final.ndim == 2 else log_final[None],
            emission_index if emission_index is None or emission_index.ndim == 2 else emission_index[None],
        )

    def detach(self) -> "Problem":
        """Return the same values without their history."""
        return self._replace(
            log_initial=self.log_initial.detach(),
            log_weight=self.log_weight.detach(),
            log_emission=self.log_emission.detach(),
            log_final=self.log_final.detach(),
        )

    def requires_grad(self) -> bool:
        """Whether a derivative by one of the values may be asked for."""
        return torch.is_grad_enabled() and (
            self.log_emission.requires_grad
            or self.log_weight.requires_grad
            or self.log_initial.requires_grad
            or self.log_final.requires_grad
        )


# Rules of one argument: symbolic shape -> sizes; None admits any size.
_Shapes = dict[str, tuple[int | None, ...]]


def check_shape(name: str, tensor: Tensor, shapes: _Shapes, source: str) -> None:
    """Refuse a shape that no rule admits; name the rule with the same number of axes, or all of them."""
    actual = tuple(tensor.shape)
    rules = {letters: sizes for letters, sizes in shapes.items() if len(sizes) == len(actual)}
    for sizes in rules.values():
        if all(want is None or want == have for want, have in zip(sizes, actual, strict=True)):
            return
    rules = rules or shapes
    if len(rules) == 1:
        letters, sizes = next(iter(rules.items()))
        numbers = ", ".join("any" if size is None else str(size) for size in sizes)
        rule = f"{letters} = ({numbers}{',' if len(sizes) == 1 else ''})"
    else:
        rule = " or ".join(shapes)
    raise ValueError(f"{name} must have shape {rule}, {source}; got {actual}")


def check_tensor(name: str, tensor: object) -> Tensor:
    """Refuse what is not a tensor."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a Tensor; got {type(tensor).__name__}")
    return tensor


def floating(name: str, tensor: object, like: Tensor | None, like_name: str = "log_emission") -> Tensor:
    """Compute in float32 or float64; refuse other dtypes and devices than those of ``like``."""
    tensor = check_tensor(name, tensor)
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must have a floating dtype; got {tensor.dtype}")
    if tensor.dtype in {torch.float16, torch.bfloat16}:
        tensor = tensor.to(torch.float32)
    if like is not None:
        if tensor.dtype != like.dtype:
            raise TypeError(f"{name} must have dtype {like.dtype} like {like_name}; got {tensor.dtype}")
        if tensor.device != like.device:
            raise ValueError(f"{name} must be on {like.device} like {like_name}; got {tensor.device}")
    return tensor


def integer(name: str, tensor: object, like: Tensor, like_name: str = "log_emission") -> Tensor:
    """Integers as int64, on the device of ``like``."""
    tensor = check_tensor(name, tensor)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{name} must have dtype torch.int64; got {tensor.dtype}")
    if tensor.device != like.device:
        raise ValueError(f"{name} must be on {like.device} like {like_name}; got {tensor.device}")
    return tensor.to(torch.int64)


def _transition(
    log_transition: object, log_emission: Tensor, K: int, source: str
) -> tuple[Tensor | None, Tensor]:
    """Predecessors (None if dense), and weights."""
    B, T, _ = log_emission.shape
    predecessors, columns, column, name = None, K, "K", "log_transition"
    if isinstance(log_transition, Sparse):
        predecessors = integer("log_transition.predecessors", log_transition.predecessors, log_emission)
        columns, column, name = log_transition.num_slots, "R", "log_transition.log_weight"
        slots: _Shapes = {"(K, R)": (K, columns), "(B, K, R)": (B, K, columns)}
        check_shape("log_transition.predecessors", predecessors, slots, source)
        log_transition = log_transition.log_weight
    elif not isinstance(log_transition, Tensor):
        raise TypeError(f"log_transition must be a Tensor or Sparse; got {type(log_transition).__name__}")
    weight = floating(name, log_transition, log_emission)
    sequences = 1 if weight.ndim == 4 and weight.shape[0] == 1 else B
    matrix: _Shapes = {
        f"(K, {column})": (K, columns),
        f"(B, K, {column})": (B, K, columns),
        f"(B, T-1, K, {column})": (sequences, max(T - 1, 0), K, columns),
    }
    check_shape(name, weight, matrix, source)
    return predecessors, weight


def _fits(
    tensor: object, dtype: torch.dtype, device: torch.device, shapes: dict[int, tuple[int, ...]]
) -> bool:
    """Whether an argument needs no conversion and has the shape that goes with its number of axes."""
    return (
        isinstance(tensor, Tensor)
        and tensor.dtype is dtype
        and tensor.device == device
        and tensor.shape == shapes.get(tensor.ndim)
    )


def _is_plain(
    log_initial: object,
    log_transition: object,
    log_emission: object,
    lengths: object,
    log_final: object,
    emission_index: object,
) -> bool:
    """Whether the common arguments are right as they are, by a few comparisons."""
    if not isinstance(log_emission, Tensor) or log_emission.ndim != 3:
        return False
    B, T, K = log_emission.shape
    dtype, device = log_emission.dtype, log_emission.device
    if (dtype is not torch.float32 and dtype is not torch.float64) or K == 0 or T == 0:
        return False
    if emission_index is not None:
        if not isinstance(emission_index, Tensor) or emission_index.ndim == 0:
            return False
        K = emission_index.shape[-1]
        if not _fits(emission_index, torch.int64, device, {1: (K,), 2: (B, K)}):
            return False
    vector = {1: (K,), 2: (B, K)}
    matrix = {2: (K, K), 3: (B, K, K)}
    weight = log_transition
    if isinstance(log_transition, Sparse):
        weight, R = log_transition.log_weight, log_transition.num_slots
        matrix = {2: (K, R), 3: (B, K, R)}
        if not _fits(log_transition.predecessors, torch.int64, device, matrix):
            return False
    return (
        _fits(log_initial, dtype, device, vector)
        and _fits(weight, dtype, device, matrix)
        and (log_final is None or _fits(log_final, dtype, device, vector))
        and (lengths is None or _fits(lengths, torch.int64, device, {1: (B,)}))
    )


def _zeros(K: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the log_final of models that may end anywhere."""
    return torch.zeros((1, K), dtype=dtype, device=device)


def _full_lengths(B: int, T: int, device: torch.device) -> Tensor:
    """Return the lengths of sequences without padding."""
    return torch.full((B,), T, dtype=torch.int64, device=device)


@lru_cache(maxsize=64)
def _shared_zeros(K: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the same zeros for every call; nothing writes to them."""
    with torch.inference_mode(mode=False):  # else autograd could not keep them later
        return _zeros(K, dtype, device)


@lru_cache(maxsize=64)
def _shared_lengths(B: int, T: int, device: torch.device) -> Tensor:
    """Return the same lengths for every call; nothing writes to them."""
    with torch.inference_mode(mode=False):
        return _full_lengths(B, T, device)


def checked(
    log_initial: Tensor,
    log_transition: Tensor | Sparse,
    log_emission: Tensor,
    lengths: Tensor | None,
    log_final: Tensor | None,
    emission_index: Tensor | None,
) -> Problem:
    """Check types and shapes of the arguments and fill in those left out; axes stay as they came."""
    predecessors, weight = None, log_transition
    if _is_plain(log_initial, log_transition, log_emission, lengths, log_final, emission_index):
        if isinstance(log_transition, Sparse):
            predecessors, weight = log_transition.predecessors, log_transition.log_weight
    else:
        log_emission = floating("log_emission", log_emission, None)
        if log_emission.ndim != 3 or log_emission.shape[2] == 0:
            raise ValueError(
                f"log_emission must have shape (B, T, P) with P at least 1; got {tuple(log_emission.shape)}"
            )
        B, T, P = log_emission.shape
        K, source = P, f"with K from log_emission (B, T, K) = {(B, T, P)}"
        batch = f"with B from log_emission (B, T, P) = {(B, T, P)}"
        if emission_index is not None:
            emission_index = integer("emission_index", emission_index, log_emission)
            check_shape("emission_index", emission_index, {"(K,)": (None,), "(B, K)": (B, None)}, batch)
            K = emission_index.shape[-1]
            letters = "(K,)" if emission_index.ndim == 1 else "(B, K)"
            source = f"with K from emission_index {letters} = {tuple(emission_index.shape)}"
        log_initial = floating("log_initial", log_initial, log_emission)
        vector: _Shapes = {"(K,)": (K,), "(B, K)": (B, K)}
        check_shape("log_initial", log_initial, vector, source)
        if log_final is not None:
            log_final = floating("log_final", log_final, log_emission)
            check_shape("log_final", log_final, vector, source)
        predecessors, weight = _transition(log_transition, log_emission, K, source)
        if lengths is not None:
            lengths = integer("lengths", lengths, log_emission)
            check_shape("lengths", lengths, {"(B,)": (B,)}, batch)
    assert isinstance(weight, Tensor)  # noqa: S101  (for mypy: _is_plain and _transition see to it)
    # What was left out is made once for calls of one size, but not where a tracer stands behind the tensors,
    # nor on a device, where another stream, or a call while a graph is captured, would find it unfinished.
    shared = (
        type(log_emission) in {Tensor, torch.nn.Parameter}
        and log_emission.device.type == "cpu"
        and values_are_readable()
    )
    if log_final is None:
        make = _shared_zeros if shared else _zeros
        log_final = make(log_initial.shape[-1], log_emission.dtype, log_emission.device)
    if lengths is None:
        B, T, _ = log_emission.shape
        lengths = (_shared_lengths if shared else _full_lengths)(B, T, log_emission.device)
    return Problem(log_initial, predecessors, weight, log_emission, lengths, log_final, emission_index)


def canonical(
    log_initial: Tensor,
    log_transition: Tensor | Sparse,
    log_emission: Tensor,
    lengths: Tensor | None,
    log_final: Tensor | None,
    emission_index: Tensor | None,
) -> Problem:
    """Check types and shapes of the arguments and bring them into canonical form without copying."""
    problem = checked(log_initial, log_transition, log_emission, lengths, log_final, emission_index)
    return problem.canonical()
