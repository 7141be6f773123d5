"""The arguments of a causal convolution, checked once with messages that name the axes."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ConvInputs:
    """A checked call.

    Shape:
        x: (b, L, d), weight: (k, d, w), bias: (k, d), table: (k, L) int32.
    """

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    table: Tensor | None
    silu: bool

    @property
    def computing(self) -> torch.dtype:
        """The type of all arithmetic."""
        return torch.float64 if self.x.dtype == torch.float64 else torch.float32


def check(call: ConvInputs) -> ConvInputs:
    """Check shapes, and bring weights and table to the types that a backend expects.

    Raises:
        ValueError: A shape does not fit; the message names the axis.
    """
    x, weight, bias, table = call.x, call.weight, call.bias, call.table
    if x.dim() != 3 or not x.is_floating_point():
        raise ValueError(
            f"x must be floating with axes (batch, length, channel); got {tuple(x.shape)} of"
            f" {x.dtype}."
        )
    _, L, d = x.shape
    if weight.dim() != 3 or weight.shape[1] != d:
        raise ValueError(
            f"weight must have the axes (route, channel, tap) with {d} channels; got"
            f" {tuple(weight.shape)}."
        )
    k = weight.shape[0]
    for name, tensor, shape in (("bias", bias, (k, d)), ("routes", table, (k, L))):
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {shape}.")
    return ConvInputs(
        x,
        weight.to(call.computing),
        None if bias is None else bias.to(call.computing),
        None if table is None else table.to(torch.int32).contiguous(),
        call.silu,
    )
