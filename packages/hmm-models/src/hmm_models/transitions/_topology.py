"""Which states follow each other: the shapes of phone and silence models."""

from typing import NamedTuple

import torch
from torch import Tensor


class Topology(NamedTuple):
    """States, arcs and ends of a hidden Markov model, in natural logarithms.

    Each row of ``log_transition`` together with its entry of ``log_final`` is a distribution: a state is
    left either for another state or for the end. Without ``log_final`` the rows alone are, and a
    sequence may end anywhere.
    """

    log_initial: Tensor
    """Log-probability of starting in each state, shape (K,)."""
    log_transition: Tensor
    """Log-probability of each step, shape (K, K), row = from, column = to; ``-inf`` forbids the step."""
    log_final: Tensor | None = None
    """Log-probability of ending after each state, shape (K,), or None: end anywhere at no cost."""

    @classmethod
    def from_probabilities(
        cls, initial: Tensor, transition: Tensor, final: Tensor | None = None
    ) -> "Topology":
        """Describe a topology by probabilities.

        Parameters
        ----------
        initial : Tensor, shape (K,)
            Probability of starting in each state.
        transition : Tensor, shape (K, K)
            Probability of each step, row = from, column = to; 0 forbids the step.
        final : Tensor, shape (K,), optional
            Probability of ending after each state.

        Returns
        -------
        Topology
            The same in natural logarithms, in the dtype given.

        Raises
        ------
        ValueError
            If shapes disagree, a value is negative or not finite, or a distribution does not sum to 1
            (within 1e-4).

        Examples
        --------
        >>> import torch
        >>> Topology.from_probabilities(
        ...     torch.tensor([1.0, 0.0]), torch.tensor([[0.5, 0.5], [0.0, 1.0]])
        ... ).log_initial
        tensor([0., -inf])
        """
        K = initial.numel()
        check_shape("initial", initial, "(K,)", (K,))
        check_shape("transition", transition, "(K, K)", (K, K))
        check_distribution("initial", initial)
        if final is None:
            check_distribution("transition", transition)
        else:
            check_shape("final", final, "(K,)", (K,))
            check_distribution("transition and final", torch.cat([transition, final.unsqueeze(-1)], -1))
        return cls(initial.log(), transition.log(), None if final is None else final.log())


def check_shape(name: str, value: Tensor, letters: str, expected: tuple[int, ...]) -> None:
    """Refuse a tensor of another shape."""
    if value.shape != expected:
        raise ValueError(f"{name} must have shape {letters} = {expected}; got {tuple(value.shape)}")


def check_distribution(name: str, rows: Tensor) -> None:
    """Refuse rows that are not distributions."""
    if not bool((torch.isfinite(rows) & (rows >= 0.0)).all()):
        raise ValueError(f"{name} must hold probabilities, finite and >= 0; got {rows.tolist()}")
    error = (rows.sum(-1) - 1.0).abs()
    if bool((error > 1e-4).any()):
        row = int(error.argmax())
        total = float(rows.sum(-1).reshape(-1)[row])
        raise ValueError(f"{name} must sum to 1 in each row, within 1e-4; row {row} sums to {total:.6g}")


def named_topology(name: str, num_states: int) -> Topology:
    """Topology that ``GaussianHMM`` knows by name; sequences end anywhere."""
    start = torch.zeros(num_states)
    start[0] = 1.0
    stay = torch.eye(num_states) * 0.5
    stay.diagonal(1).fill_(0.5)
    stay[-1, -1] = 1.0
    share = torch.full((num_states, num_states), 1.0 / num_states)
    known = {"ergodic": (share[0], share), "left_to_right": (start, stay)}
    if name not in known:
        raise ValueError(f"topology must be a Topology or one of {tuple(known)}; got {name!r}")
    return Topology.from_probabilities(*known[name])


def check_topology(topology: Topology, num_states: int) -> None:
    """Refuse a topology of another number of states."""
    K = num_states
    check_shape("topology.log_initial", topology.log_initial, "(K,)", (K,))
    check_shape("topology.log_transition", topology.log_transition, "(K, K)", (K, K))
    if topology.log_final is not None:
        check_shape("topology.log_final", topology.log_final, "(K,)", (K,))


def is_left_to_right(log_initial: Tensor, log_transition: Tensor) -> bool:
    """Whether a model starts in its first state and never goes back."""
    starts, steps = log_initial > -torch.inf, log_transition > -torch.inf
    return bool(starts[0]) and not bool(starts[1:].any()) and not bool(steps.tril(-1).any())


def phone_topology(num_states: int = 3, self_loop_prob: float = 0.75) -> Topology:
    r"""Left-to-right model of a phone, Kaldi's and HTK's shape.

    State *i* repeats with ``self_loop_prob`` and otherwise goes on to state *i + 1*, the last one to the
    end. The shortest phone lasts ``num_states`` frames.

    Parameters
    ----------
    num_states : int, default 3
        Emitting states, >= 1.
    self_loop_prob : float, default 0.75
        In [0, 1). 0.75 is Kaldi's starting value (a mean of 4 frames per state); HTK's prototypes use 0.6.

    Returns
    -------
    Topology
        Starts in state 0, ends after the last state.

    Raises
    ------
    ValueError
        If ``num_states`` < 1 or ``self_loop_prob`` is outside [0, 1).

    References
    ----------
    .. [1] Kaldi, ``utils/gen_topo.pl``, non-silence phones.

    Examples
    --------
    >>> phone_topology(2, 0.5).log_transition.exp()
    tensor([[0.5000, 0.5000],
            [0.0000, 0.5000]])
    >>> phone_topology(2, 0.5).log_final.exp()
    tensor([0.0000, 0.5000])
    """
    if num_states < 1:
        raise ValueError(f"num_states must be >= 1; got {num_states}")
    if not 0.0 <= self_loop_prob < 1.0:
        raise ValueError(f"self_loop_prob must be in [0, 1); got {self_loop_prob}")
    leave = 1.0 - self_loop_prob
    transition = torch.eye(num_states) * self_loop_prob
    transition.diagonal(1).fill_(leave)
    start, end = torch.zeros(num_states), torch.zeros(num_states)
    start[0], end[-1] = 1.0, leave
    return Topology.from_probabilities(start, transition, end)


def silence_topology(num_states: int = 5) -> Topology:
    r"""Silence model with an ergodic middle, Kaldi's shape.

    The first state goes to itself and to the middle states, the middle states go to each other, to
    themselves and to the last state, all with probability ``1 / (num_states - 1)``; the last state repeats
    with 0.75 and ends with 0.25. The middle can wander, so that one model holds silence, breath and
    noise; the shortest silence lasts 3 frames.

    Parameters
    ----------
    num_states : int, default 5
        Emitting states, >= 3 (with fewer there is no middle: use ``phone_topology``).

    Returns
    -------
    Topology
        Starts in state 0, ends after the last state.

    Raises
    ------
    ValueError
        If ``num_states`` < 3.

    References
    ----------
    .. [1] Kaldi, ``utils/gen_topo.pl``, silence phones.

    Examples
    --------
    >>> silence_topology().log_transition.exp()
    tensor([[0.2500, 0.2500, 0.2500, 0.2500, 0.0000],
            [0.0000, 0.2500, 0.2500, 0.2500, 0.2500],
            [0.0000, 0.2500, 0.2500, 0.2500, 0.2500],
            [0.0000, 0.2500, 0.2500, 0.2500, 0.2500],
            [0.0000, 0.0000, 0.0000, 0.0000, 0.7500]])
    """
    if num_states < 3:
        raise ValueError(f"num_states must be >= 3 (phone_topology has fewer); got {num_states}")
    share = 1.0 / (num_states - 1)
    transition = torch.zeros(num_states, num_states)
    transition[0, :-1] = share
    transition[1:-1, 1:] = share
    transition[-1, -1] = 0.75
    start, end = torch.zeros(num_states), torch.zeros(num_states)
    start[0], end[-1] = 1.0, 0.25
    return Topology.from_probabilities(start, transition, end)
