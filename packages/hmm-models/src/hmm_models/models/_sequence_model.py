"""What all models of sequences share: scores of the frames, and training by EM."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from hmm_models._batches import Sequences, as_batch
from hmm_models.emissions._accumulation import check_shares
from hmm_models.emissions._emission import Emission, TrainableEmission
from hmm_models.emissions._lazy import LazyGaussianMixtures
from hmm_models.models._estimator import Estimator
from hmm_models.training._distributed import Processes
from hmm_models.training._em import FitResult
from hmm_models.training._sgd import run_sgd

# Of a TrainableEmission, beyond an Emission. Asking for them takes less time than isinstance.
_TRAINABLE = ("zero_statistics", "accumulate", "update", "initialize", "rounding")


class Frames(NamedTuple):
    """Checked observations of a batch; what is not valid or not observed is 0."""

    x: Tensor  # (B, T, ...)
    valid: Tensor  # (B, T)
    weight: Tensor  # (B,) float64, of the sequences
    frame_weight: Tensor | None  # (B, T), of the frames; 0 where a frame is missing
    observed: Tensor | None  # (B, T, D), where single dimensions are missing
    allowed: Tensor | None  # (B, T, K)


class SequenceModel(Estimator, ABC):
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

    Notes
    -----
    ``fit``, ``fit_sgd``, ``score``, ``predict`` and ``predict_proba``, the methods that scikit-learn knows,
    also take an array of numpy as ``x``, or a list of sequences (T_i, ...) without ``lengths``. Its
    ``get_params``, ``set_params`` and ``sklearn.base.clone`` work on the arguments of the class;
    ``history_``, ``converged_`` and ``n_iter_`` tell of the last fit, which returns a ``FitResult`` instead
    of the model.
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

    def _frames(
        self,
        x: Tensor,
        lengths: Tensor | None,
        weights: Tensor | None = None,
        *,
        observed: Tensor | None = None,
        allowed: Tensor | None = None,
        frame_weights: Tensor | None = None,
    ) -> Frames:
        """Check shapes, and put zeros where nothing may be read."""
        self._materialize(x, lengths, observed)
        D = self._feature_dim()
        if x.ndim < 2 or (D is not None and (x.ndim != 3 or x.shape[2] != D)):
            letters = "(B, T, ...)" if D is None else f"(B, T, D) = (B, T, {D})"
            raise ValueError(f"x must have shape {letters}; got {tuple(x.shape)}")
        B, T = x.shape[:2]
        readable = valid = valid_frames(x, lengths)
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

    def _feature_dim(self) -> int | None:
        """D, if observations are vectors."""
        return getattr(self.emission, "feature_dim", None)

    def _materialize(self, x: Tensor, lengths: Tensor | None, observed: Tensor | None) -> None:
        """Let the first batch tell the width of the features where that is open."""
        if isinstance(self.emission, LazyGaussianMixtures):
            self.emission.materialize(_frames_of(x, lengths, observed))

    def log_emission(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        *,
        observed: Tensor | None = None,
        allowed: Tensor | None = None,
        frame_weights: Tensor | None = None,
    ) -> Tensor:
        """Log-density of each state in each frame, what the recursions read.

        Parameters
        ----------
        x, lengths, observed, allowed, frame_weights
            The data, see ``SequenceModel``.

        Returns
        -------
        Tensor, shape (B, T, K)
            In nats; without meaning behind the ends. Differentiable.

        Raises
        ------
        ValueError
            If shapes disagree, a value is out of range, or a frame that is read is not finite.
        """
        return self._score(
            self._frames(x, lengths, observed=observed, allowed=allowed, frame_weights=frame_weights)
        )

    def _score(self, frames: Frames) -> Tensor:
        """Log-density (B, T, K) of each state in each frame."""
        emission = cast(Emission, self.emission)
        options = {} if frames.observed is None else {"observed": frames.observed}
        if options and "observed" not in keywords(emission.log_prob):
            raise TypeError(
                f"observed must have shape (B, T): {type(self.emission).__name__} cannot marginalise single "
                f"dimensions; got {tuple(options['observed'].shape)}"
            )
        return self._weigh(emission.log_prob(frames.x, **options), frames)

    def _weigh(self, log_emission: Tensor, frames: Frames) -> Tensor:
        """Apply the weights of the frames, and what their labels forbid."""
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
        if not all(hasattr(self.emission, name) for name in _TRAINABLE):
            raise TypeError(
                f"emission must have {', '.join(_TRAINABLE)} for EM; "
                f"{type(self.emission).__name__} lacks some: train by gradient descent"
            )
        return cast(TrainableEmission, self.emission)

    def _accumulate_emission(self, frames: Frames, share: Tensor) -> Any:  # noqa: ANN401  (the emission's)
        """Statistics of the emission from posteriors (B, T, K), times the weights of their sequences."""
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

    def _counting_dtype(self, frames: Frames) -> torch.dtype:
        """Dtype of the E-step's recursions: float64, unless the emission says that less suffices."""
        return frames.x.dtype if hasattr(self.emission, "working_dtype") else torch.float64

    @torch.no_grad()
    def score(self, x: Sequences, lengths: Tensor | None = None, **data: Tensor | None) -> float:
        """Total log-likelihood, as scikit-learn and hmmlearn name it.

        Parameters
        ----------
        x, lengths, **data
            The data, see ``SequenceModel``.

        Returns
        -------
        float
            In nats, of all sequences together.
        """
        x, lengths = as_batch(x, lengths)
        return float(self.log_likelihood(x, lengths, **data).double().sum())

    @torch.no_grad()
    def predict(self, x: Sequences, lengths: Tensor | None = None, **data: Tensor | None) -> Tensor:
        """States of the most likely path.

        Parameters
        ----------
        x, lengths, **data
            The data, see ``SequenceModel``.

        Returns
        -------
        Tensor of int64, shape (B, T)
            As ``viterbi`` gives them.
        """
        x, lengths = as_batch(x, lengths)
        return cast(Tensor, cast(Any, self).viterbi(x, lengths, **data).states)

    @torch.no_grad()
    def predict_proba(self, x: Sequences, lengths: Tensor | None = None, **data: Tensor | None) -> Tensor:
        """Probability of each state in each frame.

        Parameters
        ----------
        x, lengths, **data
            The data, see ``SequenceModel``.

        Returns
        -------
        Tensor, shape (B, T, K)
            As ``posterior`` gives them.
        """
        x, lengths = as_batch(x, lengths)
        return cast(Tensor, cast(Any, self).posterior(x, lengths, **data).state)

    def fit_sgd(
        self,
        x: Sequences,
        lengths: Tensor | None = None,
        weights: Tensor | None = None,
        *,
        optimizer: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer] = torch.optim.Adam,
        max_epochs: int = 100,
        batch_size: int | None = None,
        tolerance: float = 0.0,
        patience: int = 10,
        seed: int = 0,
        objective: Callable[..., Tensor] | None = None,
        checkpoint: bool = False,
        autocast: torch.dtype | None = None,
        process_group: ProcessGroup | None = None,
        distributed: bool = False,
        **data: Tensor | None,
    ) -> FitResult:
        """Train by gradient descent, on the negative log-likelihood per frame unless told otherwise.

        Parameters
        ----------
        x, lengths
            The data, see ``SequenceModel``.
        weights : Tensor, shape (B,), optional
            Weight of each sequence, finite and >= 0; 1 if omitted.
        optimizer : callable, default torch.optim.Adam
            Makes the optimizer of the parameters; ``functools.partial(torch.optim.SGD, lr=0.1)`` for another.
        max_epochs : int, default 100
            Passes over the data, at most.
        batch_size : int, optional
            Sequences in a step; all if omitted.
        tolerance : float, default 0.0
            Nats per frame by which the best epoch must be beaten to count as progress.
        patience : int, default 10
            Stop after so many epochs without progress.
        seed : int, default 0
            Of the order of the sequences.
        objective : callable, optional
            What to maximise instead: ``objective(model, x, lengths, **data)`` gives a value for each
            sequence, such as ``MMI``. It then stands in ``FitResult.log_likelihood``.
        checkpoint : bool, default False
            Compute forward messages again for the gradient instead of keeping them, see
            ``hmm_core.log_likelihood``; passed on to the objective.
        autocast : torch.dtype, optional
            Run networks in this dtype, such as ``torch.bfloat16``, by ``torch.autocast``; recursions and
            Gaussians compute in that of the parameters.
        process_group : torch.distributed.ProcessGroup, optional
            The processes that share the work; all of them if omitted.
        distributed : bool, default False
            Whether the data are this process's part: gradients are averaged over the processes of
            ``torch.distributed`` (by ``DistributedDataParallel``), each frame counting the same wherever it
            is. All start from the parameters of the first, end with the same ones, and take ``batch_size``
            sequences each in a step.
        **data : Tensor
            What else ``log_likelihood`` takes, with sequences along the first axis: ``observed``,
            ``allowed``, ``frame_weights``; ``context`` of a ``NeuralHMM``.

        Returns
        -------
        FitResult
            ``log_likelihood`` (or the objective) at the start and after each epoch, without priors;
            ``converged`` if the patience ran out. The model keeps the parameters of the best epoch.

        Raises
        ------
        FloatingPointError
            If the steps are so large that the loss is no number any more.
        RuntimeError
            If ``distributed`` without ``torch.distributed``.
        TypeError
            If ``checkpoint`` is asked of a model that cannot.
        ValueError
            If shapes disagree, a value is out of range, or no path can produce one of the sequences.

        Notes
        -----
        Start from ``initialize`` or ``fit``, or from parameters of your own. Gradients need no clipping: they
        are differences of expected counts per frame. Each epoch costs one more forward pass than it trains.
        Priors of tables count as in EM: the loss is the negative logarithm of likelihood and priors together,
        per frame. An objective of one's own replaces both; it can add ``log_prior``.
        """
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be >= 1; got {batch_size}")
        score: Callable[..., Tensor] = type(self).log_likelihood if objective is None else objective
        options = {"checkpoint": True} if checkpoint else {}
        if checkpoint and objective is None and "checkpoint" not in keywords(self.log_likelihood):
            raise TypeError(
                f"checkpoint must be False: {type(self).__name__}.log_likelihood does not take it"
            )
        x, lengths = as_batch(x, lengths)
        processes = Processes(distributed, process_group)
        frames = processes.check(lambda: self._frames(x, lengths, weights), x.device)
        processes.share(self)

        def evaluate(x: Tensor, lengths: Tensor | None, **data: Tensor | None) -> Tensor:
            with torch.autocast(x.device.type, dtype=autocast, enabled=autocast is not None):
                return score(self, x, lengths, **data, **options)

        processes.check(lambda: self._refuse_impossible(x, lengths, weights, data, evaluate), x.device)
        num_frames = processes.sum((frames.weight * frames.valid.sum(1)).sum()) or 1.0
        num_sequences = processes.sum(torch.tensor(float(len(x)), device=x.device)) or 1.0

        def log_prior() -> Tensor:
            return torch.zeros((), device=x.device) if objective is not None else self._log_prior_of_tables()

        def loss(rows: Tensor) -> Tensor:
            part = {name: None if value is None else value[rows] for name, value in data.items()}
            total = evaluate(x[rows], None if lengths is None else lengths[rows], **part)
            # The loss adds up over sequences: each bears its part of the prior.
            prior = log_prior() * (len(rows) / num_sequences)
            return -((total * frames.weight[rows].to(total)).sum() + prior) / num_frames

        result = run_sgd(
            self,
            loss,
            log_prior,
            len(x),
            num_frames,
            optimizer=optimizer(self.parameters()),
            max_epochs=max_epochs,
            batch_size=batch_size or max(len(x), 1),
            tolerance=tolerance,
            patience=patience,
            generator=torch.Generator().manual_seed(seed),
            processes=processes,
        )
        return self._recorded(result)

    def _log_prior_of_tables(self) -> Tensor:
        """Log-density of the tables of starts and steps under their priors; differentiable."""
        parts = [part for name, part in self.named_children() if name != "emission"]
        values = [cast(Any, part).log_prior() for part in parts if hasattr(part, "log_prior")]
        return torch.stack(values).sum() if values else torch.zeros(())

    @torch.no_grad()
    def _refuse_impossible(
        self,
        x: Tensor,
        lengths: Tensor | None,
        weights: Tensor | None,
        data: dict[str, Tensor | None],
        score: Callable[..., Tensor] | None = None,
    ) -> None:
        """Name the sequences that no path can produce: nothing could be learnt from them."""
        impossible = (score or self.log_likelihood)(x, lengths, **data) == -torch.inf
        if weights is not None:
            impossible &= weights.to(impossible.device) > 0.0
        if bool(impossible.any()):
            raise ValueError(
                f"no path of the model can produce sequences {impossible.nonzero().flatten().tolist()}: "
                "each must be as long as the shortest path from a start to an end; leave them out"
            )


def valid_frames(x: Tensor, lengths: Tensor | None) -> Tensor:
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


def _frames_of(x: Tensor, lengths: Tensor | None, observed: Tensor | None) -> Tensor:
    """Frames (N, D) that may be read, of arguments that are not checked yet."""
    if x.ndim != 3:
        raise ValueError(f"x must have shape (B, T, D); got {tuple(x.shape)}")
    readable = valid_frames(x, lengths)
    if observed is not None:
        readable = readable & (observed if observed.ndim == 2 else observed.all(-1))
    return x[readable]


def _check_mask(name: str, mask: Tensor, shape: tuple[int, ...] | torch.Size) -> None:
    """Refuse what is no mask of a shape."""
    if mask.dtype != torch.bool or mask.shape != torch.Size(shape):
        raise ValueError(
            f"{name} must be bool of shape {tuple(shape)}; got {mask.dtype} of shape {tuple(mask.shape)}"
        )


def keywords(function: Callable[..., object]) -> set[str]:
    """Names of the keyword-only parameters."""
    parameters = inspect.signature(function).parameters.values()
    return {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}


def split_options(
    emission: TrainableEmission, options: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Deal options out to the emission's ``initialize`` and ``update``; refuse those that neither takes."""
    starting, updating = keywords(emission.initialize), keywords(emission.update)
    unknown = sorted(options.keys() - starting - updating)
    if unknown:
        known = sorted((starting | updating) - {"observed"})
        raise TypeError(f"options of {type(emission).__name__} are {known}; got {unknown}")
    return (
        {name: value for name, value in options.items() if name in starting},
        {name: value for name, value in options.items() if name in updating},
    )
