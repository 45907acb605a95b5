"""Alignment by dynamic time warping, hard or soft."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from hmm_core import FrameCost, Itakura, SakoeChiba, dtw, pairwise_cost, soft_dtw

from ._arguments import (
    Reduction,
    check_alike,
    check_count,
    check_features,
    check_lengths,
    check_positive,
    check_reduction,
)
from ._comparable import Projection, comparable

Metric = Literal["euclidean", "sqeuclidean", "cosine"]
StepPattern = Literal["symmetric1", "symmetric2", "asymmetric"]


class DTWAligner(nn.Module):
    r"""Aligns two sequences of feature vectors by dynamic time warping.

    The alignment is the path :math:`\pi` from the first pair of frames to the last that costs least,

    .. math:: \min_\pi \sum_{(n, t) \in \pi} w_{nt} \, d(x_n, y_t),

    or, with ``soft``, the probability that a path drawn with weight
    :math:`\exp(-\text{cost} / \gamma)` visits a pair.

    Parameters
    ----------
    metric : {"euclidean", "sqeuclidean", "cosine"}
        How frames are compared, see :func:`hmm_core.pairwise_cost`.
    step_pattern : {"symmetric1", "symmetric2", "asymmetric"}
        Which steps a path may take and what they weigh, see :func:`hmm_core.dtw`.
    window : SakoeChiba or Itakura, optional
        Pairs that a path may visit. All if omitted.
    soft : float, optional
        Temperature :math:`\gamma` above 0, in units of the metric. Needs ``step_pattern="symmetric1"``.
    projection : callable or nn.Module, optional
        Turns frames of ``x`` (B, N, D1) into what frames of ``y`` are compared with, (B, N, D2). A module's
        parameters are this module's, and learn through a soft alignment or the cost.
    num_anchors : int
        Length of the profiles that are compared where D1 and D2 differ and there is no projection.

    Raises
    ------
    ValueError
        If an argument is unknown or out of range.

    Notes
    -----
    Vectors of different sizes cannot be compared. Without a projection each frame is then described by its
    distances to ``num_anchors`` anchors of its own sequence, which are the means of that many equal stretches
    of it, divided by their mean distance: a self-similarity profile. This presumes that the two sequences
    pass through like things at about the same share of their time, and that what differs on one side
    differs on the other; where that does not hold, as between random embeddings and a spectrogram, the
    path means nothing, and a projection has to be learned.

    O(B N T D) time, without a table of costs where the alignment is hard. The gradient of the cost is that
    of :func:`hmm_core.dtw` or :func:`hmm_core.soft_dtw`; the soft alignment itself is differentiable, through
    second derivatives that torch computes cell by cell, which is slow for long sequences.

    References
    ----------
    .. [1] H. Sakoe and S. Chiba, "Dynamic programming algorithm optimization for spoken word recognition",
       IEEE Trans. ASSP 26(1), 1978.
    .. [2] M. Cuturi and M. Blondel, "Soft-DTW: a differentiable loss function for time-series", ICML 2017.
    .. [3] S. Cohen et al., "Aligning time series on incomparable spaces", AISTATS 2021 (distances within each
       side stand for the vectors).

    Examples
    --------
    >>> import torch
    >>> x = torch.tensor([[[0.0], [1.0], [2.0]]])
    >>> y = torch.tensor([[[0.0], [0.0], [1.0], [2.0]]])
    >>> aligner = DTWAligner()
    >>> aligner.align(x, y)
    tensor([[[1., 1., 0., 0.],
             [0., 0., 1., 0.],
             [0., 0., 0., 1.]]])
    >>> aligner.get_alignment_cost()
    tensor(0.)
    """

    def __init__(
        self,
        metric: Metric = "euclidean",
        step_pattern: StepPattern = "symmetric1",
        window: SakoeChiba | Itakura | None = None,
        soft: float | None = None,
        *,
        projection: Projection | None = None,
        num_anchors: int = 16,
    ) -> None:
        super().__init__()
        for name, value, known in (("metric", metric, Metric), ("step_pattern", step_pattern, StepPattern)):
            if value not in get_args(known):
                raise ValueError(f"{name} must be one of {', '.join(get_args(known))}; got {value!r}")
        if window is not None and not isinstance(window, SakoeChiba | Itakura):
            raise TypeError(f"window must be a SakoeChiba, an Itakura or None; got {type(window).__name__}")
        if soft is not None and step_pattern != "symmetric1":
            raise ValueError(f'soft must be None unless step_pattern is "symmetric1"; got {step_pattern!r}')
        self.metric: Metric = metric
        self.step_pattern: StepPattern = step_pattern
        self.window = window
        self.soft = None if soft is None else check_positive("soft", soft)
        self.projection = projection
        self.num_anchors = check_count("num_anchors", num_anchors)
        self._cost: Tensor | None = None
        self._path: Tensor | None = None

    def align(
        self, x: Tensor, y: Tensor, lengths_x: Tensor | None = None, lengths_y: Tensor | None = None
    ) -> Tensor:
        """Align each pair of sequences.

        Parameters
        ----------
        x : Tensor, shape (B, N, D1)
            Frames of the first sequences, such as text features.
        y : Tensor, shape (B, T, D2)
            Frames of the second sequences, such as mel spectra.
        lengths_x, lengths_y : Tensor of int64, shape (B,), optional
            Valid frames, 0..N and 0..T; what lies behind is never read. All if omitted.

        Returns
        -------
        Tensor, shape (B, N, T)
            1 on the path and 0 elsewhere; with ``soft``, the probability that a path visits the pair. All 0
            where there is no path.

        Raises
        ------
        TypeError
            If an argument is not a tensor of floating dtype, or dtypes differ.
        ValueError
            If shapes or devices disagree, a length is out of range, or a frame that is read is not finite.
        """
        x, y = check_features("x", x, "(B, N, D1)"), check_features("y", y, "(B, T, D2)")
        check_alike("x", x, "y", y)
        lengths_x = check_lengths("lengths_x", lengths_x, x, x.shape[1], "N")
        lengths_y = check_lengths("lengths_y", lengths_y, y, y.shape[1], "T")
        a, b = comparable(x, y, lengths_x, lengths_y, self.projection, self.num_anchors, ("x", "y"))
        if self.soft is not None:
            return self._align_softly(a, b, lengths_x, lengths_y, self.soft)
        result = dtw(
            FrameCost(a, b, self.metric),
            lengths_x,
            lengths_y,
            step_pattern=self.step_pattern,
            window=self.window,
        )
        assert result.path is not None  # noqa: S101  (for mypy: it is asked for)
        self._cost, self._path = result.distance, result.path
        alignment = a.new_zeros(len(x), x.shape[1], y.shape[1])
        sequence, step = (result.path[..., 0] >= 0).nonzero(as_tuple=True)
        alignment[sequence, result.path[sequence, step, 0], result.path[sequence, step, 1]] = 1.0
        return alignment

    def _align_softly(
        self, x: Tensor, y: Tensor, lengths_x: Tensor, lengths_y: Tensor, gamma: float
    ) -> Tensor:
        """Differentiate the soft minimum by the costs: that is the expected alignment."""
        cost = pairwise_cost(x, y, lengths_x, lengths_y, metric=self.metric)
        recorded = torch.is_grad_enabled() and cost.requires_grad
        with torch.inference_mode(mode=False), torch.enable_grad():
            table = cost if recorded else cost.detach().clone().requires_grad_()
            # Clones, because what inference mode has made cannot be recorded.
            lengths = lengths_x.clone(), lengths_y.clone()
            value = soft_dtw(table, *lengths, gamma=gamma, window=self.window)
            (alignment,) = torch.autograd.grad(value.sum(), table, create_graph=recorded)
        self._cost = value if recorded else value.detach()
        self._path = dtw(cost.detach(), lengths_x, lengths_y, window=self.window).path
        return alignment

    def forward(
        self, x: Tensor, y: Tensor, lengths_x: Tensor | None = None, lengths_y: Tensor | None = None
    ) -> Tensor:
        """Do what :meth:`align` does.

        Parameters
        ----------
        x, y : Tensor, shape (B, N, D1) and (B, T, D2)
            Frames of both sequences.
        lengths_x, lengths_y : Tensor of int64, shape (B,), optional
            Valid frames.

        Returns
        -------
        Tensor, shape (B, N, T)
            The alignment.
        """
        return self.align(x, y, lengths_x, lengths_y)

    @property
    def path(self) -> Tensor:
        """Pairs of frames (B, N + T - 1, 2) of the last alignment, then -1; without ``soft``'s temperature.

        Raises
        ------
        RuntimeError
            If nothing has been aligned.
        """
        if self._path is None:
            raise RuntimeError("path needs an alignment: call align first")
        return self._path

    def get_alignment_cost(self, reduction: Reduction = "mean") -> Tensor:
        """Return what the last alignment costs.

        Parameters
        ----------
        reduction : {"mean", "sum", "none"}
            Over the sequences.

        Returns
        -------
        Tensor, shape () or (B,)
            Total cost of the best path, or the soft minimum; ``+inf`` where there is no path. Differentiable.

        Raises
        ------
        RuntimeError
            If nothing has been aligned.
        ValueError
            If the reduction is unknown.
        """
        check_reduction(reduction)
        if self._cost is None:
            raise RuntimeError("get_alignment_cost needs an alignment: call align first")
        if reduction == "none":
            return self._cost
        return self._cost.mean() if reduction == "mean" else self._cost.sum()
