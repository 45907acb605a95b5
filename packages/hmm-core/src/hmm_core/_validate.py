"""All argument checks of the operations, and the canonical description that the backends receive."""

from typing import NamedTuple

import torch
from torch import Tensor

from hmm_core._tracing import values_are_readable
from hmm_core.transitions import Sparse


class Problem(NamedTuple):
    """The arguments of an operation in canonical form; an axis that does not vary has size 1.

    ``predecessors`` is None for dense transitions, whose ``log_weight`` is indexed [from, to].
    """

    log_initial: Tensor  # (B|1, K)
    predecessors: Tensor | None  # (B|1, K, R)
    log_weight: Tensor  # (B|1, T-1|1, K, K) or (B|1, T-1|1, K, R)
    log_emission: Tensor  # (B, T, P)
    lengths: Tensor  # (B,)
    log_final: Tensor  # (B|1, K)
    emission_index: Tensor | None  # (B|1, K)

    def detach(self) -> "Problem":
        """Return the same values without their history."""
        return self._replace(
            log_initial=self.log_initial.detach(),
            log_weight=self.log_weight.detach(),
            log_emission=self.log_emission.detach(),
            log_final=self.log_final.detach(),
        )


# Rules of one argument: symbolic shape -> sizes; None admits any size.
_Shapes = dict[str, tuple[int | None, ...]]


def _check_shape(name: str, tensor: Tensor, shapes: _Shapes, source: str) -> None:
    """Refuse a shape that no rule admits; name the rule with the same number of axes, or all of them."""
    actual = tuple(tensor.shape)
    rules = {letters: sizes for letters, sizes in shapes.items() if len(sizes) == len(actual)}
    for sizes in rules.values():
        if all(want is None or want == have for want, have in zip(sizes, actual, strict=True)):
            return
    if len(rules) == 1:
        letters, sizes = next(iter(rules.items()))
        numbers = ", ".join("any" if size is None else str(size) for size in sizes)
        rule = f"{letters} = ({numbers}{',' if len(sizes) == 1 else ''})"
    else:
        rule = " or ".join(shapes)
    raise ValueError(f"{name} must have shape {rule}, {source}; got {actual}")


def _check_tensor(name: str, tensor: object) -> Tensor:
    """Refuse what is not a tensor."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a Tensor; got {type(tensor).__name__}")
    return tensor


def _floating(name: str, tensor: object, like: Tensor | None) -> Tensor:
    """Compute in float32 or float64; refuse other dtypes and devices than those of log_emission."""
    tensor = _check_tensor(name, tensor)
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must have a floating dtype; got {tensor.dtype}")
    if tensor.dtype in {torch.float16, torch.bfloat16}:
        tensor = tensor.to(torch.float32)
    if like is not None:
        if tensor.dtype != like.dtype:
            raise TypeError(f"{name} must have dtype {like.dtype} like log_emission; got {tensor.dtype}")
        if tensor.device != like.device:
            raise ValueError(f"{name} must be on {like.device} like log_emission; got {tensor.device}")
    return tensor


def _integer(name: str, tensor: object, like: Tensor) -> Tensor:
    """Integers as int64, on the device of log_emission."""
    tensor = _check_tensor(name, tensor)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{name} must have dtype torch.int64; got {tensor.dtype}")
    if tensor.device != like.device:
        raise ValueError(f"{name} must be on {like.device} like log_emission; got {tensor.device}")
    return tensor.to(torch.int64)


def _check_range(name: str, tensor: Tensor, letters: str, high: int) -> None:
    """Refuse integers outside 0..high, naming the first one."""
    if not tensor.numel():
        return
    smallest, largest = (int(bound) for bound in tensor.aminmax())
    if smallest < 0 or largest > high:
        where = tuple(((tensor < 0) | (tensor > high)).nonzero()[0].tolist())
        raise ValueError(
            f"{name} must lie in 0..{letters} = 0..{high}; got {int(tensor[where])} at {list(where)}"
        )


def _check_values(name: str, tensor: Tensor, ignored: Tensor | None = None) -> None:
    """Refuse NaN and +inf, except where the values are never read."""
    # One reduction without temporaries tells both: amax propagates NaN.
    if not tensor.numel() or bool(tensor.detach().amax() < torch.inf):
        return
    wrong = tensor.isnan() | (tensor == torch.inf)
    if ignored is not None:
        wrong = wrong & ~ignored
    if wrong.any():
        where = tuple(wrong.nonzero()[0].tolist())
        raise ValueError(f"{name} must not hold NaN or +inf; got {float(tensor[where])} at {list(where)}")


def _transition(
    log_transition: object, log_emission: Tensor, K: int, source: str
) -> tuple[Tensor | None, Tensor, str]:
    """Predecessors (None if dense), weights, and the name of the weights for messages."""
    B, T, _ = log_emission.shape
    predecessors, columns, column, name = None, K, "K", "log_transition"
    if isinstance(log_transition, Sparse):
        predecessors = _integer("log_transition.predecessors", log_transition.predecessors, log_emission)
        columns, column, name = log_transition.num_slots, "R", "log_transition.log_weight"
        slots: _Shapes = {"(K, R)": (K, columns), "(B, K, R)": (B, K, columns)}
        _check_shape("log_transition.predecessors", predecessors, slots, source)
        log_transition = log_transition.log_weight
    elif not isinstance(log_transition, Tensor):
        raise TypeError(f"log_transition must be a Tensor or Sparse; got {type(log_transition).__name__}")
    weight = _floating(name, log_transition, log_emission)
    sequences = 1 if weight.ndim == 4 and weight.shape[0] == 1 else B
    matrix: _Shapes = {
        f"(K, {column})": (K, columns),
        f"(B, K, {column})": (B, K, columns),
        f"(B, T-1, K, {column})": (sequences, max(T - 1, 0), K, columns),
    }
    _check_shape(name, weight, matrix, source)
    return predecessors, weight, name


def canonical(
    log_initial: Tensor,
    log_transition: Tensor | Sparse,
    log_emission: Tensor,
    lengths: Tensor | None,
    log_final: Tensor | None,
    emission_index: Tensor | None,
) -> Problem:
    """Check the arguments of an operation and bring them into canonical form without copying."""
    log_emission = _floating("log_emission", log_emission, None)
    if log_emission.ndim != 3 or log_emission.shape[2] == 0:
        raise ValueError(
            f"log_emission must have shape (B, T, P) with P at least 1; got {tuple(log_emission.shape)}"
        )
    B, T, P = log_emission.shape
    K, source = P, f"with K from log_emission (B, T, K) = {(B, T, P)}"
    if emission_index is not None:
        emission_index = _integer("emission_index", emission_index, log_emission)
        batch = f"with B from log_emission (B, T, P) = {(B, T, P)}"
        _check_shape("emission_index", emission_index, {"(K,)": (None,), "(B, K)": (B, None)}, batch)
        K = emission_index.shape[-1]
        letters = "(K,)" if emission_index.ndim == 1 else "(B, K)"
        source = f"with K from emission_index {letters} = {tuple(emission_index.shape)}"

    log_initial = _floating("log_initial", log_initial, log_emission)
    vector: _Shapes = {"(K,)": (K,), "(B, K)": (B, K)}
    _check_shape("log_initial", log_initial, vector, source)
    if log_final is None:
        log_final = torch.zeros((1, K), dtype=log_emission.dtype, device=log_emission.device)
    else:
        log_final = _floating("log_final", log_final, log_emission)
        _check_shape("log_final", log_final, vector, source)

    predecessors, weight, name = _transition(log_transition, log_emission, K, source)

    if lengths is None:
        lengths = torch.full((B,), T, dtype=torch.int64, device=log_emission.device)
    else:
        lengths = _integer("lengths", lengths, log_emission)
        batch = f"with B from log_emission (B, T, P) = {(B, T, P)}"
        _check_shape("lengths", lengths, {"(B,)": (B,)}, batch)

    if values_are_readable():
        _check_range("lengths", lengths, "T", T)
        if emission_index is not None:
            _check_range("emission_index", emission_index, "P-1", P - 1)
        padding = (torch.arange(T, device=lengths.device) >= lengths[:, None])[..., None]
        _check_values("log_initial", log_initial)
        _check_values(name, weight, None if predecessors is None else predecessors < 0)
        _check_values("log_emission", log_emission, padding)
        _check_values("log_final", log_final)
    return Problem(
        log_initial if log_initial.ndim == 2 else log_initial[None],
        predecessors if predecessors is None or predecessors.ndim == 3 else predecessors[None],
        weight if weight.ndim == 4 else (weight[None, None] if weight.ndim == 2 else weight[:, None]),
        log_emission,
        lengths,
        log_final if log_final.ndim == 2 else log_final[None],
        emission_index if emission_index is None or emission_index.ndim == 2 else emission_index[None],
    )
