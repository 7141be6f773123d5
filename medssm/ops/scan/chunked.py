"""The selective scan in plain PyTorch, chunk by chunk: any device, memory bounded by a chunk."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from medssm.ops.scan.inputs import ScanInputs
from medssm.ops.scan.reference import Result, gated

CHUNK = 256


def run(call: ScanInputs) -> Result:
    """Scan all routes side by side, in chunks that the backward recomputes.

    Only products of decays are formed, never a division by one, so nothing underflows to NaN.

    Shape:
        As `reference.run`.
    """
    call = call.with_full_delta()
    b, k, L, d = call.delta.shape
    table = None if call.table is None else call.table.long()
    u, delta, B, C = (
        _visit(x.expand(-1, k, -1, -1), table) for x in (call.u, call.delta, call.B, call.C)
    )
    h = call.initial_state
    if h is None:
        h = torch.zeros(b, k, d, call.A.shape[2], dtype=call.computing, device=u.device)
    pieces = []
    for start in range(0, L, CHUNK):
        part = [x[:, :, start : start + CHUNK] for x in (u, delta, B, C)]
        y, h = checkpoint(_chunk, h, *part, call, use_reentrant=False)
        pieces.append(y)
    y = torch.cat(pieces, 2) if pieces else u.to(call.computing)
    if table is not None:
        back = torch.argsort(table, dim=1)
        y = _visit(y, back)
    return gated(y.sum(1) if call.merge else y, call), h


def _visit(x: Tensor, table: Tensor | None) -> Tensor:
    if table is None:
        return x
    return torch.gather(x, 2, table[None, :, :, None].expand(x.shape[0], -1, -1, x.shape[3]))


def _chunk(
    h: Tensor, u: Tensor, delta: Tensor, B: Tensor, C: Tensor, call: ScanInputs
) -> tuple[Tensor, Tensor]:
    u, delta, B, C = (x.to(call.computing) for x in (u, delta, B, C))
    if call.delta_bias is not None:
        delta = delta + call.delta_bias[:, None]
    if call.softplus:
        delta = F.softplus(delta, threshold=33.0)  # exact in float64; exp would overflow
    decay = torch.exp(delta[..., None] * call.A[:, None])  # (b, k, l, d, n)
    increment = (delta * u)[..., None] * B[:, :, :, None]
    # unbind, not indexing: the backward of an index writes a full-size zero tensor each step
    states = []
    for a, x in zip(decay.unbind(2), increment.unbind(2), strict=True):
        h = torch.addcmul(x, a, h)
        states.append(h)
    y = torch.einsum("bkldn,bkln->bkld", torch.stack(states, 2), C)
    if call.D is not None:
        y = y + u * call.D[:, None]
    return y, h
