"""Nystrom attention: softmax attention through landmarks, linear in the number of tokens."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.layers.dims import CONVOLVE


class NystromFactors(NamedTuple):
    """The three factors whose product stands for the attention matrix.

    Shape:
        left: (B, h, n, m), inverse: (B, h, m, m), right: (B, h, m, n).
    """

    left: Tensor
    inverse: Tensor
    right: Tensor


class NystromAttention(nn.Module):
    """Attention of every token to every other by m landmarks, and a convolution of the values.

    Rows of zeros are put in front until the length is a multiple of m; they take part in the
    softmaxes. Landmarks are means of consecutive groups. With A1 = softmax(q k~), A2 =
    softmax(q~ k~), A3 = softmax(q~ k): result A1 pinv(A2) (A3 v), plus a depthwise convolution of
    v over the tokens, one filter a head.

    Args:
        channels: Width of the tokens.
        heads: Heads, each of channels / heads.
        landmarks: Landmarks m.
        steps: Iterations of the pseudo-inverse.
        kernel: Taps of the convolution.
        dropout: Rate at the end.

    Shape:
        x: (B, n, C), result the same.

    Source:
        Xiong et al., "Nystromformer", 2021.
    """

    def __init__(
        self,
        channels: int,
        heads: int = 8,
        landmarks: int = 256,
        steps: int = 6,
        kernel: int = 33,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.heads, self.landmarks, self.steps = heads, landmarks, steps
        self.to_qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.to_out = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)
        bound = kernel**-0.5
        self.filters = nn.Parameter(torch.empty(heads, 1, kernel).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Attend."""
        return self.attend(x)[0]

    def attend(self, x: Tensor) -> tuple[Tensor, NystromFactors]:
        """Attend, and give the factors too; their first tokens are the padding."""
        tokens = x.shape[1]
        x = F.pad(x, (0, 0, -tokens % self.landmarks, 0))
        q, k, v = (
            each.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for each in self.to_qkv(x).chunk(3, dim=-1)
        )  # (B, h, n, d)
        q = q * q.shape[-1] ** -0.5
        near_q, near_k = (each.unflatten(2, (self.landmarks, -1)).mean(dim=3) for each in (q, k))
        factors = NystromFactors(
            (q @ near_k.transpose(-1, -2)).softmax(-1),
            pseudo_inverse((near_q @ near_k.transpose(-1, -2)).softmax(-1), self.steps),
            (near_q @ k.transpose(-1, -2)).softmax(-1),
        )
        out = factors.left @ factors.inverse @ (factors.right @ v) + self._convolved(v)
        out = out.transpose(1, 2).flatten(2)
        return self.dropout(self.to_out(out))[:, -tokens:], factors

    def _convolved(self, v: Tensor) -> Tensor:
        b, heads, n, d = v.shape
        rows = v.permute(0, 3, 1, 2).reshape(b * d, heads, n)
        made = CONVOLVE[1](rows, self.filters, padding=self.filters.shape[-1] // 2, groups=heads)
        return made.view(b, d, heads, n).permute(0, 2, 3, 1)


def pseudo_inverse(a: Tensor, steps: int) -> Tensor:
    """The Moore-Penrose inverse by Newton's iteration of order three.

    The start is scaled by the largest sums over all heads and samples together, as published: a
    batch of several samples gives another answer than each alone.

    Shape:
        a: (B, h, m, m), result the same.

    Source:
        Razavi et al., 2014, as in Nystromformer, equation 7.
    """
    size = a.abs()
    z = a.transpose(-1, -2) / (size.sum(-1).max() * size.sum(-2).max())
    eye = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    for _ in range(steps):
        az = a @ z
        z = 0.25 * z @ (13 * eye - az @ (15 * eye - az @ (7 * eye - az)))
    return z
