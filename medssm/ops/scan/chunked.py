"""The selective scan in plain PyTorch, chunk by chunk: any device, memory bounded by a chunk."""

import torch
from torch import Tensor

from medssm.ops.routes.route import require_permutations
from medssm.ops.scan.inputs import ScanInputs
from medssm.ops.scan.reference import Result, gated
from medssm.ops.scan.walk import Walk, chunk_steps

GATED = 4096
"""Steps that are gated at a time where no gradient is wanted."""


def run(call: ScanInputs) -> Result:
    """Scan all routes side by side; the backward computes the states of each chunk again.

    Only products of decays are formed, never a division by one, so nothing underflows to NaN.

    Shape:
        As `reference.run`.
    """
    data = (call.u, call.delta, call.A, call.B, call.C, call.D, call.delta_bias)
    tensors = (*data, call.delta_weight, call.initial_state)
    save = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)
    flags = (call.softplus, call.merge, call.local_window)
    y, _, last = scan(*tensors, call.table, call.lengths, *flags, save)
    y = y[:, 0] if call.merge else y
    gate_needs = call.z is not None and torch.is_grad_enabled() and call.z.requires_grad
    if save or gate_needs or torch.compiler.is_compiling():
        return gated(y, call), last
    return _gate_in_place(y, call), last


def _gate_in_place(y: Tensor, call: ScanInputs) -> Tensor:
    """As `gated`, without a second tensor of the size of the result."""
    if call.z is not None:
        gate = call.z if call.merge else call.z[:, None]
        for at in range(0, y.shape[-2], GATED):
            part = gate[..., at : at + GATED, :].to(call.computing)
            y[..., at : at + GATED, :] *= torch.nn.functional.silu(part)
    return y


@torch.library.custom_op("medssm::scan_chunked", mutates_args=())
def scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    bias: Tensor | None,
    W: Tensor | None,
    h0: Tensor | None,
    table: Tensor | None,
    lengths: Tensor | None,
    softplus: bool,
    merge: bool,
    window: int,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Scan forward: (outputs in the order of memory, states at chunk starts, last state)."""
    if table is not None:
        require_permutations(table)
    walk = Walk(u, delta, A, B, C, D, bias, W, h0, table, lengths, softplus, merge, window)
    y, starts, h = _results(u, A, merge, window, save)
    h = h.zero_() if h0 is None else h.copy_(h0)
    # a sum of routes is not rounded to a half type between two of them
    out = torch.zeros_like(y, dtype=A.dtype if merge and len(A) > 1 else y.dtype)
    with torch.autocast(u.device.type, enabled=False):
        for i, start in enumerate(range(0, u.shape[2], walk.steps)):
            if save:
                starts[i] = h
            chunk = walk.chunk(start)
            decay, increment, states = walk.states(h, chunk)
            h = states[-1].clone()
            if window:
                states += walk.right(decay, increment) - increment
            part = torch.einsum("lbkdn,lbkn->lbkd", states, chunk.C)
            walk.put(out, start, part if D is None else part.addcmul_(chunk.u, D))
    return out.to(u.dtype), starts, h


def _results(
    u: Tensor, A: Tensor, merge: bool, window: int, save: bool
) -> tuple[Tensor, Tensor, Tensor]:
    b, _, length, d = u.shape
    k, _, n = A.shape
    starts = A.new_empty((-(-length // chunk_steps(window)), b, k, d, n) if save else (0,))
    return u.new_empty((b, 1 if merge else k, length, d)), starts, A.new_empty((b, k, d, n))


@scan.register_fake
def _(  # type: ignore[no-untyped-def]
    u, delta, A, B, C, D, bias, W, h0, table, lengths, softplus, merge, window, save
) -> tuple[Tensor, Tensor, Tensor]:
    return _results(u, A, merge, window, save)


@torch.library.custom_op("medssm::scan_chunked_backward", mutates_args=())
def scan_backward(
    dy: Tensor,
    dlast: Tensor | None,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    bias: Tensor | None,
    W: Tensor | None,
    table: Tensor | None,
    lengths: Tensor | None,
    starts: Tensor,
    softplus: bool,
    merge: bool,
    window: int,
) -> list[Tensor]:
    """Gradients of u, delta, A, B, C, D, bias, W and the initial state."""
    walk = Walk(u, delta, A, B, C, D, bias, W, None, table, lengths, softplus, merge, window)
    grads = [torch.zeros_like(x) for x in _gradients(u, delta, A, B, C, W)]
    if dlast is not None:
        grads[8].copy_(dlast)
    k, d, _ = A.shape
    with torch.autocast(u.device.type, enabled=False):
        for i in reversed(range(len(starts))):
            start = i * walk.steps
            e = walk.take(dy, start).expand(-1, -1, k, d)
            _chunk_backward(walk, start, starts[i], e, grads)
    return [grads[0].to(u.dtype), *grads[1:]]


def _chunk_backward(walk: Walk, start: int, h: Tensor, e: Tensor, grads: list[Tensor]) -> None:
    """The gradients of one chunk, added to their tensors; the last is that of its first state."""
    chunk = walk.chunk(start)
    decay, increment, states = walk.states(h, chunk)
    if chunk.valid is not None:
        e = torch.where(chunk.valid, e, 0.0)
    direct = e[..., None] * chunk.C[..., None, :]
    g = torch.empty_like(direct)
    later = grads[8]
    for t in reversed(range(len(g))):
        torch.add(direct[t], later, out=g[t])
        later = decay[t] * g[t]
    w = (states - increment).mul_(g)
    if walk.window:
        right, gr = walk.right(decay, increment), torch.empty_like(g)
        for t in range(len(g)):
            first = t % walk.window == 0
            gr[t] = direct[t] if first else torch.addcmul(direct[t], decay[t - 1], gr[t - 1])
        right -= increment
        w.addcmul_(right, gr)
        states += right
        g += gr - direct
    q = torch.einsum("lbkdn,lbkn->lbkd", g, chunk.B)
    ds = chunk.u * q + torch.einsum("lbkdn,kdn->lbkd", w, walk.A)
    du, dr, su = chunk.s * q, ds * chunk.slope, chunk.s * chunk.u
    walk.put(grads[0], start, du if walk.D is None else du + e * walk.D)
    low = dr if walk.W is None else torch.einsum("lbkd,kdr->lbkr", dr, walk.W)
    walk.put(grads[1], start, low)
    grads[2] += torch.einsum("lbkdn,lbkd->kdn", w, chunk.s)
    walk.put(grads[3], start, torch.einsum("lbkdn,lbkd->lbkn", g, su))
    walk.put(grads[4], start, torch.einsum("lbkdn,lbkd->lbkn", states, e))
    grads[5] += (e * chunk.u).sum((0, 1))
    grads[6] += dr.sum((0, 1))
    if walk.W is not None:
        grads[7] += torch.einsum("lbkd,lbkr->kdr", dr, chunk.low)
    grads[8].copy_(later)


def _gradients(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, W: Tensor | None
) -> list[Tensor]:
    """Empty gradients; that of a shared u is as wide as the state until all routes are in."""
    like = torch.empty_like
    shared = u.shape[1] < A.shape[0]
    du = like(u, dtype=A.dtype if shared else u.dtype)
    small = A.new_empty(A.shape[:2])
    dW = A.new_empty(0) if W is None else like(W)
    return [du, like(delta), like(A), like(B), like(C), small, like(small), dW,
            A.new_empty((u.shape[0], *A.shape))]  # fmt: skip


@scan_backward.register_fake
def _(  # type: ignore[no-untyped-def]
    dy, dlast, u, delta, A, B, C, D, bias, W, table, lengths, starts, softplus, merge, window
) -> list[Tensor]:
    grads = _gradients(u, delta, A, B, C, W)
    return [torch.empty_like(u), *grads[1:]]


def _setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, h0, table, lengths, softplus, merge, window, _ = inputs
    ctx.save_for_backward(*tensors, table, lengths, output[1])
    ctx.has_h0, ctx.flags = h0 is not None, (softplus, merge, window)
    ctx.set_materialize_grads(False)


def _backward(ctx, dy, _dstarts, dlast):  # type: ignore[no-untyped-def]
    saved = ctx.saved_tensors
    u, _, A, _, _, D, bias, W, *_ = saved
    if dy is None:
        dy = u.new_zeros((u.shape[0], 1 if ctx.flags[1] else A.shape[0], *u.shape[2:]))
    *grads, dD, dbias, dW, dh0 = scan_backward(dy, dlast, *saved, *ctx.flags)
    dD, dbias, dW = (None if x is None else y for x, y in ((D, dD), (bias, dbias), (W, dW)))
    return *grads, dD, dbias, dW, dh0 if ctx.has_h0 else None, *[None] * 6


scan.register_autograd(_backward, setup_context=_setup)
