"""A model that listens: filtering and decoding of features while they come."""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from hmm_core import ViterbiPath
from hmm_core.online import FilterState, ViterbiState, filter_step, viterbi_step

if TYPE_CHECKING:
    from hmm_models.models._hidden_markov_model import HiddenMarkovModel


class StreamResult(NamedTuple):
    r"""What is known after new frames.

    Attributes
    ----------
    log_filter : Tensor, shape (n, K)
        :math:`\log p(z_t = k \mid x_{1:t})` after each of the new frames; ``-inf`` everywhere once the
        observations are impossible.
    log_likelihood : Tensor of float64, shape (n,)
        :math:`\log p(x_{1:t})` of everything since the last reset.
    states : Tensor of int64, shape (m,)
        The next part of the path: states that will not change any more, of frames that may be older.
    """

    log_filter: Tensor
    log_likelihood: Tensor
    states: Tensor


class ModelStream:
    r"""Exact state probabilities and the most likely path of features that come a few frames at a time.

    ``HiddenMarkovModel.stream`` makes one. What the frames are cut into changes nothing but when results
    come.

    Parameters
    ----------
    model : HiddenMarkovModel
        Its probabilities of starts, steps and ends are copied; its emission is read at each ``push``.
    lag : int, optional
        Frames, >= 0, after which a state must be decided at the latest. If omitted, a state is decided when
        all paths agree on it, however late that is.
    chunk_size : int, default 1024
        Frames, >= 1, whose densities are computed at once: more are worked off in pieces.

    Raises
    ------
    ValueError
        If ``lag`` or ``chunk_size`` is out of range.

    Notes
    -----
    Without ``lag`` the path is that of ``viterbi`` on all frames; with it the best one under the decisions
    taken, and the same wherever nothing had to be forced (``num_forced`` is 0). The filter is always that
    of ``hmm_core.forward``. O(A) time for each frame of a model with A arcs, beside the densities; memory
    for a copy of the arcs, and 4 bytes a state and open frame: constant with ``lag``, so that a stream may
    run for days. Not differentiable.

    References
    ----------
    .. [1] R. Šrámek, B. Brejová and T. Vinař, "On-line Viterbi algorithm for analysis of long biological
       sequences", WABI 2007, section 2.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianHMM
    >>> model = GaussianHMM(2, 1)
    >>> with torch.no_grad():
    ...     _ = model.emission.mean.copy_(torch.tensor([[[-3.0]], [[3.0]]]))
    >>> stream = model.stream(lag=1)
    >>> stream.push(torch.tensor([[-3.1], [-2.7], [3.3]])).states
    tensor([0, 0])
    >>> stream.push(torch.tensor([[2.8]])).log_filter.exp().round()
    tensor([[0., 1.]])
    """

    def __init__(self, model: "HiddenMarkovModel", lag: int | None = None, chunk_size: int = 1024) -> None:
        if lag is not None and lag < 0:
            raise ValueError(f"lag must be >= 0; got {lag}")
        if chunk_size < 1:
            raise ValueError(f"chunk_size must be >= 1; got {chunk_size}")
        self.model = model
        self.lag = lag
        self.chunk_size = chunk_size
        chain = model.topology
        self._log_final = None if chain.log_final is None else chain.log_final.detach().clone()
        self._filter = FilterState(chain.log_initial, chain.log_transition)
        self._viterbi = ViterbiState(chain.log_initial, chain.log_transition, max_delay=lag)

    @property
    def num_frames(self) -> int:
        """Frames since the last reset."""
        return self._filter.num_frames

    @property
    def num_decided(self) -> int:
        """Frames, from the first, whose state will not change any more."""
        return self._viterbi.num_committed

    @property
    def num_forced(self) -> int:
        """Decisions that ``lag`` forced since the last reset: with 0 the path is the most likely one."""
        return self._viterbi.num_forced

    @torch.no_grad()
    def push(self, x: Tensor, *, observed: Tensor | None = None) -> StreamResult:
        """Take the next frames.

        Parameters
        ----------
        x : Tensor, shape (n, ...)
            n >= 0 observations, (n, D) features in most models.
        observed : Tensor of bool, shape (n,) or (n, D), optional
            False where a frame, or one of its dimensions, was lost; see ``SequenceModel``.

        Returns
        -------
        StreamResult
            ``log_filter`` (n, K), ``log_likelihood`` (n,) and the ``states`` (m,) decided now.

        Raises
        ------
        ValueError
            If a shape is wrong or a frame that is read is not finite. The stream then stands after the
            pieces of ``chunk_size`` frames before.
        """
        pieces = [slice(start, start + self.chunk_size) for start in range(0, len(x), self.chunk_size)]
        K, like = self._filter.num_states, self._filter
        log_filter = torch.empty((len(x), K), dtype=like.dtype, device=like.device)
        log_likelihood = torch.empty(len(x), dtype=torch.float64, device=like.device)
        for piece in pieces:
            seen = None if observed is None else observed[piece].unsqueeze(0)
            log_emission = self._score(x[piece], seen)
            filter_step(
                self._filter, log_emission, log_filter[piece], log_likelihood_out=log_likelihood[piece]
            )
            viterbi_step(self._viterbi, log_emission)
        return StreamResult(log_filter, log_likelihood, self._viterbi.take())

    def _score(self, x: Tensor, observed: Tensor | None) -> Tensor:
        """Log-densities (n, K) of new frames."""
        model = self.model
        frames = model._frames(x.unsqueeze(0), None, observed=observed)  # noqa: SLF001  (a part of the model)
        return model._score(frames)[0].to(self._filter.dtype)  # noqa: SLF001

    def flush(self) -> ViterbiPath:
        """End the stream here, decide the rest of the path, and start anew.

        Returns
        -------
        hmm_core.ViterbiPath
            ``states`` (m,), those that were still open, -1 if no path may end here; ``log_score`` () of the
            whole path, its end included.
        """
        path = self._viterbi.flush(self._log_final)
        self._filter.reset()
        return path

    def reset(self) -> None:
        """Forget everything heard: the next frame is the first."""
        self._filter.reset()
        self._viterbi.reset()
