"""The scan as others write it: loops in plain PyTorch, and copies around a kernel for routes."""

import functools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from medssm.ops.scan import selective_scan

# sizes of a grid and the order in which its axes are walked, the slowest first
Walks = tuple[tuple[int, ...], ...]


def unbind_loop(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor
) -> Tensor:
    """The recurrence over unbound steps: what PyTorch does best without a kernel.

    Shape:
        u, delta: (b, L, d); A: (d, n); B, C: (b, L, n); D, bias: (d); result (b, L, d).
    """
    delta = F.softplus(delta + bias)
    h = u.new_zeros(u.shape[0], u.shape[2], A.shape[1])
    out = []
    parts = (x.unbind(1) for x in (u, delta, B, C))
    for u_t, s_t, b_t, c_t in zip(*parts, strict=True):
        h = torch.exp(s_t[..., None] * A) * h + (s_t * u_t)[..., None] * b_t[:, None]
        out.append((h * c_t[:, None]).sum(-1))
    return torch.stack(out, 1) + D * u


def indexed_loop(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor
) -> Tensor:
    """The shape of the published reference: all decays at once, then a loop that indexes steps.

    Its backward writes a full-size tensor of zeros for every step.

    Shape:
        As `unbind_loop`.

    Source:
        Gu and Dao, "Mamba", 2023, the equations of section 3; written from them.
    """
    delta = F.softplus(delta + bias)
    decay = torch.exp(delta[..., None] * A)
    increment = (delta * u)[..., None] * B[:, :, None]
    h = u.new_zeros(u.shape[0], u.shape[2], A.shape[1])
    out = []
    for t in range(u.shape[1]):
        h = decay[:, t] * h + increment[:, t]
        out.append(torch.einsum("bdn,bn->bd", h, C[:, t]))
    return torch.stack(out, 1) + D * u


def copied_routes(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor,
    grid: tuple[int, ...], walks: Walks, laid_out: bool,
    scan: Callable[..., Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """Permute and flip copies around the kernel, as CrossScan and CrossMerge do in VMamba.

    Args:
        u: Shared by the routes.
        delta: Step sizes.
        A: Decay rates.
        B: Input weights.
        C: Output weights.
        D: Skip weights.
        bias: Of the step.
        grid: Sizes of the axes.
        walks: Axis orders; each is walked there, and all of them back.
        laid_out: delta, B and C come in the order of their routes (VMamba projects the copies of
            u); else they lie in the order of memory and are copied too (Vim projects once).
        scan: The kernel that keeps the routes apart; ours when not given.

    Shape:
        u: (b, L, d); delta: (b, k, L, d); B, C: (b, k, L, n); result (b, L, d).
    """
    count, merged = len(walks), torch.zeros_like(u)
    there = [_walked(u, grid, walk) for walk in walks]
    copies = torch.stack([*there, *(x.flip(1) for x in there)], 1)
    if not laid_out:
        delta, B, C = (_walked_routes(x, grid, walks) for x in (delta, B, C))
    scan = scan or functools.partial(selective_scan, merge="none")
    y = scan(copies, delta, A, B, C, D, delta_bias=bias)
    both = y[:, :count] + y[:, count:].flip(2)
    for i, walk in enumerate(walks):
        merged = merged + _walked_back(both[:, i], grid, walk)
    return merged


def _walked(x: Tensor, grid: tuple[int, ...], walk: tuple[int, ...]) -> Tensor:
    order = (0, *(axis + 1 for axis in walk), len(grid) + 1)
    return x.reshape(x.shape[0], *grid, x.shape[-1]).permute(order).reshape(x.shape)


def _walked_back(x: Tensor, grid: tuple[int, ...], walk: tuple[int, ...]) -> Tensor:
    sizes = tuple(grid[axis] for axis in walk)
    return _walked(x, sizes, tuple(walk.index(axis) for axis in range(len(grid))))


def _walked_routes(x: Tensor, grid: tuple[int, ...], walks: Walks) -> Tensor:
    there = [_walked(x[:, i], grid, walk) for i, walk in enumerate(walks)]
    back = [_walked(x[:, i + len(walks)], grid, walk).flip(1) for i, walk in enumerate(walks)]
    return torch.stack(there + back, 1)


def make_inputs(
    batch: int, routes: int, length: int, channels: int, states: int, seed: int = 0
) -> dict[str, Tensor]:
    """Inputs with step sizes and decays as a fresh Mamba has them.

    Shape:
        u: (b, L, d); delta: (b, k, L, d); A: (k, d, n); B, C: (b, k, L, n); D, bias: (k, d).
    """
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g)

    return {
        "u": normal(batch, length, channels),
        "delta": normal(batch, routes, length, channels) * 0.5 - 4,
        "A": -torch.rand((routes, channels, states), generator=g) * 16,
        "B": normal(batch, routes, length, states),
        "C": normal(batch, routes, length, states),
        "D": torch.ones(routes, channels),
        "bias": normal(routes, channels) * 0.1,
    }


def agree(ours: Tensor, theirs: Tensor, tolerance: float = 1e-3) -> None:
    """Stop before a figure of a wrong result is taken.

    Raises:
        ArithmeticError: They differ by more than the tolerance relative to the largest value.
    """
    scale = float(theirs.abs().max())
    error = float((ours.float() - theirs.float()).abs().max()) / (scale or 1.0)
    if not error <= tolerance or math.isnan(scale):
        raise ArithmeticError(f"the contestants differ by {error:.2g} of the largest value")
