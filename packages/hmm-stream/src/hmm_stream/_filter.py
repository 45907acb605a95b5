"""Filtering of a stream: the forward recursion, one chunk after another."""

from typing import NamedTuple

import torch
from torch import Tensor

from hmm_core import Sparse


class FilterResult(NamedTuple):
    r"""What is known after each frame of a chunk.

    Attributes
    ----------
    log_filter : Tensor, shape (n, K)
        :math:`\log p(z_t = k \mid y_{1:t})`; ``-inf`` everywhere once the observations are impossible.
    log_likelihood : Tensor of float64, shape (n,)
        :math:`\log p(y_{1:t})` of everything since the last reset.
    """

    log_filter: Tensor
    log_likelihood: Tensor


def _floating(name: str, tensor: object) -> Tensor:
    """Refuse what is not a floating tensor; half precision computes in float32."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        got = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        raise TypeError(f"{name} must be a floating Tensor; got {got}")
    tensor = tensor.detach()
    return tensor.float() if tensor.dtype in {torch.float16, torch.bfloat16} else tensor


def _check_values(name: str, tensor: Tensor) -> None:
    """Refuse NaN and +inf."""
    wrong = ~(tensor < torch.inf)
    if wrong.any():
        where = wrong.nonzero()[0].tolist()
        raise ValueError(f"{name} must not hold NaN or +inf; got {float(tensor[tuple(where)])} at {where}")


def _check_device(name: str, tensor: Tensor, like: Tensor) -> None:
    """Refuse another device than that of log_initial."""
    if tensor.device != like.device:
        raise ValueError(f"{name} must be on {like.device} like log_initial; got {tensor.device}")


def _check_like(name: str, tensor: Tensor, like: Tensor) -> None:
    """Refuse another dtype or device than those of log_initial."""
    if tensor.dtype != like.dtype:
        raise TypeError(f"{name} must have dtype {like.dtype} like log_initial; got {tensor.dtype}")
    _check_device(name, tensor, like)


class OnlineFilter:
    r"""Exact state probabilities of a stream, given what has been heard so far.

    .. math::

        p(z_t = j \mid y_{1:t}) \propto p(y_t \mid j) \sum_i p(z_{t-1} = i \mid y_{1:t-1})\, p(j \mid i)

    Frames come in chunks of any size; the results are those of :func:`hmm_core.forward` on the whole
    sequence, and the same bits for every way to cut it into chunks.

    Parameters
    ----------
    log_initial : Tensor, shape (K,)
        :math:`\log p(z_1 = k)`, natural log; need not be normalised.
    log_transition : Tensor, shape (K, K), or Sparse with weights (K, R)
        :math:`\log p(z_{t+1} = j \mid z_t = i)` at ``[i, j]``; ``-inf`` forbids the arc.
    emission_index : Tensor of int64, shape (K,), optional
        Density that each state reads. State k reads density k if omitted.

    Raises
    ------
    TypeError
        If an argument is not a tensor of the right kind.
    ValueError
        If shapes or devices disagree, or a value is NaN or ``+inf``.

    Notes
    -----
    O(A) time for each frame of a model with A arcs, O(K) memory. The probabilities of each frame are
    normalised, and the log-likelihood adds up in float64, so that a stream may run for days. After an
    impossible observation every value is ``-inf`` until :meth:`reset`. Not differentiable: a stream has no
    end to differentiate from.

    Examples
    --------
    >>> import torch
    >>> stay = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    >>> stream = OnlineFilter(torch.tensor([0.5, 0.5]).log(), stay.log())
    >>> likelihood = torch.tensor([[0.8, 0.2], [0.3, 0.7], [0.1, 0.9]])
    >>> stream.push(likelihood[:1].log()).log_filter.exp()
    tensor([[0.8000, 0.2000]])
    >>> result = stream.push(likelihood[1:].log())
    >>> result.log_filter.argmax(1)
    tensor([0, 1])
    >>> stream.num_frames
    3
    """

    def __init__(
        self, log_initial: Tensor, log_transition: Tensor | Sparse, emission_index: Tensor | None = None
    ) -> None:
        self._log_initial = _floating("log_initial", log_initial)
        if self._log_initial.ndim != 1 or not len(self._log_initial):
            raise ValueError(f"log_initial must have shape (K,), K >= 1; got {tuple(log_initial.shape)}")
        _check_values("log_initial", self._log_initial)
        K = len(self._log_initial)

        # Arcs are grouped by the state they enter: sources (K, R), or all K states if dense.
        self._source: Tensor | None = None
        if isinstance(log_transition, Sparse):
            name = "log_transition.log_weight"
            weight = _floating(name, log_transition.log_weight)
            predecessors = log_transition.predecessors
            slots = log_transition.num_slots
            if predecessors.shape != (K, slots) or weight.shape != (K, slots):
                raise ValueError(
                    f"log_transition must have predecessors and log_weight of shape (K, R) = ({K}, {slots}), "
                    f"with K from log_initial; got {tuple(predecessors.shape)} and {tuple(weight.shape)}"
                )
            self._source = predecessors.clamp(min=0)
            self._log_weight = torch.where(predecessors < 0, -torch.inf, weight)
        else:
            name = "log_transition"
            weight = _floating(name, log_transition)
            if weight.shape != (K, K):
                raise ValueError(
                    f"log_transition must have shape (K, K) = ({K}, {K}), with K from log_initial; "
                    f"got {tuple(weight.shape)}"
                )
            self._log_weight = weight.T.contiguous()
        _check_like(name, self._log_weight, self._log_initial)
        _check_values(name, self._log_weight)

        self._emission_index = emission_index
        self._num_densities = K
        if emission_index is not None:
            if emission_index.dtype != torch.int64:
                raise TypeError(f"emission_index must have dtype torch.int64; got {emission_index.dtype}")
            _check_device("emission_index", emission_index, self._log_initial)
            if emission_index.shape != (K,):
                raise ValueError(
                    f"emission_index must have shape (K,) = ({K},), with K from log_initial; "
                    f"got {tuple(emission_index.shape)}"
                )
            if int(emission_index.min()) < 0:
                raise ValueError(f"emission_index must not be negative; got {int(emission_index.min())}")
            self._num_densities = int(emission_index.max()) + 1
        self.reset()

    def reset(self) -> None:
        """Forget everything heard: the next frame is the first."""
        self._log_predicted = self._log_initial
        self._log_likelihood = torch.zeros((), dtype=torch.float64, device=self._log_initial.device)
        self._num_frames = 0

    @property
    def num_frames(self) -> int:
        """Frames since the last reset."""
        return self._num_frames

    @torch.no_grad()
    def push(self, log_emission: Tensor) -> FilterResult:
        r"""Take the next frames.

        Parameters
        ----------
        log_emission : Tensor, shape (n, P)
            :math:`\log p(y_t \mid p)` of n >= 0 new frames; P = K without ``emission_index``.

        Returns
        -------
        FilterResult
            ``log_filter`` (n, K) and ``log_likelihood`` (n,) after each of these frames.

        Raises
        ------
        TypeError
            If `log_emission` is not a tensor of the filter's dtype.
        ValueError
            If its shape or device is wrong, or it holds NaN or ``+inf``. The stream is as before.
        """
        log_emission = _floating("log_emission", log_emission)
        P, exact = self._num_densities, self._emission_index is None
        if log_emission.ndim != 2 or log_emission.shape[1] < P or (exact and log_emission.shape[1] > P):
            rule = f"(n, K) = (n, {P}), with K from log_initial" if exact else f"(n, P), P >= {P}"
            raise ValueError(f"log_emission must have shape {rule}; got {tuple(log_emission.shape)}")
        _check_like("log_emission", log_emission, self._log_initial)
        _check_values("log_emission", log_emission)
        if self._emission_index is not None:
            log_emission = log_emission[:, self._emission_index]

        # Large scores would swallow the differences between states: they are added in float64.
        peak = log_emission.amax(1, keepdim=True)
        peak = torch.where(peak == -torch.inf, 0.0, peak)
        log_emission = log_emission - peak
        log_filter = torch.empty_like(log_emission)
        log_likelihood = torch.empty(len(log_emission), dtype=torch.float64, device=log_emission.device)
        for t, frame in enumerate(log_emission):
            joint = self._log_predicted + frame
            total = joint.logsumexp(0)
            log_filter[t] = torch.where(total > -torch.inf, joint - total, -torch.inf)
            self._log_likelihood = self._log_likelihood + total.double() + peak[t, 0].double()
            log_likelihood[t] = self._log_likelihood
            source = log_filter[t] if self._source is None else log_filter[t][self._source]
            self._log_predicted = (source + self._log_weight).logsumexp(1)
        self._num_frames += len(log_emission)
        return FilterResult(log_filter, log_likelihood)

    def state_dict(self) -> dict[str, Tensor]:
        r"""State of the stream, to be saved or moved; the model is not part of it.

        Returns
        -------
        dict of str to Tensor
            ``log_predicted`` (K,), :math:`\log p(z_{t+1} = k \mid y_{1:t})`; ``log_likelihood`` () float64;
            ``num_frames`` () int64.
        """
        return {
            "log_predicted": self._log_predicted.clone(),
            "log_likelihood": self._log_likelihood.clone(),
            "num_frames": torch.tensor(self._num_frames),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue where a stream with the same model was saved.

        Parameters
        ----------
        state : dict of str to Tensor
            What :meth:`state_dict` returned.

        Raises
        ------
        KeyError
            If an entry is missing.
        ValueError
            If `log_predicted` belongs to another number of states.
        """
        log_predicted = _floating("log_predicted", state["log_predicted"])
        if log_predicted.shape != self._log_initial.shape:
            raise ValueError(
                f"log_predicted must have shape (K,) = ({len(self._log_initial)},); "
                f"got {tuple(log_predicted.shape)}"
            )
        log_likelihood, num_frames = state["log_likelihood"], int(state["num_frames"])
        self._log_predicted = log_predicted.to(self._log_initial, copy=True)
        self._log_likelihood = log_likelihood.to(self._log_likelihood, copy=True)
        self._num_frames = num_frames
