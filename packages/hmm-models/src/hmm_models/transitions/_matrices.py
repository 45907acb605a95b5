"""Transition matrices of the usual shapes, as probabilities."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hmm_models.transitions._topology import check_distribution, check_shape


def create_left_to_right_matrix(
    num_states: int, self_loop_prob: float = 0.7, skip_prob: float = 0.0
) -> Tensor:
    """Stay, go on to the next state, or skip one.

    Parameters
    ----------
    num_states : int
        K, >= 1.
    self_loop_prob : float, default 0.7
        Probability of staying, in [0, 1); a state then lasts 1 / (1 - self_loop_prob) frames on average.
    skip_prob : float, default 0.0
        Probability of going on to the state after the next, >= 0. What is left is that of the next state.

    Returns
    -------
    Tensor, shape (K, K)
        Row = from, column = to; float32, rows sum to 1. The last state stays for ever; the one before it goes
        on with what would have skipped.

    Raises
    ------
    ValueError
        If ``num_states`` < 1, a probability is out of range, or both together exceed 1.

    Examples
    --------
    >>> create_left_to_right_matrix(3, 0.5, 0.25)
    tensor([[0.5000, 0.2500, 0.2500],
            [0.0000, 0.5000, 0.5000],
            [0.0000, 0.0000, 1.0000]])
    """
    return create_skip_state_matrix(num_states, self_loop_prob, skip_prob, max_skip=1)


def create_skip_state_matrix(
    num_states: int, self_loop_prob: float = 0.6, skip_prob: float = 0.1, max_skip: int = 2
) -> Tensor:
    """Stay, go on to the next state, or skip up to ``max_skip`` states.

    Parameters
    ----------
    num_states : int
        K, >= 1.
    self_loop_prob : float, default 0.6
        Probability of staying, in [0, 1).
    skip_prob : float, default 0.1
        Probability of skipping any states, >= 0; each further state skipped is half as likely.
    max_skip : int, default 2
        States that can be skipped at once, >= 1.

    Returns
    -------
    Tensor, shape (K, K)
        Row = from, column = to; float32, rows sum to 1. What would lead beyond the last state leads there.

    Raises
    ------
    ValueError
        If a size is < 1, a probability is out of range, or both together exceed 1.

    Examples
    --------
    >>> create_skip_state_matrix(4, 0.5, 0.3)
    tensor([[0.5000, 0.2000, 0.2000, 0.1000],
            [0.0000, 0.5000, 0.2000, 0.3000],
            [0.0000, 0.0000, 0.5000, 0.5000],
            [0.0000, 0.0000, 0.0000, 1.0000]])
    """
    for name, size in (("num_states", num_states), ("max_skip", max_skip)):
        if size < 1:
            raise ValueError(f"{name} must be >= 1; got {size}")
    _check_probability("self_loop_prob", self_loop_prob)
    if not 0.0 <= skip_prob <= 1.0 - self_loop_prob:
        raise ValueError(
            f"skip_prob must be in 0..1 - self_loop_prob = 0..{1.0 - self_loop_prob:.6g}; got {skip_prob}"
        )
    share = 0.5 ** torch.arange(max_skip, dtype=torch.float64)
    arcs = [self_loop_prob, 1.0 - self_loop_prob - skip_prob, *(skip_prob * share / share.sum()).tolist()]
    matrix = torch.zeros(num_states, num_states, dtype=torch.float64)
    for i in range(num_states):
        for distance, probability in enumerate(arcs):
            matrix[i, min(i + distance, num_states - 1)] += probability
    return matrix.float()


def create_hierarchical_transitions(
    states_per_unit: Sequence[int], unit_transition: Tensor, self_loop_prob: float = 0.7
) -> Tensor:
    """Put left-to-right units, such as phones, under a matrix of which unit follows which.

    Parameters
    ----------
    states_per_unit : sequence of int
        States of each of the U units, >= 1; they are numbered unit after unit.
    unit_transition : Tensor, shape (U, U)
        Probability that unit v follows unit u, row = from; rows sum to 1.
    self_loop_prob : float, default 0.7
        Probability of staying in a state, in [0, 1).

    Returns
    -------
    Tensor, shape (K, K)
        Over all K states; float32, rows sum to 1. The last state of a unit goes on to the first of the next.

    Raises
    ------
    ValueError
        If a unit has no state, or ``unit_transition`` is not a row-stochastic matrix of that size.

    Examples
    --------
    >>> import torch
    >>> create_hierarchical_transitions([1, 2], torch.tensor([[0.0, 1.0], [0.5, 0.5]]), 0.5)
    tensor([[0.5000, 0.5000, 0.0000],
            [0.0000, 0.5000, 0.5000],
            [0.2500, 0.2500, 0.5000]])
    """
    U = len(states_per_unit)
    if not U or min(states_per_unit) < 1:
        raise ValueError(f"states_per_unit must be >= 1, for one unit at least; got {list(states_per_unit)}")
    _check_probability("self_loop_prob", self_loop_prob)
    check_shape("unit_transition", unit_transition, "(U, U)", (U, U))
    check_distribution("unit_transition", unit_transition)
    sizes = torch.tensor(list(states_per_unit))
    last = sizes.cumsum(0) - 1
    first = last - sizes + 1
    K = int(sizes.sum())
    matrix = self_loop_prob * torch.eye(K, dtype=torch.float64)
    inside = torch.ones(K - 1, dtype=torch.float64)
    inside[last[:-1]] = 0.0
    matrix.diagonal(1).add_((1.0 - self_loop_prob) * inside)
    matrix[last[:, None], first] += (1.0 - self_loop_prob) * unit_transition.double()
    return matrix.float()


def create_prosody_aware_transitions(
    prosody: Tensor, num_states: int, self_loop_prob: float = 0.7, sensitivity: float = 1.0
) -> Tensor:
    r"""Left-to-right matrices that change where the prosody does.

    .. math:: \operatorname{logit} p_t(\text{stay}) = \operatorname{logit} p(\text{stay}) - s \, z_t

    with :math:`z_t` the size of the change from frame t to frame t + 1, standardised over the sequence.

    Parameters
    ----------
    prosody : Tensor, shape (T, C) or (B, T, C)
        Features such as log-F0 and log-energy, finite. Each is brought to unit variance.
    num_states : int
        K, >= 1.
    self_loop_prob : float, default 0.7
        Probability of staying at an average change, in (0, 1).
    sensitivity : float, default 1.0
        s, >= 0; 0 gives the same matrix everywhere.

    Returns
    -------
    Tensor, shape (T-1, K, K) or (B, T-1, K, K)
        Row-stochastic, float32; its logarithm goes into ``hmm_core``'s recursions as it is.

    Raises
    ------
    ValueError
        If shapes or values are out of range.

    Examples
    --------
    >>> import torch
    >>> prosody = torch.tensor([[0.0], [0.0], [5.0], [5.0]])
    >>> create_prosody_aware_transitions(prosody, 2, 0.5)[:, 0, 1].round(decimals=2)
    tensor([0.3300, 0.8000, 0.3300])
    """
    if num_states < 1:
        raise ValueError(f"num_states must be >= 1; got {num_states}")
    if not 0.0 < self_loop_prob < 1.0:
        raise ValueError(f"self_loop_prob must be in (0, 1); got {self_loop_prob}")
    if not 0.0 <= sensitivity < float("inf"):
        raise ValueError(f"sensitivity must be finite and >= 0; got {sensitivity}")
    if prosody.ndim not in {2, 3} or prosody.shape[-2] < 2:
        raise ValueError(
            f"prosody must have shape (T, C) or (B, T, C) with T at least 2; got {tuple(prosody.shape)}"
        )
    if not bool(torch.isfinite(prosody).all()):
        raise ValueError("prosody must be finite; got NaN or infinity")
    scaled = _standardize(prosody.double(), -2)
    change = scaled.diff(dim=-2).square().sum(-1).sqrt()
    base = torch.logit(torch.tensor(self_loop_prob, dtype=torch.float64))
    stay = torch.sigmoid(base - sensitivity * _standardize(change, -1))
    end = torch.zeros(num_states, dtype=torch.float64)
    end[-1] = 1.0
    stay = torch.maximum(stay.unsqueeze(-1).expand(*stay.shape, num_states), end)
    matrix = torch.diag_embed(stay) + torch.diag_embed(1.0 - stay[..., :-1], offset=1)
    return matrix.float()


def create_phoneme_aware_transitions(mean_durations: Sequence[float], states_per_phoneme: int = 3) -> Tensor:
    """Left-to-right states of a phoneme sequence, which last as long as each phoneme does on average.

    Parameters
    ----------
    mean_durations : sequence of float
        Mean duration of each of N phonemes in frames, at least ``states_per_phoneme``.
    states_per_phoneme : int, default 3
        S, >= 1.

    Returns
    -------
    Tensor, shape (N S, N S)
        Row-stochastic, float32; the last state stays for ever.

    Raises
    ------
    ValueError
        If there is no phoneme, or one is shorter than its states.

    Examples
    --------
    >>> create_phoneme_aware_transitions([4.0, 10.0], 1)
    tensor([[0.7500, 0.2500],
            [0.0000, 1.0000]])
    """
    if states_per_phoneme < 1:
        raise ValueError(f"states_per_phoneme must be >= 1; got {states_per_phoneme}")
    if not mean_durations or not all(states_per_phoneme <= d < float("inf") for d in mean_durations):
        raise ValueError(
            f"mean_durations must be >= states_per_phoneme = {states_per_phoneme}, for one phoneme at least; "
            f"got {list(mean_durations)}"
        )
    durations = torch.tensor(list(mean_durations), dtype=torch.float64)
    stay = (1.0 - states_per_phoneme / durations).repeat_interleave(states_per_phoneme)
    stay[-1] = 1.0
    return (torch.diag(stay) + torch.diag(1.0 - stay[:-1], diagonal=1)).float()


def create_duration_constrained_matrix(
    num_states: int, min_duration: int, max_duration: int, self_loop_prob: float = 0.7
) -> Tensor:
    """Left-to-right chain whose states last at least and at most so many frames.

    Each state is expanded into ``max_duration`` copies, one for each frame that it has lasted: state k in its
    n-th frame is row ``k * max_duration + n - 1``. All copies read the density of their state
    (``emission_index = torch.arange(K * L) // L``).

    Parameters
    ----------
    num_states : int
        K, >= 1.
    min_duration, max_duration : int
        Frames, 1 <= min_duration <= max_duration = L.
    self_loop_prob : float, default 0.7
        Probability of staying where both is possible, in [0, 1).

    Returns
    -------
    Tensor, shape (K L, K L)
        Row-stochastic, float32. The last copy of the last state stays, since rows must sum to 1: let
        sequences end in the last state with ``log_final``.

    Raises
    ------
    ValueError
        If a size or the probability is out of range.

    References
    ----------
    .. [1] M. J. Russell and A. E. Cook, "Experimental evaluation of duration modelling techniques for
       automatic speech recognition", ICASSP 1987 (expanded-state HMMs).

    Examples
    --------
    >>> create_duration_constrained_matrix(2, 2, 2)
    tensor([[0., 1., 0., 0.],
            [0., 0., 1., 0.],
            [0., 0., 0., 1.],
            [0., 0., 0., 1.]])
    """
    if num_states < 1:
        raise ValueError(f"num_states must be >= 1; got {num_states}")
    if not 1 <= min_duration <= max_duration:
        raise ValueError(
            f"durations must be 1 <= min_duration <= max_duration; got {min_duration} and {max_duration}"
        )
    _check_probability("self_loop_prob", self_loop_prob)
    L = max_duration
    frame = torch.arange(1, L + 1)
    stay = torch.full((L,), self_loop_prob, dtype=torch.float64)
    stay[frame < min_duration] = 1.0
    stay[-1] = 0.0
    matrix = torch.zeros(num_states * L, num_states * L, dtype=torch.float64)
    for k in range(num_states):
        rows = torch.arange(k * L, (k + 1) * L)
        if k == num_states - 1:
            stay = torch.ones_like(stay)
        else:
            matrix[rows, (k + 1) * L] = 1.0 - stay
        matrix[rows[:-1], rows[1:]] = stay[:-1]
    matrix[-1, -1] = 1.0
    return matrix.float()


def _check_probability(name: str, value: float) -> None:
    """Refuse what is no probability of staying."""
    if not 0.0 <= value < 1.0:
        raise ValueError(f"{name} must be in [0, 1); got {value}")


def _standardize(x: Tensor, dim: int) -> Tensor:
    """Bring to mean 0 and variance 1; what never varies becomes 0."""
    x = x - x.mean(dim, keepdim=True)
    deviation = x.square().mean(dim, keepdim=True).sqrt()
    return x / torch.where(deviation > 0.0, deviation, 1.0)
