"""A residual state-space layer over a very long bag, chunk by chunk, in inference."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.layers.linear import token_linear
from medssm.layers.mixers.branches import Branch, BranchedMamba
from medssm.layers.mixers.mamba import Mamba, scan_inputs
from medssm.ops.conv import causal_conv1d
from medssm.ops.scan import selective_scan

STEPS = 1024
"""Tokens of a chunk."""
LEAN_BYTES = 256 * 2**20
"""From this size of the outputs of all branches on they are projected at once, not kept."""


class Way(NamedTuple):
    """One branch on its way along its order.

    Args:
        branch: Its parameters.
        order: The position of each step, or None for the order of memory.
        window: Local window; 0 for none.
    """

    branch: Branch
    order: Tensor | None
    window: int


def streamable(mixer: nn.Module) -> bool:
    """Whether a mixer can be streamed: Mamba, and those of several branches."""
    if isinstance(mixer, BranchedMamba):
        return getattr(mixer, "gamma", None) is None
    return type(mixer) is Mamba


def stream_layer(norm: nn.Module, mixer: nn.Module, h: Tensor, steps: int = STEPS) -> None:
    """Add mixer(norm(h)) to h in place.

    All but the scan and the convolution is done token by token; between two chunks a branch
    carries the last tokens before its convolution and its state, so the result is that of the
    whole sequence. The inner outputs of the branches, (L, e), are kept until all are there; of a
    very long bag each is projected at once, at the price of the projections once a branch.

    Args:
        norm: Of the tokens.
        mixer: See `streamable`; others see the whole sequence at once.
        h: The tokens, changed in place.
        steps: Tokens of a chunk.

    Shape:
        h: (L, C).
    """
    if not streamable(mixer):
        h += mixer(norm(h)[None])[0]
        return
    projection: nn.Linear = mixer.out_proj  # type: ignore[assignment]
    length, inner = len(h), projection.in_features
    lean = length * inner * 4 > LEAN_BYTES
    total = torch.zeros(length, h.shape[1] if lean else inner, dtype=h.dtype, device=h.device)
    for way in _ways(mixer, length, h.device):
        for where, y in _outputs(norm, mixer, h, way, steps):
            total.index_add_(0, where, _finished(norm, mixer, h[where], y) if lean else y)
    for start in range(0, length, steps):
        part = slice(start, start + steps)
        h[part] += total[part] if lean else _finished(norm, mixer, h[part], total[part])
        if projection.bias is not None:
            h[part] += projection.bias


def _ways(mixer: nn.Module, length: int, device: torch.device) -> list[Way]:
    if not isinstance(mixer, BranchedMamba):
        assert isinstance(mixer, Mamba)
        conv, step = mixer.conv1d, mixer.dt_proj
        own = Branch(conv.weight, conv.bias, mixer.x_proj.weight, step.weight, step.bias,
                     mixer.A_log, mixer.D)  # fmt: skip
        return [Way(own, None, 0)]
    routes = mixer.order((mixer.padded(length),))
    if routes is None:
        return [Way(mixer.branch(""), None, mixer.window_of(length))]
    first, *others = routes.table_on(device)
    in_memory = torch.equal(first, torch.arange(len(first)).to(first))
    # in the order of memory, padding lies behind everything
    orders = [None if in_memory else first, *others]
    return [
        Way(mixer.branch(suffix), order, mixer.window_of(length))
        for suffix, order in zip(mixer.branches, orders, strict=True)
    ]


def _outputs(
    norm: nn.Module, mixer: nn.Module, h: Tensor, way: Way, steps: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The positions of each chunk of one branch and its outputs there, before the gate."""
    branch, length = way.branch, len(h)
    inner, taps = branch.taps.shape[0], branch.taps.shape[-1]
    whole = max(steps - steps % max(way.window, 1), way.window)
    past = h.new_zeros(1, taps - 1, inner)
    state = h.new_zeros(1, 1, *branch.A_log.shape)
    A = -torch.exp(branch.A_log.float())[None]
    total = length if way.order is None else len(way.order)
    for start in range(0, total, whole):
        stop = min(start + whole, total)
        where = torch.arange(start, stop, device=h.device)
        if way.order is not None:
            where = way.order[start:stop].long()
        value = _projected(mixer, norm(h[where.clamp(max=length - 1)]), 0)
        if total > length:
            value = torch.where((where < length)[:, None], value, 0.0)
        seen = torch.cat((past, value[None]), dim=1)
        past = seen[:, seen.shape[1] - taps + 1 :]
        bias = None if branch.bias is None else branch.bias[None]
        u = causal_conv1d(seen, branch.taps[None, :, 0], bias)[:, :, taps - 1 :]
        delta, B, C = scan_inputs(u, branch.x_proj, A.shape[-1])
        y, state = selective_scan(
            u, delta, A, B, C, branch.D.float()[None],
            delta_weight=branch.step[None], delta_bias=branch.step_bias.float()[None],
            initial_state=state, local_window=way.window, return_last_state=True,
        )  # fmt: skip
        kept = where < length
        yield (where, y[0]) if total == length else (where[kept], y[0, kept])


def _projected(mixer: nn.Module, tokens: Tensor, half: int) -> Tensor:
    """The value (0) or the gate (1) of tokens."""
    layer: nn.Linear = mixer.in_proj  # type: ignore[assignment]
    bias = None if layer.bias is None else layer.bias.chunk(2)[half]
    return token_linear(tokens, layer.weight.chunk(2)[half], bias)


def _finished(norm: nn.Module, mixer: nn.Module, h: Tensor, y: Tensor) -> Tensor:
    """Gate, scale and project the outputs of some tokens; the bias comes once for all branches."""
    scale: float = getattr(mixer, "scale", 1.0)
    gated = y * F.silu(_projected(mixer, norm(h), 1))
    layer: nn.Linear = mixer.out_proj  # type: ignore[assignment]
    return token_linear(gated if scale == 1.0 else gated * scale, layer.weight)
