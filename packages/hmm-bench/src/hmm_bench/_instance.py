"""What is computed in a benchmark: an instance that names itself, and the tensors it stands for."""

from dataclasses import dataclass, fields
from typing import NamedTuple, Self

import torch
from torch import Tensor

from hmm_core import Sparse, left_to_right, skip

_CHOICES = {
    "op": ("viterbi", "log_likelihood", "posterior"),
    "topology": ("dense", "chain", "skip"),
    "dtype": ("float32", "float64"),
}
_KEYS = {"batch": "B", "frames": "T", "states": "K"}


@dataclass(frozen=True)
class Instance:
    """One computation, complete enough to be repeated; ``str()`` and :meth:`parse` are inverses.

    Parameters
    ----------
    op : {"viterbi", "log_likelihood", "posterior"}
        The operation of hmm-core.
    batch, frames, states : int
        B sequences of T frames each, K states.
    topology : {"dense", "chain", "skip"}, default "dense"
        All arcs; each state to itself and the next one; the same and the one after that. The latter two start
        in the first state and end in the last, as an aligner does.
    dtype : {"float32", "float64"}, default "float32"
        Of the emissions and parameters.
    threads : int, default 1
        Threads that an implementation may use.
    seed : int, default 0
        Of the random numbers.

    Raises
    ------
    ValueError
        If a value is not one of these.

    Examples
    --------
    >>> instance = Instance("viterbi", batch=32, frames=1000, states=100, topology="chain")
    >>> print(instance)
    op=viterbi B=32 T=1000 K=100 topology=chain dtype=float32 threads=1 seed=0
    >>> Instance.parse(str(instance)) == instance
    True
    """

    op: str
    batch: int
    frames: int
    states: int
    topology: str = "dense"
    dtype: str = "float32"
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}; got {getattr(self, name)!r}")
        for name in ("batch", "frames", "states", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")

    def __str__(self) -> str:
        """All parameters as ``key=value``, with B, T and K for the sizes."""
        return " ".join(f"{_KEYS.get(f.name, f.name)}={getattr(self, f.name)}" for f in fields(self))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what ``str()`` wrote; keys in any order, those with a default may be missing.

        Parameters
        ----------
        text : str
            Such as ``"op=viterbi B=32 T=1000 K=100"``.

        Returns
        -------
        Instance
            The instance.

        Raises
        ------
        ValueError
            If a key is unknown, missing or repeated, or a value is not possible.
        """
        kinds = {_KEYS.get(f.name, f.name): f for f in fields(cls)}
        values: dict[str, str | int] = {}
        for part in text.split():
            key, _, value = part.partition("=")
            if key not in kinds or kinds[key].name in values:
                raise ValueError(
                    f"an instance has each of {', '.join(kinds)} once, as key=value; got {part!r}"
                )
            values[kinds[key].name] = int(value) if kinds[key].type in {int, "int"} else value
        missing = [key for key in ("op", "B", "T", "K") if kinds[key].name not in values]
        if missing:
            raise ValueError(f"an instance needs op, B, T and K; {text!r} lacks {', '.join(missing)}")
        return cls(**values)  # type: ignore[arg-type]  # the types of the values were chosen by the fields


class Workload(NamedTuple):
    """The tensors of an instance, as the operations of hmm-core take them.

    Attributes
    ----------
    log_initial : Tensor, shape (K,)
        Uniform if dense, else the first state.
    log_transition : Tensor, shape (K, K), or Sparse
        Sparse for the topologies that are.
    log_emission : Tensor, shape (B, T, K)
        Log-softmax of normal random numbers with a standard deviation of 3.
    log_final : Tensor, shape (K,)
        0 if dense, else the last state.
    """

    log_initial: Tensor
    log_transition: Tensor | Sparse
    log_emission: Tensor
    log_final: Tensor

    def to(self, dtype: torch.dtype) -> "Workload":
        """Return the same numbers in another precision."""
        transition = self.log_transition
        return Workload(
            self.log_initial.to(dtype),
            transition.to(dtype=dtype) if isinstance(transition, Sparse) else transition.to(dtype),
            self.log_emission.to(dtype),
            self.log_final.to(dtype),
        )


def make_workload(instance: Instance) -> Workload:
    """Make the tensors of an instance, the same ones every time.

    Parameters
    ----------
    instance : Instance
        Which ones.

    Returns
    -------
    Workload
        In the dtype of the instance.

    Examples
    --------
    >>> make_workload(Instance("viterbi", batch=2, frames=5, states=3)).log_emission.shape
    torch.Size([2, 5, 3])
    """
    K = instance.states
    generator = torch.Generator().manual_seed(instance.seed)
    shape = (instance.batch, instance.frames, K)
    log_emission = (3 * torch.randn(shape, generator=generator, dtype=torch.float64)).log_softmax(2)
    log_initial, log_final = torch.full((2, K), -torch.inf, dtype=torch.float64)
    log_initial[0] = log_final[-1] = 0.0
    log_transition: Tensor | Sparse
    if instance.topology == "chain":
        log_transition = left_to_right(K, 0.5)
    elif instance.topology == "skip":
        log_transition = skip(K, 0.5, 0.3, 0.2)
    else:
        log_transition = torch.randn((K, K), generator=generator, dtype=torch.float64).log_softmax(1)
        log_initial = torch.zeros(K, dtype=torch.float64).log_softmax(0)
        log_final = torch.zeros(K, dtype=torch.float64)
    dtype = torch.float64 if instance.dtype == "float64" else torch.float32
    return Workload(log_initial, log_transition, log_emission, log_final).to(dtype)
