"""Filtering of a stream: the forward recursion, one chunk after another."""

from typing import NamedTuple

import torch
from torch import Tensor

from hmm_core import Sparse
from hmm_core.online import FilterState, filter_step


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
    O(A) time for each frame of a model with A arcs, by :func:`hmm_core.online.filter_step`; memory for a copy
    of the model, the exponentials of its weights, and O(K). The probabilities of each frame are
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
        self._state = FilterState(log_initial, log_transition, emission_index)

    def reset(self) -> None:
        """Forget everything heard: the next frame is the first."""
        self._state.reset()

    @property
    def num_frames(self) -> int:
        """Frames since the last reset."""
        return self._state.num_frames

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
        shape = getattr(log_emission, "shape", (0, 0))  # filter_step refuses what is not a tensor
        if len(shape) != 2:
            raise ValueError(f"log_emission must have shape (n, P); got {tuple(shape)}")
        log_likelihood = torch.empty(shape[0], dtype=torch.float64, device=self._state.device)
        log_filter = filter_step(self._state, log_emission, log_likelihood_out=log_likelihood)
        return FilterResult(log_filter, log_likelihood)

    def state_dict(self) -> dict[str, Tensor]:
        r"""State of the stream, to be saved or moved; the model is not part of it.

        Returns
        -------
        dict of str to Tensor
            ``log_filter`` (K,), :math:`\log p(z_t = k \mid y_{1:t})`, or ``log_initial`` before the first
            frame; ``log_likelihood`` () float64; ``num_frames`` () int64.
        """
        return self._state.state_dict()

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
        TypeError
            If `log_filter` has another dtype than the model.
        ValueError
            If `log_filter` belongs to another number of states, or holds NaN or ``+inf``.
        """
        self._state.load_state_dict(state)
