"""A gated recurrent network that torch.compile and torch.export keep whole."""

from typing import Any, cast

import torch
from torch import Tensor, nn


class Recurrence(nn.RNNBase):
    """``nn.GRU`` of one layer, batch first.

    torch.compile refuses that class, and torch.export unrolls its operation for the one T it has seen.
    """

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__("GRU", num_inputs, num_outputs, batch_first=True)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Turn inputs (B, T, D) into outputs (B, T, H) and, unless it is compiled, the memory after them."""
        if torch.compiler.is_compiling() and memory is None:
            return gru(x, self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0), None
        return _run(x, memory, cast(list[Tensor], self._flat_weights), train=self.training)


def _run(
    x: Tensor, memory: Tensor | None, weights: tuple[Tensor, ...] | list[Tensor], *, train: bool
) -> tuple[Tensor, Tensor]:
    """Run torch's network of one layer, from a memory (1, B, H) or from zeros."""
    if memory is None:
        memory = x.new_zeros(1, x.shape[0], weights[1].shape[1])
    return torch.gru(x, memory, weights, True, 1, 0.0, train, False, True)  # noqa: FBT003  (torch's order)


@torch.library.custom_op("hmm_models::gru", mutates_args=())
def gru(x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
    """Compute the outputs of a ``Recurrence`` as one operation."""
    return _run(x, None, (weight_ih, weight_hh, bias_ih, bias_hh), train=False)[0].contiguous()


@torch.library.custom_op("hmm_models::gru_backward", mutates_args=())
def _gru_backward(
    gradient: Tensor, x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Differentiate ``gru``, which runs once more, by its arguments."""

    def trained(x: Tensor, *weights: Tensor) -> Tensor:
        return _run(x, None, weights, train=True)[0]  # cuDNN differentiates nothing else

    # Autograd is switched off inside an operation; torch.func is not.
    _, pull_back, *_ = torch.func.vjp(trained, x, weight_ih, weight_hh, bias_ih, bias_hh)
    a, b, c, d, e = (value.clone(memory_format=torch.contiguous_format) for value in pull_back(gradient))
    return a, b, c, d, e


@gru.register_fake
def _(x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
    """Tell the shape of the outputs."""
    del weight_ih, bias_ih, bias_hh
    return x.new_empty(x.shape[0], x.shape[1], weight_hh.shape[1])


@_gru_backward.register_fake
def _(gradient: Tensor, *arguments: Tensor) -> tuple[Tensor, ...]:
    """Tell the shapes of the derivatives."""
    del gradient
    return tuple(torch.empty_like(value, memory_format=torch.contiguous_format) for value in arguments)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ANN401  (torch's)
    """Keep the arguments."""
    del output
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, gradient: Tensor) -> Any:  # noqa: ANN401  (torch's)
    """Differentiate by the arguments."""
    return _gru_backward(gradient.contiguous(), *ctx.saved_tensors)


gru.register_autograd(_differentiate, setup_context=_save)
