"""The arguments of a causal convolution, checked once with messages that name the axes."""

from dataclasses import dataclass, replace
from typing import Any

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
    shapes: tuple[tuple[str, Tensor | None, tuple[int, ...]], ...] = (
        ("weight", weight, weight.shape),
        ("bias", bias, (k, d)),
        ("routes", table, (k, L)),
    )
    for name, tensor, shape in shapes:
        if tensor is not None and tensor.shape != shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {shape}.")
        if tensor is not None and tensor.device != x.device:
            raise ValueError(f"{name} is on {tensor.device}, x on {x.device}; move one of them.")
    changed: dict[str, Any] = {}
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.dtype != call.computing:
            changed[name] = tensor.to(call.computing)
    if table is not None and not (table.dtype == torch.int32 and table.is_contiguous()):
        changed["table"] = table.to(torch.int32).contiguous()
    return replace(call, **changed) if changed else call
