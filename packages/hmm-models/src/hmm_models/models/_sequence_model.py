"""What all models of sequences share: scores of the frames, and training by EM."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from hmm_models._report import UpdateReport
from hmm_models.emissions._accumulation import check_shares
from hmm_models.emissions._emission import Emission, TrainableEmission
from hmm_models.training._em import FitResult, SequenceStatistics, run_em


class Frames(NamedTuple):
    """Checked observations of a batch; what is not valid or not observed is 0."""

    x: Tensor  # (B, T, ...)
    valid: Tensor  # (B, T)
    weight: Tensor  # (B,) float64, of the sequences
    frame_weight: Tensor | None  # (B, T), of the frames; 0 where a frame is missing
    observed: Tensor | None  # (B, T, D), where single dimensions are missing
    allowed: Tensor | None  # (B, T, K)


class SequenceModel(nn.Module, ABC):
    """A model of ragged batches of sequences whose states read the densities of ``emission``.

    What follows each other, and for how long, is up to the subclass. Every method takes the same description
    of the data:

    Parameters
    ----------
    x : Tensor, shape (B, T, ...)
        Observations, (B, T, D) features in most models.
    lengths : Tensor of int64, shape (B,), optional
        Valid frames of each sequence, 0..T; all if omitted. What stands behind the end is never read.
    observed : Tensor of bool, shape (B, T) or (B, T, D), optional
        False where a frame, or one of its dimensions, is missing: the state goes on, the observation is
        marginalised. The values there are never read and may be NaN. Single dimensions need an emission
        that takes ``observed``.
    allowed : Tensor of bool, shape (B, T, K), optional
        States that each frame may be in: labels of some frames for semi-supervised training.
    frame_weights : Tensor, shape (B, T), optional
        A frame of weight w counts w times: its log-density is multiplied by w, and so is its share in the
        statistics of the emission. Finite and >= 0.
    """

    emission: nn.Module

    @property
    @abstractmethod
    def num_states(self) -> int:
        """K."""

    @abstractmethod
    def log_likelihood(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        *,
        observed: Tensor | None = None,
        allowed: Tensor | None = None,
        frame_weights: Tensor | None = None,
    ) -> Tensor:
        """Log-likelihood (B,) of each sequence."""

    @abstractmethod
    def accumulate(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        weights: Tensor | None = None,
        *,
        observed: Tensor | None = None,
        allowed: Tensor | None = None,
        frame_weights: Tensor | None = None,
    ) -> SequenceStatistics:
        """Collect what ``update`` needs (E-step)."""

    @abstractmethod
    def update(self, statistics: Any, **options: Any) -> UpdateReport:  # noqa: ANN401  (of the subclass)
        """Replace the parameters by the most likely ones given the statistics (M-step)."""

    @abstractmethod
    def zero_statistics(self, device: torch.device | None = None) -> SequenceStatistics:
        """Statistics of no data, to add to."""

    @abstractmethod
    def is_left_to_right(self) -> bool:
        """Whether every sequence starts in the first state and never goes back."""

    def _frames(
        self,
        x: Tensor,
        lengths: Tensor | None,
        weights: Tensor | None = None,
        *,
        observed: Tensor | None,
        allowed: Tensor | None,
        frame_weights: Tensor | None,
    ) -> Frames:
        """Check shapes, and put zeros where nothing may be read."""
        D = getattr(self.emission, "feature_dim", None)
        if x.ndim < 2 or (D is not None and (x.ndim != 3 or x.shape[2] != D)):
            letters = "(B, T, ...)" if D is None else f"(B, T, D) = (B, T, {D})"
            raise ValueError(f"x must have shape {letters}; got {tuple(x.shape)}")
        B, T = x.shape[:2]
        readable = valid = _valid_frames(x, lengths)
        if frame_weights is not None:
            check_shares("frame_weights", frame_weights, "(B, T)", (B, T))
            frame_weights = frame_weights.to(x.device)
        if observed is not None:
            _check_mask("observed", observed, x.shape[: min(max(observed.ndim, 2), x.ndim)])
            observed = observed.to(x.device)
            if observed.ndim == 2:
                readable = readable & observed
                seen = observed.double()
                frame_weights = seen if frame_weights is None else frame_weights * seen
                observed = None
        if allowed is not None:
            _check_mask("allowed", allowed, (B, T, self.num_states))
        if readable is not valid or lengths is not None:
            x = x.masked_fill(~readable.view(B, T, *[1] * (x.ndim - 2)), 0)
        if observed is not None:
            x = x.masked_fill(~observed, 0)
        weight = torch.ones(B, dtype=torch.float64, device=x.device)
        if weights is not None:
            check_shares("weights", weights, "(B,)", (B,))
            weight = weights.to(weight)
        return Frames(x, valid, weight, frame_weights, observed, allowed)

    def _score(self, frames: Frames) -> Tensor:
        """Log-density (B, T, K) of each state in each frame, as far as weights and labels let it speak."""
        emission = cast(Emission, self.emission)
        options = {} if frames.observed is None else {"observed": frames.observed}
        log_emission = emission.log_prob(frames.x, **options)
        if frames.frame_weight is not None:
            weight = frames.frame_weight.to(log_emission).unsqueeze(-1)
            # No product with a density of 0 where nothing was seen.
            missing = weight == 0.0
            log_emission = torch.where(missing, 0.0, log_emission.masked_fill(missing, 0.0) * weight)
        if frames.allowed is not None:
            log_emission = log_emission.masked_fill(~frames.allowed.to(log_emission.device), -torch.inf)
        return log_emission

    def _trainable(self) -> TrainableEmission:
        """Return the emission, if EM can train it."""
        if not isinstance(self.emission, TrainableEmission):
            raise TypeError(
                f"emission must have zero_statistics, accumulate, update, initialize and rounding for EM; "
                f"{type(self.emission).__name__} lacks some: train by gradient descent"
            )
        return self.emission

    def _accumulate_emission(self, frames: Frames, state: Tensor) -> Any:  # noqa: ANN401  (the emission's)
        """Statistics of the emission from posteriors (B, T, K)."""
        share = state * frames.weight[:, None, None]
        if frames.frame_weight is not None:
            share = share * frames.frame_weight.to(share).unsqueeze(-1)
        emission, valid = self._trainable(), frames.valid
        options: dict[str, Any] = {} if frames.observed is None else {"observed": frames.observed[valid]}
        if hasattr(emission, "working_dtype"):
            options["dtype"] = frames.x.dtype
        if bool(valid.all()):
            return emission.accumulate(frames.x.flatten(0, 1), share.flatten(0, 1), **options)
        return emission.accumulate(frames.x[valid], share[valid], **options)

    def _working(self, x: Tensor) -> Tensor:
        """Observations as the E-step reads them: in float64, unless the emission says that less suffices."""
        choose = getattr(self.emission, "working_dtype", None)
        if not x.is_floating_point():
            return x
        return x.to(torch.float64 if choose is None else choose(x.dtype))

    @torch.no_grad()
    def initialize(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        weights: Tensor | None = None,
        *,
        seed: int = 0,
        observed: Tensor | None = None,
        allowed: Tensor | None = None,
        frame_weights: Tensor | None = None,
        **options: Any,  # noqa: ANN401  (those of the emission)
    ) -> None:
        """Start the emissions from data; the probabilities of starts and steps stay as they are.

        Parameters
        ----------
        x, lengths, observed, allowed, frame_weights
            The data, see ``SequenceModel``.
        weights : Tensor, shape (B,), optional
            Weight of each sequence, finite and >= 0; 1 if omitted.
        seed : int, default 0
            Of whatever is drawn; the same seed gives the same start.
        **options
            Of the emission's ``initialize``, such as ``variance_floor`` of Gaussians.

        Raises
        ------
        TypeError
            If EM cannot train the emission, or an option is unknown.
        ValueError
            If shapes disagree, a value is out of range, or no frame is valid.

        Notes
        -----
        A left-to-right model cuts each sequence into equal parts, one per state; in any other the emission
        groups the frames itself (Gaussians: k-means++ on standardised features). Frames whose label names
        one state start in that state.
        """
        frames = self._frames(
            x, lengths, weights, observed=observed, allowed=allowed, frame_weights=frame_weights
        )
        share = frames.weight.unsqueeze(-1).expand_as(frames.valid)
        if frames.frame_weight is not None:
            share = share * frames.frame_weight
        used = frames.valid & (share > 0.0)
        if not bool(used.any()):
            raise ValueError("x must hold at least one valid frame of positive weight; got none")
        state = None
        if self.is_left_to_right():
            state = torch.zeros_like(frames.valid, dtype=torch.int64)
            state[frames.valid] = _segment(frames.valid.sum(1), self.num_states)
            state = state[used]
        if frames.allowed is not None:
            labels = frames.allowed.to(used.device)[used]
            if bool((labels.sum(-1) == 1).all()):
                state = labels.int().argmax(-1)
        emission = self._trainable()
        if frames.observed is not None:
            options["observed"] = frames.observed[used]
        generator = torch.Generator().manual_seed(seed)
        emission.initialize(frames.x[used], share[used], state, generator, **options)

    def fit(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        weights: Tensor | None = None,
        *,
        max_iterations: int = 100,
        tolerance: float = 1e-4,
        initialize: bool = True,
        seed: int = 0,
        batch_size: int | None = None,
        observed: Tensor | None = None,
        allowed: Tensor | None = None,
        frame_weights: Tensor | None = None,
        **options: Any,  # noqa: ANN401  (those of the emission)
    ) -> FitResult:
        """Train by expectation-maximisation (Baum-Welch).

        Parameters
        ----------
        x, lengths, observed, allowed, frame_weights
            The data, see ``SequenceModel``.
        weights : Tensor, shape (B,), optional
            Weight of each sequence, finite and >= 0; 1 if omitted.
        max_iterations : int, default 100
            Updates, at most.
        tolerance : float, default 1e-4
            Stop when an update gains less, in nats per frame.
        initialize : bool, default True
            Call ``initialize`` first, with ``seed``; False continues from the present parameters.
        seed : int, default 0
            See ``initialize``.
        batch_size : int, optional
            Sequences per pass of the E-step, to bound memory; all if omitted. Changes nothing else.
        **options
            Of the emission's ``initialize`` and ``update``, such as ``variance_floor`` and ``min_occupancy``
            of Gaussians.

        Returns
        -------
        FitResult
            The likelihood after each update, and what the updates reported.

        Raises
        ------
        TypeError
            If EM cannot train the emission, or an option is unknown.
        ValueError
            If shapes disagree, a value is out of range, or no path can produce one of the sequences.
        LikelihoodDecreaseError
            If an update lowers the likelihood by more than the rounding of the parameters explains.

        Notes
        -----
        The likelihood never falls, floored variances included; only an update that removes components may
        lower it, and reports them. With a ``prior`` it is the sum of both logarithms that never falls.

        References
        ----------
        .. [1] L. R. Rabiner, "A tutorial on hidden Markov models and selected applications in speech
           recognition", Proc. IEEE 77(2), 1989.
        """
        emission = self._trainable()
        starting, updating = _split_options(emission, options)
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be >= 1; got {batch_size}")
        data: dict[str, Tensor | None] = {
            "observed": observed,
            "allowed": allowed,
            "frame_weights": frame_weights,
        }
        if initialize:
            self.initialize(x, lengths, weights, seed=seed, **data, **starting)
        step = batch_size or max(len(x), 1)

        def accumulate() -> SequenceStatistics:
            total = self.zero_statistics(x.device)
            for start in range(0, len(x), step):
                part = [
                    None if value is None else value[start : start + step]
                    for value in (lengths, weights, *data.values())
                ]
                total += self.accumulate(
                    x[start : start + step], part[0], part[1], **dict(zip(data, part[2:], strict=True))
                )
            return total

        def penalty() -> float:
            prior = updating.get("prior")
            return 0.0 if prior is None else cast(Any, emission).log_prior(prior)

        self._refuse_impossible(x, lengths, weights, data)
        return run_em(
            accumulate,
            lambda statistics: self.update(statistics, **updating),
            emission.rounding,
            max_iterations,
            tolerance,
            penalty,
        )

    @torch.no_grad()
    def _refuse_impossible(
        self, x: Tensor, lengths: Tensor | None, weights: Tensor | None, data: dict[str, Tensor | None]
    ) -> None:
        """Name the sequences that no path can produce: EM could not learn from them."""
        impossible = self.log_likelihood(x, lengths, **data) == -torch.inf
        if weights is not None:
            impossible &= weights.to(impossible.device) > 0.0
        if bool(impossible.any()):
            raise ValueError(
                f"no path of the model can produce sequences {impossible.nonzero().flatten().tolist()}: "
                "each must be as long as the shortest path from a start to an end; leave them out"
            )


def _valid_frames(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Mask (B, T) of the frames before the ends."""
    B, T = x.shape[:2]
    if lengths is None:
        return torch.ones((B, T), dtype=torch.bool, device=x.device)
    if lengths.shape != (B,):
        raise ValueError(
            f"lengths must have shape (B,) = ({B},), with B from x (B, T, ...) = {tuple(x.shape)}; "
            f"got {tuple(lengths.shape)}"
        )
    return torch.arange(T, device=x.device) < lengths.to(x.device).unsqueeze(-1)


def _segment(lengths: Tensor, num_states: int) -> Tensor:
    """States of the frames of all sequences, one after the other: each sequence in equal parts."""
    parts = [torch.arange(n) * num_states // n for n in lengths.tolist() if n]
    return torch.cat(parts).to(lengths.device)


def _check_mask(name: str, mask: Tensor, shape: tuple[int, ...] | torch.Size) -> None:
    """Refuse what is no mask of a shape."""
    if mask.dtype != torch.bool or mask.shape != torch.Size(shape):
        raise ValueError(
            f"{name} must be bool of shape {tuple(shape)}; got {mask.dtype} of shape {tuple(mask.shape)}"
        )


def _split_options(
    emission: TrainableEmission, options: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Deal options out to the emission's ``initialize`` and ``update``; refuse those that neither takes."""
    starting, updating = _keywords(emission.initialize), _keywords(emission.update)
    unknown = sorted(options.keys() - starting - updating)
    if unknown:
        known = sorted((starting | updating) - {"observed"})
        raise TypeError(f"options of {type(emission).__name__} are {known}; got {unknown}")
    return (
        {name: value for name, value in options.items() if name in starting},
        {name: value for name, value in options.items() if name in updating},
    )


def _keywords(function: Callable[..., object]) -> set[str]:
    """Names of the keyword-only parameters."""
    parameters = inspect.signature(function).parameters.values()
    return {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
