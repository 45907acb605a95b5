"""What the operations return: small named tuples of tensors."""

from typing import NamedTuple

from torch import Tensor


class ForwardResult(NamedTuple):
    r"""Forward messages and the log-likelihood they end in.

    Attributes
    ----------
    log_alpha : Tensor, shape (B, T, K)
        :math:`\log p(y_{1:t}, z_t = k)`; ``-inf`` in padded frames.
    log_likelihood : Tensor, shape (B,)
        :math:`\log p(y_{1:T})`, with ``log_final`` where it was given.
    """

    log_alpha: Tensor
    log_likelihood: Tensor


class Posterior(NamedTuple):
    r"""State probabilities given the whole sequence.

    Attributes
    ----------
    state : Tensor, shape (B, T, K)
        :math:`p(z_t = k \mid y_{1:T})`; 0 in padded frames and where no path exists.
    log_likelihood : Tensor, shape (B,)
        :math:`\log p(y_{1:T})`.
    """

    state: Tensor
    log_likelihood: Tensor


class ViterbiPath(NamedTuple):
    """The best state path and its score.

    Attributes
    ----------
    states : Tensor of int64, shape (B, T)
        The path; -1 in padded frames, and in every frame of a sequence without a path.
    log_score : Tensor, shape (B,)
        Joint log-probability of the path and the observations; ``-inf`` without a path.
    """

    states: Tensor
    log_score: Tensor


class BeamPath(NamedTuple):
    """The best state path that a beam leaves, its score, and what the beam may have cost.

    Attributes
    ----------
    states : Tensor of int64, shape (B, T)
        The path; -1 in padded frames, and in every frame of a sequence without a path.
    log_score : Tensor, shape (B,)
        Joint log-probability of the path and the observations; ``-inf`` without a path.
    exact : Tensor of bool, shape (B,)
        Whether the path is certainly the best of all: nothing was dropped, or everything that was dropped
        has been looked at again.
    depth : Tensor, shape (B,)
        The farthest that the path lies below the best state that is left of a frame, in log units; 0 without
        a path.
    """

    states: Tensor
    log_score: Tensor
    exact: Tensor
    depth: Tensor


class SemiMarkovPosterior(NamedTuple):
    r"""State probabilities and expected counts of segments given the whole sequence.

    Attributes
    ----------
    state : Tensor, shape (B, T, K)
        :math:`p(z_t = k \mid y_{1:T})`; 0 in padded frames and where no segmentation is possible.
    log_likelihood : Tensor, shape (B,)
        :math:`\log p(y_{1:T})`.
    initial : Tensor, shape (B, K)
        Probability that the first segment is of state k.
    transition : Tensor, shape (B, K, K), or (B, K, R) for Sparse
        Expected uses of each arc, in the layout of the weights; their sum is the expected number of segments
        less one.
    duration : Tensor, shape (B, K, L)
        Expected number of segments of state k that last d frames, at index d - 1; their sum is the expected
        number of segments. A censored segment counts under the lengths that it may really have.
    final : Tensor, shape (B, K)
        Probability that the last segment is of state k.
    """

    state: Tensor
    log_likelihood: Tensor
    initial: Tensor
    transition: Tensor
    duration: Tensor
    final: Tensor


class SemiMarkovPath(NamedTuple):
    """The best segmentation and its score.

    Attributes
    ----------
    states : Tensor of int64, shape (B, T)
        State of each frame; -1 in padded frames, and in every frame of a sequence without a segmentation.
    durations : Tensor of int64, shape (B, T)
        Length of a segment at its first frame, 0 in its other frames, -1 where ``states`` is.
    log_score : Tensor, shape (B,)
        Joint log-probability of the segments and the observations; ``-inf`` without a segmentation.
    """

    states: Tensor
    durations: Tensor
    log_score: Tensor


class SemiMarkovSample(NamedTuple):
    """Segmentations drawn at random.

    Attributes
    ----------
    states : Tensor of int64, shape (B, T) or (num_samples, B, T)
        State of each frame; -1 in padded frames, and in every frame of a sequence without a segmentation.
    durations : Tensor of int64, of the same shape
        Length of a segment at its first frame, 0 in its other frames, -1 where ``states`` is.
    """

    states: Tensor
    durations: Tensor


class DTWResult(NamedTuple):
    """The cheapest alignment of two sequences.

    Attributes
    ----------
    distance : Tensor, shape (B,)
        Total cost of the path; ``+inf`` where there is none. Differentiable.
    path : Tensor of int64, shape (B, N + M - 1, 2), or None
        Pairs of frames (i, j) from (0, 0) to (n - 1, m - 1), then -1; all -1 without a path. None if not
        asked for.
    path_length : Tensor of int64, shape (B,), or None
        Steps of each path; 0 without a path.
    """

    distance: Tensor
    path: Tensor | None
    path_length: Tensor | None


class KBestPaths(NamedTuple):
    """The best state paths and their scores, the best first.

    Attributes
    ----------
    states : Tensor of int64, shape (N, B, T)
        The paths; -1 in padded frames, and in every frame where a sequence has fewer than N paths.
    log_score : Tensor, shape (N, B)
        Joint log-probability of each path and the observations; ``-inf`` where there are fewer.
    """

    states: Tensor
    log_score: Tensor
