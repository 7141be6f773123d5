"""TOKI: hidden tokens interpolated between the visible ones along a state-space sequence."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

ExponentName = Literal["official", "recurrent"]


class Gaps(NamedTuple):
    """Where each position lies between the flagged positions around it, by index arithmetic.

    Shape:
        each (B, L).
    """

    left: Tensor
    right: Tensor
    step: Tensor
    length: Tensor


def gaps_of(flags: Tensor) -> Gaps:
    """The nearest flagged position at or before each position, and the next one after it.

    The last position, which has none after it, is a gap of length one that ends in itself.

    Args:
        flags: First and last position are taken as flagged whatever they say.

    Shape:
        flags: (B, L) bool.
    """
    flags = flags.clone()
    flags[:, 0] = flags[:, -1] = True
    batch, last = flags.shape[0], flags.shape[1] - 1
    place = torch.arange(last + 1, device=flags.device).expand(batch, -1)
    left = torch.where(flags, place, 0).cummax(dim=1).values
    here = torch.where(flags, place, last).flip(1).cummin(dim=1).values.flip(1)
    right = torch.cat([here[:, 1:], here[:, -1:]], dim=1)
    return Gaps(left, right, place - left, (right - left).clamp_min(1))


def interpolate_tokens(
    tokens: Tensor, flags: Tensor, matrix: Tensor, exponent: ExponentName = "official"
) -> Tensor:
    """Values for all positions from the flagged ones, whole batches at once.

    For neighbouring flagged positions a < b, n = b - a, j = 0..n-1, alpha_j = j / (n - 1):
    v_j = (1 - alpha_j) x_a + alpha_j x_b, and z_{a+j} = sum_{i <= j} A^e v_i with e = n - 1 - i
    (official) or e = j - i (recurrent, z_{a+j} = A z_{a+j-1} + v_j). The last position is A x.
    Powers are applied by the binary digits of the exponents, in float32 whatever autocast says.

    Args:
        tokens: In scan order; hidden ones at the two ends count with the value they have.
        flags: True where a token is visible.
        matrix: A.
        exponent: How the exponent counts.

    Shape:
        tokens: (B, L, C), flags: (B, L) bool, matrix: (C, C), result (B, L, C) in float32.

    Source:
        Tan et al., "MambaMIM", 2025, TOKI. The published code counts the exponent from the end of
        a segment; the published formula, as others quote it, from the present step.
    """
    kind = tokens.device.type
    with torch.autocast(kind, enabled=False):
        x, A = tokens.float(), matrix.float()
        gaps = gaps_of(flags)
        alpha = gaps.step / (gaps.length - 1).clamp_min(1)
        before, after = (_take(x, each) for each in (gaps.left, gaps.right))
        v = torch.lerp(before, after, alpha.unsqueeze(-1))
        end = gaps.length - 1 - gaps.step
        if exponent == "official":
            z = _sums_within(_powered(v, end, A), gaps.left)
        else:
            z = _recurrence(v, gaps.step, A)
        return torch.cat([z[:, :-1], x[:, -1:] @ A.T], dim=1)


def _take(x: Tensor, index: Tensor) -> Tensor:
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def _powered(v: Tensor, exponent: Tensor, A: Tensor) -> Tensor:
    """A^e v for every token's own e >= 0."""
    most = int(exponent.max())
    for digit in range(most.bit_length()):
        chosen = (exponent >> digit & 1).bool().unsqueeze(-1)
        v = torch.where(chosen, v @ A.T, v)
        if digit + 1 < most.bit_length():
            A = A @ A
    return v


def _sums_within(w: Tensor, segment: Tensor) -> Tensor:
    """Running sums that begin anew at each segment.

    A product with a mask, not a difference of long sums, which would lose digits.
    """
    same = segment.unsqueeze(2) == segment.unsqueeze(1)
    return torch.bmm(same.tril().to(w.dtype), w)


def _recurrence(v: Tensor, step: Tensor, A: Tensor) -> Tensor:
    """z_j = A z_{j-1} + v_j within segments, in as many passes as the longest has digits."""
    most, z, reach = int(step.max()), v, 1
    while reach <= most:
        earlier = torch.cat([torch.zeros_like(z[:, :reach]), z[:, :-reach]], dim=1)
        z = torch.where((step >= reach).unsqueeze(-1), z + earlier @ A.T, z)
        A, reach = A @ A, 2 * reach
    return z


class TokenInterpolation(nn.Module):
    """TOKI with its learned matrix, zero at the start and thrown away after pre-training.

    Args:
        channels: Width of the tokens.
        exponent: How the exponent counts.
        bound: Largest spectral norm of A; powers of a larger one would grow along wide gaps.
            None leaves A as it is.
        scrambled: Write the result as published: a buffer of (token, channel) read as
            (channel, token), so that a hidden cell gets numbers of other cells and channels.

    Shape:
        tokens: (B, L, C), visible: (B, L) bool, result (B, L, C).
    """

    def __init__(
        self,
        channels: int,
        exponent: ExponentName = "official",
        bound: float | None = 1.0,
        scrambled: bool = False,
    ) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.zeros(channels, channels))
        self.exponent: ExponentName = exponent
        self.bound, self.scrambled = bound, scrambled

    def forward(self, tokens: Tensor, visible: Tensor) -> Tensor:
        """Keep the visible tokens, fill the hidden ones."""
        z = interpolate_tokens(tokens, visible, self._bounded(), self.exponent)
        if self.scrambled:
            z = z.reshape(z.shape[0], z.shape[2], z.shape[1]).transpose(1, 2)
        return torch.where(visible.unsqueeze(-1), tokens, z.to(tokens.dtype))

    def _bounded(self) -> Tensor:
        if self.bound is None:
            return self.matrix
        norm = torch.linalg.matrix_norm(self.matrix.detach().float(), ord=2)
        return self.matrix / (norm / self.bound).clamp_min(1.0)
