"""What is computed in a benchmark: an instance that names itself."""

from dataclasses import dataclass, fields
from typing import Self

_HMM = ("states",)
_SEMI_MARKOV = ("states", "durations")
_CTC = ("densities", "tokens")
_WARPING = ("tokens",)

# Every computation, and the sizes beyond B and T that it has.
SIZES = {
    "log_likelihood": _HMM,
    "gradient": _HMM,
    "posterior": _HMM,
    "viterbi": _HMM,
    "filter": _HMM,
    "em": ("states", "mixtures", "features"),
    "semi_markov_log_likelihood": _SEMI_MARKOV,
    "semi_markov_viterbi": _SEMI_MARKOV,
    "ctc_alignment": _CTC,
    "ctc_loss": _CTC,
    "ctc_decode": _CTC,
    "dtw": _WARPING,
    "soft_dtw": _WARPING,
}
# Sizes that a computation may have.
_OPTIONAL = {"filter": ("chunk",), "dtw": ("features",), "soft_dtw": ("features",)}
_CHOICES = {
    "op": tuple(SIZES),
    "topology": ("dense", "chain", "skip"),
    "dtype": ("float32", "float64"),
}
_KEYS = {
    "batch": "B",
    "frames": "T",
    "states": "K",
    "densities": "P",
    "tokens": "N",
    "durations": "L",
    "mixtures": "M",
    "features": "D",
}
_ALWAYS = ("op", "batch", "frames", "topology", "dtype", "threads", "seed")


@dataclass(frozen=True)
class Instance:
    """One computation, complete enough to be repeated; ``str()`` and :meth:`parse` are inverses.

    Parameters
    ----------
    op : str
        ``"log_likelihood"``, its ``"gradient"`` with respect to emissions and transitions, ``"posterior"``,
        ``"viterbi"``, ``"filter"`` (frames that arrive one after the other), ``"em"`` (one iteration with
        diagonal Gaussian mixtures), likelihoods and paths with explicit durations as
        ``"semi_markov_log_likelihood"`` and ``"semi_markov_viterbi"``, ``"ctc_alignment"``, ``"ctc_loss"``
        with its gradient, ``"ctc_decode"`` with a beam of 16, ``"dtw"`` with its path, ``"soft_dtw"`` with
        its gradient.
    batch, frames : int
        B sequences of T frames each.
    states : int, default 0
        K, for Markov and semi-Markov models.
    topology : {"dense", "chain", "skip"}, default "dense"
        All arcs; each state to itself and the next one; the same and the one after that. The latter two start
        in the first state and end in the last, as an aligner does.
    dtype : {"float32", "float64"}, default "float32"
        Of the emissions and parameters.
    threads : int, default 1
        Threads that an implementation may use.
    seed : int, default 0
        Of the random numbers.
    densities : int, default 0
        P, the symbols of CTC with the blank.
    tokens : int, default 0
        N, the targets of CTC, or the frames of the other sequence of DTW.
    durations : int, default 0
        L, the longest duration of a semi-Markov model.
    features : int, default 0
        D, where DTW begins with feature vectors; 0 where it is given costs. Of the frames of EM.
    chunk : int, default 0
        Frames that the filter is given at a time; 0 is one.
    mixtures : int, default 0
        M, the Gaussians of a state.

    Raises
    ------
    ValueError
        If a value is not one of these, or the operation lacks a size or has one too many.

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
    states: int = 0
    topology: str = "dense"
    dtype: str = "float32"
    threads: int = 1
    seed: int = 0
    densities: int = 0
    tokens: int = 0
    durations: int = 0
    features: int = 0
    chunk: int = 0
    mixtures: int = 0

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}; got {getattr(self, name)!r}")
        needed = ("batch", "frames", "threads", *SIZES[self.op])
        for name in needed:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")
        for name in set(_KEYS) - set(needed) | {"chunk"}:
            size = getattr(self, name)
            if size < 0 or (size and name not in _OPTIONAL.get(self.op, ())):
                raise ValueError(f"{name} is no size of {self.op}; got {size}")

    def __str__(self) -> str:
        """All parameters as ``key=value``, with letters for the sizes, left out where they are 0."""
        order = sorted(fields(self), key=lambda field: field.name in {"topology", "dtype", "threads", "seed"})
        return " ".join(
            f"{_KEYS.get(field.name, field.name)}={getattr(self, field.name)}"
            for field in order
            if field.name in _ALWAYS or getattr(self, field.name)
        )

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
        missing = [key for key in ("op", "B", "T") if kinds[key].name not in values]
        if missing:
            raise ValueError(f"an instance needs op, B and T; {text!r} lacks {', '.join(missing)}")
        return cls(**values)  # type: ignore[arg-type]  # the types of the values were chosen by the fields
