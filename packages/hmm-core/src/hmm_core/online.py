r"""Streams: filtering and Viterbi decoding, one frame or a few at a time.

A :class:`FilterState` or :class:`ViterbiState` holds a model and what it has heard so far;
:func:`filter_step` and :func:`viterbi_step` take the next frames. The results are those of
:func:`hmm_core.forward` and :func:`hmm_core.viterbi` on the whole sequence, and the same bits for every way
to cut it into chunks.
"""

from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hmm_core import backends
from hmm_core._dispatch import Backend, resolve
from hmm_core._results import ViterbiPath
from hmm_core._validate import check_shape, floating, integer
from hmm_core._values import check_values
from hmm_core.transitions import Sparse

__all__ = ["FilterState", "ViterbiState", "filter_step", "viterbi_step"]


class _Model(NamedTuple):
    """A model of one stream, checked."""

    log_initial: Tensor  # (K,)
    predecessors: Tensor | None  # (K, R)
    log_weight: Tensor  # (K, K) or (K, R)
    emission_index: Tensor | None  # (K,)
    num_densities: int  # P, or the least P that the index allows


def _checked(log_initial: Tensor, log_transition: Tensor | Sparse, emission_index: Tensor | None) -> _Model:
    """Refuse arguments that break a rule."""
    like = "log_initial"
    log_initial = floating("log_initial", log_initial, None).detach()
    if log_initial.ndim != 1 or not len(log_initial):
        raise ValueError(f"log_initial must have shape (K,), K >= 1; got {tuple(log_initial.shape)}")
    K = len(log_initial)
    source = f"with K from log_initial (K,) = ({K},)"
    predecessors, name, weight, column, columns = None, "log_transition", log_transition, "K", K
    if isinstance(log_transition, Sparse):
        column, columns = "R", log_transition.num_slots
        name, weight = "log_transition.log_weight", log_transition.log_weight
        predecessors = integer("log_transition.predecessors", log_transition.predecessors, log_initial, like)
        check_shape("log_transition.predecessors", predecessors, {"(K, R)": (K, columns)}, source)
    elif not isinstance(log_transition, Tensor):
        raise TypeError(f"log_transition must be a Tensor or Sparse; got {type(log_transition).__name__}")
    weight = floating(name, weight, log_initial, like).detach()
    check_shape(name, weight, {f"(K, {column})": (K, columns)}, source)
    P = K
    if emission_index is not None:
        emission_index = integer("emission_index", emission_index, log_initial, like)
        check_shape("emission_index", emission_index, {"(K,)": (K,)}, source)
        if int(emission_index.min()) < 0:
            raise ValueError(f"emission_index must not be negative; got {int(emission_index.min())}")
        P = int(emission_index.max()) + 1
    # A batch without frames: only the values of the model are checked.
    check_values(
        log_initial[None],
        None if predecessors is None else predecessors[None],
        weight[None, None],
        log_initial.new_empty((0, 0, P)),
        torch.empty(0, dtype=torch.int64, device=log_initial.device),
        log_initial.new_empty((0, K)),
        emission_index,
    )
    return _Model(
        # Copies: the caller may change the tensors later, and the stream must not.
        log_initial.clone(memory_format=torch.contiguous_format),
        None if predecessors is None else predecessors.clone(memory_format=torch.contiguous_format),
        weight.clone(memory_format=torch.contiguous_format),
        None if emission_index is None else emission_index.clone(memory_format=torch.contiguous_format),
        P,
    )


class _Stream:
    """What both states share: the model, and the checks of a chunk."""

    def __init__(
        self,
        log_initial: Tensor,
        log_transition: Tensor | Sparse,
        emission_index: Tensor | None,
        backend: Backend,
    ) -> None:
        self._model = _checked(log_initial, log_transition, emission_index)
        self._num_states = len(self._model.log_initial)
        self._dtype = self._model.log_initial.dtype
        self._device = self._model.log_initial.device
        chosen = resolve(backend, self._device)
        self._module: Any = import_module(f"{backends.__name__}.{chosen}.online")

    def _frames(self, log_emission: Tensor) -> Tensor:
        """Frames as the backends take them; a quick look where nothing is to do."""
        if not (
            type(log_emission) is Tensor
            and log_emission.dtype is self._dtype
            and log_emission.device == self._device
            and log_emission.is_contiguous()
        ):
            log_emission = floating("log_emission", log_emission, self._model.log_initial, "log_initial")
            log_emission = log_emission.detach().contiguous()
        shape = log_emission.shape
        P = self._model.num_densities
        exact = self._model.emission_index is None
        if len(shape) not in {1, 2} or shape[-1] < P or (exact and shape[-1] > P):
            rule = f"(K,) or (n, K) with K = {P}" if exact else f"(P,) or (n, P), P >= {P}"
            source = "log_initial" if exact else "emission_index"
            raise ValueError(f"log_emission must have shape {rule}, from {source}; got {tuple(shape)}")
        return log_emission


class FilterState(_Stream):
    r"""A model, and what it knows of a stream: :math:`\log p(z_t \mid y_{1:t})`.

    Parameters
    ----------
    log_initial : Tensor, shape (K,)
        :math:`\log p(z_1 = k)`, natural log; need not be normalised.
    log_transition : Tensor, shape (K, K), or Sparse with weights (K, R)
        :math:`\log p(z_{t+1} = j \mid z_t = i)` at ``[i, j]``; ``-inf`` forbids the arc.
    emission_index : Tensor of int64, shape (K,), optional
        Density that each state reads. State k reads density k if omitted.
    backend : {"auto", "reference", "cpu", "cuda"}
        Where to compute: the fastest that can, the plain torch definition, C++ kernels or CUDA kernels.

    Raises
    ------
    TypeError
        If an argument is not a tensor of the right kind.
    ValueError
        If shapes or devices disagree, or a value is NaN or ``+inf``.
    BackendUnavailableError
        If an explicitly named backend cannot take these arguments.

    Notes
    -----
    The model is copied. One thread at a time may step a state. Memory: the model, the exponentials of its
    weights, and O(K). On CUDA a step can be captured in a CUDA graph; what is read from the state then waits
    for the device.

    Examples
    --------
    >>> import torch
    >>> stay = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    >>> state = FilterState(torch.tensor([0.5, 0.5]).log(), stay.log())
    >>> filter_step(state, torch.tensor([0.8, 0.2]).log()).exp()
    tensor([0.8000, 0.2000])
    >>> state.num_frames
    1
    """

    def __init__(
        self,
        log_initial: Tensor,
        log_transition: Tensor | Sparse,
        emission_index: Tensor | None = None,
        *,
        backend: Backend = "auto",
    ) -> None:
        super().__init__(log_initial, log_transition, emission_index, backend)
        self._filter: Any = self._module.Filter(*self._model)

    @property
    def num_frames(self) -> int:
        """Frames since the last reset."""
        return int(self._filter.num_frames)

    @property
    def log_likelihood(self) -> float:
        r""":math:`\log p(y_{1:t})` of all frames since the last reset, added up in float64."""
        return float(self._filter.log_likelihood)

    @property
    def num_states(self) -> int:
        """States K of the model."""
        return self._num_states

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the stream."""
        return self._dtype

    @property
    def device(self) -> torch.device:
        """Where the frames must be."""
        return self._device

    def reset(self) -> None:
        """Forget everything heard: the next frame is the first."""
        self._filter.reset()

    def state_dict(self) -> dict[str, Tensor]:
        r"""Return the state of the stream, to be saved or moved; the model is not part of it.

        Returns
        -------
        dict of str to Tensor
            ``log_filter`` (K,), as :func:`filter_step` returned it last, or ``log_initial`` before the first
            frame; ``log_likelihood`` () float64; ``num_frames`` () int64.
        """
        return {
            "log_filter": self._filter.save(),
            "log_likelihood": torch.tensor(self.log_likelihood, dtype=torch.float64, device=self._device),
            "num_frames": torch.tensor(self.num_frames),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue, with the same bits, where a stream with the same model and backend was saved.

        Parameters
        ----------
        state : dict of str to Tensor
            What :meth:`state_dict` returned.

        Raises
        ------
        KeyError
            If an entry is missing.
        TypeError
            If ``log_filter`` has another dtype than the model.
        ValueError
            If ``log_filter`` belongs to another number of states, or holds NaN or ``+inf``.
        """
        log_filter = state["log_filter"].to(self._device)
        log_filter = floating("log_filter", log_filter, self._model.log_initial, "log_initial").detach()
        source = f"with K from log_initial (K,) = ({self._num_states},)"
        check_shape("log_filter", log_filter, {"(K,)": (self._num_states,)}, source)
        _refuse_values("log_filter", log_filter)
        log_likelihood, num_frames = float(state["log_likelihood"]), int(state["num_frames"])
        self._filter.restore(log_filter, log_likelihood, num_frames)

    def _step(self, log_emission: Tensor, out: Tensor | None, log_likelihood_out: Tensor | None) -> Tensor:
        """Check and run."""
        log_emission = self._frames(log_emission)
        shape = (*log_emission.shape[:-1], self._num_states)
        if out is None:
            out = torch.empty(shape, dtype=self._dtype, device=self._device)
        else:
            _check_out("out", out, shape, self._dtype, self._device)
        if log_likelihood_out is not None:
            count = (1,) if log_emission.ndim == 1 else log_emission.shape[:1]
            _check_out("log_likelihood_out", log_likelihood_out, count, torch.float64, self._device)
        if not self._filter.push(log_emission, out, log_likelihood_out):
            _refuse_values("log_emission", log_emission)
        return out


def filter_step(
    state: FilterState,
    log_emission: Tensor,
    out: Tensor | None = None,
    *,
    log_likelihood_out: Tensor | None = None,
) -> Tensor:
    r"""Take the next frames of a stream: the state probabilities given everything heard so far.

    .. math::

        p(z_t = j \mid y_{1:t}) \propto p(y_t \mid j) \sum_i p(z_{t-1} = i \mid y_{1:t-1})\, p(j \mid i)

    Parameters
    ----------
    state : FilterState
        The stream; it moves on.
    log_emission : Tensor, shape (P,) or (n, P)
        :math:`\log p(y_t \mid p)` of one new frame, or of n >= 0; P = K without ``emission_index``.
    out : Tensor, shape (K,) or (n, K), optional
        Where to write the result. With it the step allocates nothing.
    log_likelihood_out : Tensor of float64, shape (n,), or (1,) for one frame, optional
        Receives :math:`\log p(y_{1:t})` after each of the frames.

    Returns
    -------
    Tensor, shape (K,) or (n, K)
        :math:`\log p(z_t = k \mid y_{1:t})` after each of the frames; ``-inf`` everywhere from an impossible
        observation to the reset.

    Raises
    ------
    TypeError
        If ``log_emission`` is not a tensor of the state's dtype.
    ValueError
        If a shape or device is wrong, or ``log_emission`` holds NaN or ``+inf``. The stream is as before.

    Notes
    -----
    O(A) time for each frame of a model with A arcs: one exponential a density, one exponential and one
    logarithm a state. Not differentiable: a stream has no end to differentiate from.

    References
    ----------
    .. [1] L. R. Rabiner, "A tutorial on hidden Markov models and selected applications in speech
       recognition", Proc. IEEE 77(2), 1989, section III.A.

    Examples
    --------
    >>> import torch
    >>> stay = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    >>> state = FilterState(torch.tensor([0.5, 0.5]).log(), stay.log())
    >>> likelihood = torch.tensor([[0.8, 0.2], [0.3, 0.7], [0.1, 0.9]])
    >>> filter_step(state, likelihood.log()).exp()
    tensor([[0.8000, 0.2000],
            [0.5495, 0.4505],
            [0.1152, 0.8848]])
    >>> state.log_likelihood < 0
    True
    """
    return state._step(log_emission, out, log_likelihood_out)  # noqa: SLF001  (a class of this module)


class ViterbiState(_Stream):
    r"""A model, and the paths through what a stream held so far that may still turn out best.

    Parameters
    ----------
    log_initial : Tensor, shape (K,)
        :math:`\log p(z_1 = k)`, natural log; need not be normalised.
    log_transition : Tensor, shape (K, K), or Sparse with weights (K, R)
        :math:`\log p(z_{t+1} = j \mid z_t = i)` at ``[i, j]``; ``-inf`` forbids the arc.
    emission_index : Tensor of int64, shape (K,), optional
        Density that each state reads. State k reads density k if omitted.
    max_delay : int, optional
        Frames, at least 0, that may stay open after the newest one is taken. Where the paths have not met by
        then, the best one at that moment decides the oldest open branching, and the paths that it leaves are
        dropped: the result may then be less than the best path. Without a limit the path is exact.
    backend : {"auto", "reference", "cpu", "cuda"}
        Where to compute: the fastest that can, the plain torch definition, C++ kernels or CUDA kernels.

    Raises
    ------
    TypeError
        If an argument is not a tensor of the right kind.
    ValueError
        If shapes or devices disagree, a value is NaN or ``+inf``, or ``max_delay`` is negative.
    BackendUnavailableError
        If an explicitly named backend cannot take these arguments.

    Notes
    -----
    The frames that all surviving paths share are committed as soon as there are any [1]_; :meth:`take` hands
    them out. Memory: the model, 4 bytes a state and open frame, and 4 bytes a committed frame that was not
    taken. With ``max_delay`` the first is bounded and a step never allocates it; otherwise it doubles where
    more frames than ever before stay open. One thread at a time may step a state. On CUDA,
    a step with ``max_delay`` can be captured in a CUDA graph; take the states at least every 1024 frames.

    References
    ----------
    .. [1] R. Šrámek, B. Brejová and T. Vinař, "On-line Viterbi algorithm for analysis of long biological
       sequences", WABI 2007, section 2.

    Examples
    --------
    >>> import torch
    >>> stay = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    >>> state = ViterbiState(torch.tensor([0.5, 0.5]).log(), stay.log())
    >>> likelihood = torch.tensor([[0.8, 0.2], [0.7, 0.3], [0.01, 0.99], [0.1, 0.9]])
    >>> viterbi_step(state, likelihood.log())
    tensor([0, 0, 1, 1])
    >>> state.take()
    tensor([0, 0, 1])
    >>> state.flush().states
    tensor([1])
    """

    def __init__(
        self,
        log_initial: Tensor,
        log_transition: Tensor | Sparse,
        emission_index: Tensor | None = None,
        *,
        max_delay: int | None = None,
        backend: Backend = "auto",
    ) -> None:
        super().__init__(log_initial, log_transition, emission_index, backend)
        if max_delay is not None and max_delay < 0:
            raise ValueError(f"max_delay must be at least 0; got {max_delay}")
        self._viterbi: Any = self._module.Viterbi(*self._model, max_delay)

    @property
    def num_frames(self) -> int:
        """Frames since the last reset."""
        return int(self._viterbi.num_frames)

    @property
    def num_committed(self) -> int:
        """Frames, from the first, whose state will not change any more."""
        return int(self._viterbi.num_committed)

    @property
    def num_forced(self) -> int:
        """Decisions that ``max_delay`` forced since the last reset: 0 means that the path is the best one."""
        return int(self._viterbi.num_forced)

    @property
    def log_score(self) -> float:
        """Score of the best path that ends now, float64; 0 without frames, ``-inf`` without a path."""
        return float(self._viterbi.log_score)

    def reset(self) -> None:
        """Forget everything heard: the next frame is the first."""
        self._viterbi.reset()

    def take(self) -> Tensor:
        """Hand out the committed states that were not handed out before.

        Returns
        -------
        Tensor of int64, shape (m,)
            The next part of the path.
        """
        states: Tensor = self._viterbi.take()
        return states

    def flush(self, log_final: Tensor | None = None) -> ViterbiPath:
        """End the stream here, hand out the rest of its best path, and start anew.

        Parameters
        ----------
        log_final : Tensor, shape (K,), optional
            Log weight of ending in each state. 0 if omitted.

        Returns
        -------
        ViterbiPath
            ``states`` (m,), those that :meth:`take` has not handed out; -1 in the open frames if no path may
            end here. ``log_score`` () float64, of the whole path.

        Raises
        ------
        TypeError
            If ``log_final`` is not a tensor of the state's dtype.
        ValueError
            If it has the wrong shape or device, or holds NaN or ``+inf``. The stream is as before.
        """
        if log_final is not None:
            log_final = floating("log_final", log_final, self._model.log_initial, "log_initial").detach()
            source = f"with K from log_initial (K,) = ({self._num_states},)"
            check_shape("log_final", log_final, {"(K,)": (self._num_states,)}, source)
            _refuse_values("log_final", log_final)
        states, score = self._viterbi.finish(log_final)
        return ViterbiPath(states, torch.tensor(score, dtype=torch.float64, device=self._device))

    def _step(self, log_emission: Tensor, out: Tensor | None) -> Tensor:
        """Check and run."""
        log_emission = self._frames(log_emission)
        shape = log_emission.shape[:-1]
        if out is None:
            out = torch.empty(shape, dtype=torch.int64, device=self._device)
        else:
            _check_out("out", out, shape, torch.int64, self._device)
        if not self._viterbi.push(log_emission, out):
            _refuse_values("log_emission", log_emission)
        return out


def viterbi_step(state: ViterbiState, log_emission: Tensor, out: Tensor | None = None) -> Tensor:
    r"""Take the next frames of a stream: the state in which the best path ends now.

    .. math::

        \delta_t(j) = \log p(y_t \mid j) + \max_i \left(\delta_{t-1}(i) + \log p(j \mid i)\right)

    Parameters
    ----------
    state : ViterbiState
        The stream; it moves on. Its ``take()`` hands out the states that have become certain, its ``flush()``
        the rest of the path.
    log_emission : Tensor, shape (P,) or (n, P)
        :math:`\log p(y_t \mid p)` of one new frame, or of n >= 0; P = K without ``emission_index``.
    out : Tensor of int64, shape () or (n,), optional
        Where to write the result.

    Returns
    -------
    Tensor of int64, shape () or (n,)
        :math:`\arg\max_j \delta_t(j)` after each of the frames; -1 from an impossible observation
        to the reset.

    Raises
    ------
    TypeError
        If ``log_emission`` is not a tensor of the state's dtype.
    ValueError
        If a shape or device is wrong, or ``log_emission`` holds NaN or ``+inf``. The stream is as before.

    Notes
    -----
    O(A + K) time for each frame of a model with A arcs. Ties go to the lowest predecessor and the lowest
    state. Unless a decision was forced, the path is that of :func:`hmm_core.viterbi`, to the last tie.

    References
    ----------
    .. [1] R. Šrámek, B. Brejová and T. Vinař, "On-line Viterbi algorithm for analysis of long biological
       sequences", WABI 2007, section 2.

    Examples
    --------
    >>> import torch
    >>> from hmm_core import left_to_right
    >>> state = ViterbiState(torch.tensor([0.0, -torch.inf]), left_to_right(2))
    >>> likelihood = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    >>> [int(viterbi_step(state, frame)) for frame in likelihood.log()]
    [0, 1, 1]
    """
    return state._step(log_emission, out)  # noqa: SLF001  (a class of this module)


def _refuse_values(name: str, tensor: Tensor) -> None:
    """Refuse NaN and +inf, and name the first."""
    wrong = ~(tensor < torch.inf)
    if wrong.any():
        where = wrong.nonzero()[0].tolist()
        raise ValueError(f"{name} must not hold NaN or +inf; got {float(tensor[tuple(where)])} at {where}")


def _check_out(
    name: str, out: object, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> None:
    """Refuse an output that a backend cannot write to."""
    if (
        not isinstance(out, Tensor)
        or out.dtype is not dtype
        or out.shape != shape
        or out.device != device
        or not out.is_contiguous()
    ):
        got = type(out).__name__
        if isinstance(out, Tensor):
            layout = "contiguous" if out.is_contiguous() else "not contiguous"
            got = f"{tuple(out.shape)}, {out.dtype}, {out.device}, {layout}"
        raise ValueError(f"{name} must be a contiguous Tensor {tuple(shape)}, {dtype}, {device}; got {got}")
