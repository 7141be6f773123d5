"""A linear layer for very many narrow tokens, as batched products that use every core."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS, MOST = 512, 64
"""Fewest tokens of a chunk, and most chunks: each worth a core, enough of them for all cores."""
WIDEST = 256
"""Above this many channels the library's own matrix product is as fast."""


class TokenLinear(nn.Linear):
    """`torch.nn.Linear` whose products run in chunks of tokens.

    A matrix product over 10^5 tokens of 16 channels has one long axis; the CPU library computes
    the weight's gradient on one core then. Chunks of tokens make it a batch of products.

    Shape:
        x: (..., C), result (..., K).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Project every token."""
        return token_linear(x, self.weight, self.bias)


def token_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute x W^T + b by chunks of tokens where that is faster; equal up to rounding.

    Shape:
        x: (..., C), weight: (K, C), bias: (K,), result (..., K).
    """
    chunks = _chunks(x, (weight,))
    if chunks < 2:
        return F.linear(x, weight, bias)
    return _ChunkedLinear.apply(x, bias, chunks, weight)[0]


def token_linears(x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
    """Several projections of the same tokens, each result contiguous.

    Their gradients are added up in place, where separate layers would need further passes.

    Shape:
        x: (..., C), each weight: (K, C), each result (..., K).
    """
    chunks = _chunks(x, weights)
    if chunks < 2:
        return tuple(F.linear(x, weight) for weight in weights)
    results: tuple[Tensor, ...] = _ChunkedLinear.apply(x, None, chunks, *weights)
    return results


def _chunks(x: Tensor, weights: tuple[Tensor, ...]) -> int:
    """In how many equal parts to cut the tokens; 1 where the plain product is the better one."""
    skinny = all(max(weight.shape) <= WIDEST for weight in weights)
    same = x.dtype == weights[0].dtype and not torch.is_autocast_enabled("cpu")
    if x.device.type != "cpu" or torch.compiler.is_compiling() or not (skinny and same):
        return 1
    tokens = x.numel() // x.shape[-1]
    wanted = min(MOST, tokens // ROWS)
    return next((parts for parts in range(wanted, 3, -1) if tokens % parts == 0), 1)


class _ChunkedLinear(torch.autograd.Function):
    """Projections and their gradients as batched products over chunks of tokens."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, bias: Tensor | None, chunks: int, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(x, *weights)
        ctx.chunks = chunks
        rows = x.reshape(chunks, -1, x.shape[-1])
        results = []
        for weight in weights:
            across = weight.t().expand(chunks, -1, -1)
            made = torch.bmm(rows, across) if bias is None else torch.baddbmm(bias, rows, across)
            results.append(made.view(*x.shape[:-1], -1))
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, *weights = ctx.saved_tensors
        to_x: Tensor | None = None
        to_weights: list[Tensor | None] = []
        rows = x.reshape(ctx.chunks, -1, x.shape[-1])
        for index, (grad, weight) in enumerate(zip(grads, weights, strict=True)):
            each = grad.reshape(ctx.chunks, -1, grad.shape[-1])
            across = weight.expand(ctx.chunks, -1, -1)
            if ctx.needs_input_grad[0]:
                to_x = torch.bmm(each, across) if to_x is None else to_x.baddbmm_(each, across)
            wanted = ctx.needs_input_grad[3 + index]
            to_weights.append(torch.bmm(each.transpose(1, 2), rows).sum(0) if wanted else None)
        to_bias = grads[0].flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None
        return None if to_x is None else to_x.view(x.shape), to_bias, None, *to_weights
