"""Token mixers over bags of different lengths in one padded batch, each as if it were alone."""

from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.layers.linear import token_linears
from medssm.layers.mixers.branches import BranchedMamba
from medssm.ops.conv import causal_conv1d


def mix_bags(mixer: nn.Module, x: Tensor, lengths: Tensor | None) -> Tensor:
    """Mix the tokens of each bag; what stands behind a bag's end is without effect.

    A causal mixer never looks behind the end. The mixers of several branches lay the tokens of
    every bag out in its own orders and scan all bags in one call; others take the bags in turn.

    Args:
        mixer: Any mixer of sequences.
        x: Tokens, bags padded at their ends.
        lengths: Tokens of each bag; None where all fill the batch.

    Shape:
        x: (B, L, C), lengths: (B,), result (B, L, C).
    """
    if lengths is None or mixer.causal:
        mixed: Tensor = mixer(x)
        return mixed
    if _can_go_together(mixer):
        return _together(mixer, x, lengths)
    parts = [mixer(each[None, :length]) for each, length in zip(x, lengths.tolist(), strict=True)]
    return torch.cat([F.pad(part, (0, 0, 0, x.shape[1] - part.shape[1])) for part in parts])


def _can_go_together(mixer: nn.Module) -> TypeGuard[BranchedMamba]:
    """Whether padding can be given to all bags of a batch as if each was alone."""
    plain = getattr(mixer, "gamma", None) is None
    return (
        isinstance(mixer, BranchedMamba)
        and plain
        and mixer.fixed_window
        and mixer.in_proj.bias is None
    )


def own_orders(table: Tensor | None, steps: Tensor, width: int) -> Tensor:
    """Each bag's own order: the route of the longest, without the positions behind the bag's end.

    Reversal, strides over whole rows and the order of memory are such that leaving out the
    positions from a bag's end on gives the order of the shorter bag; those come last here.

    Args:
        table: The routes over the longest bag; None for the order of memory.
        steps: Positions of each bag.
        width: Positions of the longest.

    Shape:
        table: (K, W), steps: (B,), result (B, K, W).
    """
    if table is None:
        return torch.arange(width, device=steps.device).expand(len(steps), 1, width)
    beyond = table.long() >= steps[:, None, None]
    return table.long().expand_as(beyond).gather(2, beyond.int().argsort(dim=2, stable=True))


def _together(mixer: BranchedMamba, x: Tensor, lengths: Tensor) -> Tensor:
    length = x.shape[1]
    width, steps = mixer.padded(length), torch.as_tensor(mixer.padded(lengths))
    there = torch.arange(length, device=x.device) < lengths[:, None]
    # the projection has no bias: a token of zeros is projected to zeros, as the padding is to be
    tokens = torch.where(there[..., None], x, 0.0)
    value, gate = token_linears(tokens, *mixer.in_proj.weight.chunk(2))
    routes = mixer.order((width,))
    table = None if routes is None else routes.table_on(x.device)
    orders = own_orders(table, steps, width)[..., None].expand(-1, -1, -1, value.shape[-1])
    rows = F.pad(value, (0, 0, 0, width - length))[:, None].expand_as(orders).gather(2, orders)
    ways = [
        causal_conv1d(rows[:, index], each.taps[None, :, 0], _row(each.bias))
        for index, each in enumerate(map(mixer.branch, mixer.branches))
    ]
    u = mixer.seen(torch.cat(ways, dim=1), lengths)
    y = mixer.select(u, lengths=steps, merge="none", local_window=mixer.window_of(length))
    # the outputs back at their positions; skipped steps are zero already
    y = torch.zeros_like(y).scatter(2, orders, y).sum(1)[:, :length] * F.silu(gate)
    return mixer.out_proj(y) if mixer.scale == 1.0 else mixer.out_proj(y) * mixer.scale


def _row(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias[None]
