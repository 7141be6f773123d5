"""One step of the causal convolution, for streams that come a token at a time."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def causal_conv1d_step(
    past: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: Literal["silu"] | None = "silu",
) -> tuple[Tensor, Tensor]:
    """Take one token: L steps from zeros give what `causal_conv1d` gives over L tokens.

    Args:
        past: The last w - 1 tokens, the newest last; zeros at the start.
        x: The new token.
        weight: The taps, the newest last.
        bias: Added before the activation.
        activation: "silu" or None.

    Returns:
        The output with the type of x, and the last w - 1 tokens now.

    Shape:
        past: (b, w - 1, d), x: (b, d), weight: (d, w), bias: (d,); results (b, d), (b, w - 1, d).

    Raises:
        ValueError: The past does not have one token fewer than there are taps.
    """
    d, taps = weight.shape
    if tuple(past.shape) != (len(x), taps - 1, d):
        raise ValueError(f"past has shape {tuple(past.shape)}, expected {(len(x), taps - 1, d)}.")
    seen = torch.cat((past, x[:, None].to(past.dtype)), dim=1)
    y = torch.einsum("bwd,dw->bd", seen.to(weight.dtype), weight)
    if bias is not None:
        y = y + bias
    return (F.silu(y) if activation == "silu" else y).to(x.dtype), seen[:, 1:]
