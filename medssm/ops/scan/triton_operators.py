"""The Triton scan as torch custom operators: one node to torch.compile and torch.export."""

import torch
from torch import Tensor

from medssm.ops.scan import triton_gradients, triton_launch
from medssm.ops.scan.triton_launch import Operands


@torch.library.custom_op("medssm::scan_triton", mutates_args=())
def scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    bias: Tensor | None,
    z: Tensor | None,
    initial: Tensor | None,
    table: Tensor | None,
    lengths: Tensor | None,
    softplus: bool,
    merge: bool,
    window: int,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scan forward: (out, sum before the gate or empty, states that enter chunks, last state)."""
    call = Operands(u, delta, A, B, C, D, bias, z, table, lengths, softplus, merge, window)
    out, y, entering, last = triton_launch.forward(call, initial, save)
    return out, y, entering, last


@scan.register_fake
def _(  # type: ignore[no-untyped-def]
    u, delta, A, B, C, D, bias, z, initial, table, lengths, softplus, merge, window, save
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    b, k, length, d = delta.shape
    shape = (b, 1 if merge else k, length, d)
    return (
        u.new_empty(shape),
        u.new_empty(shape if save and z is not None else 0),
        triton_launch.saved_states(delta, A, save),
        A.new_empty((b, k, d, A.shape[2])),
    )


@torch.library.custom_op("medssm::scan_triton_backward", mutates_args=())
def scan_backward(
    dout: Tensor,
    dlast: Tensor | None,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    bias: Tensor | None,
    z: Tensor | None,
    table: Tensor | None,
    lengths: Tensor | None,
    y: Tensor,
    entering: Tensor,
    softplus: bool,
    merge: bool,
    window: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of u, delta, [B, C] side by side, A, D, the bias, z and the initial state."""
    call = Operands(u, delta, A, B, C, D, bias, z, table, lengths, softplus, merge, window)
    du, ddelta, pairs, dA, dD, dbias, dz, start = triton_gradients.backward(
        call, dout, dlast, y, entering
    )
    return du, ddelta, pairs, dA, dD, dbias, dz, start


@scan_backward.register_fake
def _(  # type: ignore[no-untyped-def]
    dout, dlast, u, delta, A, B, C, D, bias, z, table, lengths, y, entering, softplus, merge, window
) -> tuple[Tensor, ...]:
    b, k, length, d = delta.shape
    n = A.shape[2]
    return (
        u.new_empty(u.shape),
        delta.new_empty(delta.shape),
        A.new_empty((b, k, length, n, 2)),
        A.new_empty((k, d, n)),
        A.new_empty((k, d)),
        A.new_empty((k, d)),
        u.new_empty(0) if z is None else z.new_empty(z.shape),
        A.new_empty((b, k, d, n)),
    )


def _setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, initial, table, lengths, softplus, merge, window, _ = inputs
    _, y, entering, _ = output
    ctx.save_for_backward(*tensors, table, lengths, y, entering)
    ctx.has_initial, ctx.flags = initial is not None, (softplus, merge, window)
    ctx.set_materialize_grads(False)


def _backward(ctx, dout, _dy, _dentering, dlast):  # type: ignore[no-untyped-def]
    saved = ctx.saved_tensors
    u, delta, _, B, C, D, bias, z, *_ = saved
    if dout is None:
        routes = 1 if ctx.flags[1] else delta.shape[1]
        dout = u.new_zeros((u.shape[0], routes, *u.shape[2:]))
    du, ddelta, pairs, dA, dD, dbias, dz, start = scan_backward(dout, dlast, *saved, *ctx.flags)
    dB, dC = pairs.unbind(-1)
    return (
        du,
        ddelta,
        dA,
        dB.to(B.dtype),
        dC.to(C.dtype),
        None if D is None else dD,
        None if bias is None else dbias,
        None if z is None else dz,
        start if ctx.has_initial else None,
        *[None] * 6,
    )


scan.register_autograd(_backward, setup_context=_setup)
