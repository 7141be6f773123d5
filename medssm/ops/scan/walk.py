"""One chunk of a scan in plain PyTorch: laid out along the routes, and its states."""

from typing import NamedTuple

import torch
from torch import Tensor

from medssm.ops.scan.reference import step_sizes

CHUNK = 64
"""Steps of a chunk: between two states that are kept for the backward."""


def chunk_steps(window: int) -> int:
    """Steps of a chunk: whole windows."""
    return -(-CHUNK // window) * window if window else CHUNK


class Chunk(NamedTuple):
    """The tensors of one chunk, the steps first: all that the equations name.

    Shape:
        u, s, slope: (l, b, k, d), low: (l, b, k, d or r), B, C: (l, b, k, n), valid: (l, b, 1, 1).
    """

    u: Tensor
    low: Tensor
    s: Tensor
    slope: Tensor
    B: Tensor
    C: Tensor
    valid: Tensor | None


class Walk(NamedTuple):
    """The operator's arguments, and how to lay a chunk of them out."""

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    bias: Tensor | None
    W: Tensor | None
    h0: Tensor | None
    table: Tensor | None
    lengths: Tensor | None
    softplus: bool
    merge: bool
    window: int

    @property
    def steps(self) -> int:
        """Steps of a chunk, whole windows."""
        return chunk_steps(self.window)

    def take(self, x: Tensor, start: int) -> Tensor:
        """The chunk of x from a step on, in the order of the routes, steps first."""
        stop = start + self.steps
        if self.table is None:
            part = x[:, :, start:stop]
        else:
            index = self.table[:, start:stop].long()
            part = torch.stack([x[:, min(r, x.shape[1] - 1), at] for r, at in enumerate(index)], 1)
        return part.permute(2, 0, 1, 3).to(self.A.dtype)

    def put(self, target: Tensor, start: int, part: Tensor) -> None:
        """Add a chunk into a tensor in the order of memory; a shared one takes every route."""
        part = part.permute(1, 2, 0, 3).to(target.dtype)
        shared, stop = target.shape[1] < part.shape[1], start + self.steps
        if self.table is None:
            target[:, :, start:stop] += part.sum(1, keepdim=True) if shared else part
            return
        for r, index in enumerate(self.table[:, start:stop].long()):
            target[:, 0 if shared else r].index_add_(1, index, part[:, r])

    def chunk(self, start: int) -> Chunk:
        """Lay a chunk out; a skipped step has s = 0 and nothing to add."""
        u, low, B, C = (self.take(x, start) for x in (self.u, self.delta, self.B, self.C))
        valid = None
        if self.lengths is not None:
            at = torch.arange(start, start + u.shape[0], device=u.device)
            valid = (at[:, None] < self.lengths)[..., None, None]
            u, low, B, C = (torch.where(valid, x, 0.0) for x in (u, low, B, C))
        delta = low if self.W is None else torch.einsum("lbkr,kdr->lbkd", low, self.W)
        s = step_sizes(delta, self.bias, self.softplus)
        slope = -torch.expm1(-s) if self.softplus else torch.ones_like(s)  # sigmoid of delta
        if valid is not None:
            s, slope = torch.where(valid, s, 0.0), torch.where(valid, slope, 0.0)
        return Chunk(u, low, s, slope, B, C, valid)

    def states(self, h: Tensor, chunk: Chunk) -> tuple[Tensor, Tensor, Tensor]:
        """The decays, increments and states of a chunk that starts from h, each (l, b, k, d, n)."""
        decay = (chunk.s[..., None] * self.A).exp_()
        increment = (chunk.s * chunk.u)[..., None] * chunk.B[..., None, :]
        states = torch.empty_like(increment)
        for a, x, out in zip(decay.unbind(0), increment.unbind(0), states.unbind(0), strict=True):
            h = torch.addcmul(x, a, h, out=out)
        return decay, increment, states

    def right(self, decay: Tensor, increment: Tensor) -> Tensor:
        """The states of the windows scanned backwards, each from zero at its end."""
        states = torch.empty_like(increment)
        for t in reversed(range(len(increment))):
            if (t + 1) % self.window == 0 or t + 1 == len(increment):
                states[t] = increment[t]
            else:
                torch.addcmul(increment[t], decay[t], states[t + 1], out=states[t])
        return states
