"""The few tools that the recursions share: safe log-sum-exp, arcs, frames."""

from collections.abc import Sequence

import torch
from torch import Tensor


def finite_or_zero(x: Tensor) -> Tensor:
    """Replace ``-inf`` by 0, for a value about to be subtracted; no gradient."""
    x = x.detach()
    return torch.where(x == -torch.inf, 0.0, x)


def logsumexp(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Log of the sum of exponentials; only ``-inf`` gives ``-inf``, with gradient 0 instead of NaN."""
    shift = finite_or_zero(x.amax(dim, keepdim=True))
    return _safe_log((x - shift).exp().sum(dim)) + shift.squeeze(dim)


def _safe_log(x: Tensor) -> Tensor:
    """Logarithm whose gradient at 0 is 0."""
    zero = x == 0
    return torch.where(zero, -torch.inf, torch.where(zero, 1.0, x).log())


def normalized_exp(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Softmax; all zero where everything is ``-inf``."""
    total = logsumexp(x, dim)
    total = torch.where(total == -torch.inf, 0.0, total)
    for axis in (dim,) if isinstance(dim, int) else dim:
        total = total.unsqueeze(axis)
    return (x - total).exp()


class Arcs:
    """Arcs grouped by the state they enter, (B, K, R): dense transitions have R = K, slot = source."""

    def __init__(self, predecessors: Tensor | None, log_weight: Tensor, batch: int) -> None:
        self._predecessors = predecessors
        if predecessors is None:
            self._weight = log_weight.transpose(-1, -2)
            return
        # The weight of an unused slot is ignored: -inf, and no gradient.
        self._weight = torch.where((predecessors < 0)[:, None], -torch.inf, log_weight)
        self._source = predecessors.clamp(min=0).expand(batch, -1, -1)

    def weight(self, t: int) -> Tensor:
        """Log weights of the step from frame ``t`` to ``t + 1``: (B|1, K, R)."""
        return self._weight[:, t if self._weight.shape[1] > 1 else 0]

    def at_source(self, message: Tensor) -> Tensor:
        """Value of a message (B, K) at the source of every arc: (B, K, R), or (B, 1, K) if dense."""
        if self._predecessors is None:
            return message[:, None, :]
        return message.gather(1, self._source.flatten(1)).view(self._source.shape)

    def reduce_to_source(self, score: Tensor) -> Tensor:
        """Log-sum-exp of the scores (B, K, R) of the arcs that leave each state: (B, K)."""
        if self._predecessors is None:
            return logsumexp(score, 1)
        source, score = self._source.flatten(1), score.flatten(1)
        lowest = torch.full_like(score[:, : self._weight.shape[2]], -torch.inf)
        shift = finite_or_zero(lowest.scatter_reduce(1, source, score.detach(), "amax"))
        total = torch.zeros_like(shift).scatter_add(1, source, (score - shift.gather(1, source)).exp())
        return _safe_log(total) + shift

    def source_of(self, slot: Tensor) -> Tensor:
        """State that the chosen slot (B, K) of each state comes from: (B, K)."""
        if self._predecessors is None:
            return slot
        return self._source.gather(2, slot[..., None]).squeeze(2)

    def into(self, state: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """Return sources and log weights (..., B, R) of the arcs into one state (..., B) a sequence."""
        weight = self.weight(t)
        row = torch.arange(state.shape[-1], device=state.device)
        log_weight = weight[row if weight.shape[0] > 1 else torch.zeros_like(row), state]
        if self._predecessors is None:
            return torch.arange(weight.shape[-1], device=state.device).expand(log_weight.shape), log_weight
        return self._source[row, state], log_weight

    def user_layout(self, values: Tensor) -> Tensor:
        """Values of all arcs (..., K, R) in the layout of the weights that the user gave."""
        return values.transpose(-1, -2) if self._predecessors is None else values


def frame_emission(log_emission: Tensor, emission_index: Tensor | None, t: int) -> Tensor:
    """Emission score of every state in frame ``t``: (B, K)."""
    if emission_index is None:
        return log_emission[:, t]
    return log_emission[:, t].gather(1, emission_index.expand(log_emission.shape[0], -1))


def scaled_emission(
    log_emission: Tensor, emission_index: Tensor | None, valid: Tensor, t: int
) -> tuple[Tensor, Tensor]:
    """Emission scores (B, K) of a frame relative to their maximum (B, 1); 0 in padding, which is not read."""
    frame = torch.where(valid[:, None], frame_emission(log_emission, emission_index, t), 0.0)
    peak = finite_or_zero(frame.amax(1, keepdim=True))
    return frame - peak, peak


def valid_frames(log_emission: Tensor, lengths: Tensor) -> Tensor:
    """Whether each frame lies inside its sequence: (B, T)."""
    return torch.arange(log_emission.shape[1], device=lengths.device) < lengths[:, None]


def stack_frames(frames: Sequence[Tensor], empty: Tensor) -> Tensor:
    """Stack frames (B, ...) to (B, T, ...); ``empty`` is what no frames at all give."""
    return torch.stack(list(frames), dim=1) if frames else empty
