"""How many states, how many components: by information criteria or by held-out likelihood."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from hmm_models.models._em_sequence_model import EMSequenceModel
from hmm_models.models._gaussian_hmm import GaussianHMM
from hmm_models.transitions._topology import Topology

_AnyModel = EMSequenceModel[Any, Any]
Criterion = Literal["aic", "bic", "hqc", "cross_validation"]


class Selection(NamedTuple):
    """What was chosen, and why."""

    best: int
    """The candidate with the best score; the smallest of equals."""
    scores: dict[int, float]
    """Of every candidate: the criterion, the lower the better; or the log-likelihood of a frame that was held
    out, the higher the better."""


def select_num_states(
    x: Tensor,
    lengths: Tensor | None = None,
    candidates: Sequence[int] = (2, 3, 4, 5, 6, 8, 10),
    *,
    criterion: Criterion = "bic",
    num_mixtures: int = 1,
    covariance_type: str = "diag",
    topology: str = "ergodic",
    num_folds: int = 5,
    num_restarts: int = 3,
    seed: int = 0,
) -> Selection:
    """Choose the number of states of a ``GaussianHMM``.

    Parameters
    ----------
    x : Tensor, shape (B, T, D)
        Features.
    lengths : Tensor of int64, shape (B,), optional
        Valid frames of each sequence; all if omitted.
    candidates : sequence of int
        Numbers of states to try, >= 1.
    criterion : {"aic", "bic", "hqc", "cross_validation"}, default "bic"
        See ``EMSequenceModel.bic`` and its sisters; or the mean log-likelihood of a frame of sequences that
        were held out.
    num_mixtures, covariance_type, topology
        Of the models.
    num_folds : int, default 5
        Parts of the sequences that are held out in turn, at most as many as there are sequences; only for
        ``"cross_validation"``.
    num_restarts : int, default 3
        Starts of EM for each candidate, with seeds of their own; the likeliest counts.
    seed : int, default 0
        Of the starts.

    Returns
    -------
    Selection
        The best candidate and all scores.

    Raises
    ------
    ValueError
        If there is no candidate, a name is unknown, or fewer than two sequences are to be divided.

    Examples
    --------
    >>> import torch
    >>> truth = GaussianHMM(3, 1)
    >>> with torch.no_grad():
    ...     _ = truth.emission.mean.copy_(torch.tensor([-4.0, 0.0, 4.0]).view(3, 1, 1))
    >>> x = truth.sample(100, 4, generator=torch.Generator().manual_seed(0)).features
    >>> select_num_states(x, candidates=(1, 2, 3, 4)).best
    3
    """

    def make(num_states: int) -> _AnyModel:
        return GaussianHMM(
            num_states, x.shape[-1], num_mixtures, covariance_type=covariance_type, topology=topology
        ).to(x)

    return _select(make, x, lengths, candidates, criterion, num_folds, num_restarts, seed)


def select_num_mixtures(
    x: Tensor,
    lengths: Tensor | None = None,
    candidates: Sequence[int] = (1, 2, 4, 8),
    *,
    num_states: int,
    criterion: Criterion = "bic",
    covariance_type: str = "diag",
    topology: str | Topology = "ergodic",
    num_folds: int = 5,
    num_restarts: int = 3,
    seed: int = 0,
) -> Selection:
    """Choose the number of mixture components of each state of a ``GaussianHMM``.

    Parameters
    ----------
    x : Tensor, shape (B, T, D)
        Features.
    lengths : Tensor of int64, shape (B,), optional
        Valid frames of each sequence; all if omitted.
    candidates : sequence of int
        Numbers of components to try, >= 1.
    num_states : int
        K.
    criterion, covariance_type, topology, num_folds, num_restarts, seed
        See ``select_num_states``.

    Returns
    -------
    Selection
        The best candidate and all scores.

    Raises
    ------
    ValueError
        As ``select_num_states``.

    Examples
    --------
    >>> import torch
    >>> generator = torch.Generator().manual_seed(0)
    >>> x = torch.randn(4, 100, 1, generator=generator)
    >>> x += 6.0 * torch.randint(0, 2, x.shape, generator=generator)  # two heaps, in no order
    >>> select_num_mixtures(x, candidates=(1, 2, 3), num_states=1).best
    2
    """

    def make(num_mixtures: int) -> _AnyModel:
        return GaussianHMM(
            num_states, x.shape[-1], num_mixtures, covariance_type=covariance_type, topology=topology
        ).to(x)

    return _select(make, x, lengths, candidates, criterion, num_folds, num_restarts, seed)


def _select(
    make: Callable[[int], _AnyModel],
    x: Tensor,
    lengths: Tensor | None,
    candidates: Sequence[int],
    criterion: str,
    num_folds: int,
    num_restarts: int,
    seed: int,
) -> Selection:
    """Score every candidate."""
    if not candidates:
        raise ValueError("candidates must name at least one number; got none")
    if criterion not in {"aic", "bic", "hqc", "cross_validation"}:
        raise ValueError(f'criterion must be "aic", "bic", "hqc" or "cross_validation"; got {criterion!r}')
    if lengths is None:
        lengths = torch.full((len(x),), x.shape[1])
    scores = {}
    for candidate in candidates:
        if criterion == "cross_validation":
            scores[candidate] = _held_out(make, candidate, x, lengths, num_folds, num_restarts, seed)
        else:
            model = _best(make, candidate, x, lengths, num_restarts, seed)
            scores[candidate] = getattr(model, criterion)(x, lengths)
    sign = -1.0 if criterion == "cross_validation" else 1.0
    best = min(scores, key=lambda candidate: (sign * scores[candidate], candidate))
    return Selection(best, scores)


def _best(
    make: Callable[[int], _AnyModel],
    candidate: int,
    x: Tensor,
    lengths: Tensor,
    num_restarts: int,
    seed: int,
) -> _AnyModel:
    """Train from several starts and keep the likeliest model."""
    model = make(candidate)
    model.fit(x, lengths, seed=seed, restarts=max(1, num_restarts))
    return model


def _held_out(
    make: Callable[[int], _AnyModel],
    candidate: int,
    x: Tensor,
    lengths: Tensor,
    num_folds: int,
    num_restarts: int,
    seed: int,
) -> float:
    """Log-likelihood per frame of sequences that were not trained on."""
    B = len(x)
    if B < 2 or num_folds < 2:
        raise ValueError(f"cross_validation needs two sequences and two folds; got {B} and {num_folds}")
    fold = torch.arange(B) % min(num_folds, B)
    total = 0.0
    for part in range(min(num_folds, B)):
        rest = fold != part
        model = _best(make, candidate, x[rest], lengths[rest], num_restarts, seed)
        with torch.no_grad():
            total += float(model.log_likelihood(x[~rest], lengths[~rest]).double().sum())
    return total / max(1, int(lengths.sum()))
