"""The native scan on CPU as torch custom operators, with autograd and shapes for tracing."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from medssm.ops.native.library import CHUNK, lanes, load
from medssm.ops.native.record import at, dense, launch, unwatched, view
from medssm.ops.native.variants import NoCompilerError
from medssm.ops.scan.cpu_call import (
    MAX_RANK,
    SOURCE,
    WORDS,
    gradients,
    results,
    segments,
    sizes,
    small_gradients,
    struct,
)
from medssm.ops.scan.inputs import ScanInputs
from medssm.ops.scan.reference import Result


def missing() -> str | None:
    """Say why this machine cannot run the native scan; None when it can."""
    try:
        library = load(SOURCE)
    except (NoCompilerError, OSError) as error:
        return f"{error}."
    assert library.medssm_scan_call_size() == WORDS * 8
    return None


def refuses(call: ScanInputs) -> str | None:
    """Say why the native scan cannot take a call; None when it can."""
    if call.u.device.type != "cpu":
        return f"the tensors are on {call.u.device.type}, not on the CPU."
    if call.local_window > CHUNK:
        return f"a local window has {CHUNK} steps at most, this one has {call.local_window}."
    half = torch.float16 in {x.dtype for x in (call.u, call.delta, call.B, call.C)}
    if half and not torch.compiler.is_compiling() and not load(SOURCE).medssm_scan_has_half():
        return "the compiler had no float16."  # under torch.compile the kernel itself says so
    return None


def run(call: ScanInputs) -> Result:
    """Scan natively; gradients flow to every tensor, the initial and the last state."""
    rank = 0 if call.delta_weight is None else call.delta.shape[-1]
    if rank > MAX_RANK:
        call = call.with_full_delta()
    gate_outside = call.z is not None and not call.merge and call.A.shape[0] > 1
    gate = None if gate_outside else call.z
    data = (call.u, call.delta, call.A, call.B, call.C, call.D, call.delta_bias)
    tensors = (*data, call.delta_weight, gate, call.initial_state)
    save = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    flags = (call.softplus, call.merge, call.local_window)
    out, _, _, last = _chosen(save, tensors)(*tensors, call.table, call.lengths, *flags, save)
    if gate_outside:
        assert call.z is not None
        out = out * torch.nn.functional.silu(call.z)[:, None].to(out.dtype)
    return out[:, 0] if call.merge else out, last


def _launch(words: list[int], u: Tensor, back: bool) -> None:
    launch(SOURCE, "medssm_scan", words, u.dtype == torch.float64, back)


def _chosen(save: bool, tensors: tuple[Tensor | None, ...]) -> Callable[..., tuple[Tensor, ...]]:
    if unwatched(*tensors):
        return Direct.apply if save else forward
    return scan


def forward(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    bias: Tensor | None,
    W: Tensor | None,
    z: Tensor | None,
    h0: Tensor | None,
    table: Tensor | None,
    lengths: Tensor | None,
    softplus: bool,
    merge: bool,
    window: int,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scan forward: (out, y before the gate or empty, states at chunk starts, last state)."""
    A, D, bias, W, h0, table, lengths = dense(A, D, bias, W, h0, table, lengths)  # type: ignore[assignment]
    out, y, starts, last = results(u, A, z, merge, window, save)
    if u.numel() == 0:
        last = last.zero_() if h0 is None else last.copy_(h0)
        return out.to(u.dtype), y, starts, last
    head = sizes(u, A, W, softplus, window, (segments(u, window, idle=3), 1))
    pointers = [at(x) for x in (table, lengths, A, D, bias, W, h0, last, starts if save else None)]
    views = {"u": view(u), "dt": view(dt), "B": view(B), "C": view(C)}
    if z is not None:
        views["z"], views["out"] = view(z.unsqueeze(1)), view(out)
    if z is None or y.numel():
        views["y"] = view(out if z is None else y, merge)
    _launch(struct(head, pointers + [0] * 6, views), u, back=False)
    return out.to(u.dtype), y, starts, last


scan = torch.library.custom_op("medssm::scan_cpu", mutates_args=(), device_types="cpu")(forward)


@scan.register_fake
def _(  # type: ignore[no-untyped-def]
    u, dt, A, B, C, D, bias, W, z, h0, table, lengths, softplus, merge, window, save
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    out, y, starts, last = results(u, A, z, merge, window, save)
    return out.to(u.dtype), y, starts, last


def backward(
    dout: Tensor,
    dlast: Tensor | None,
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    bias: Tensor | None,
    W: Tensor | None,
    z: Tensor | None,
    table: Tensor | None,
    lengths: Tensor | None,
    y: Tensor,
    starts: Tensor,
    softplus: bool,
    merge: bool,
    window: int,
) -> list[Tensor]:
    """Gradients of u, delta, B, C, z, A, D, bias, W and the initial state."""
    A, D, bias, W, table, lengths, dlast = dense(A, D, bias, W, table, lengths, dlast)  # type: ignore[assignment]
    b, _, _, d = u.shape
    du, ddt, dB, dC, dz = gradients(u, dt, A, B, C, W, z)
    small = small_gradients(u, A, W)
    if u.numel() == 0:
        small = [each.zero_() for each in small]
        small[4] = small[4] if dlast is None else small[4].copy_(dlast)
        return [du.to(u.dtype), ddt.to(dt.dtype), dB.zero_(), dC.zero_(), dz, *small]
    views = {"u": view(u), "dt": view(dt), "B": view(B), "C": view(C), "dout": view(dout, merge),
             "du": view(du), "ddt": view(ddt), "dB": view(dB), "dC": view(dC)}  # fmt: skip
    if z is not None:
        views |= {"z": view(z.unsqueeze(1)), "y": view(y), "dz": view(dz.unsqueeze(1))}
    pieces = segments(u, window, idle=2)
    blocks = -(-d // lanes(A.dtype))
    parts = max(1, min(blocks, -(-torch.get_num_threads() // (b * pieces))))
    head = sizes(u, A, W, softplus, window, (pieces, parts))
    pointers = [at(x) for x in (table, lengths, A, D, bias, W, None, None, starts, dlast, *small)]
    _launch(struct(head, pointers, views), u, back=True)
    return [du.to(u.dtype), ddt.to(dt.dtype), dB, dC, dz, *small]


scan_backward = torch.library.custom_op(
    "medssm::scan_cpu_backward", mutates_args=(), device_types="cpu"
)(backward)


@scan_backward.register_fake
def _(  # type: ignore[no-untyped-def]
    dout, dlast, u, dt, A, B, C, D, bias, W, z, table, lengths, y, starts, softplus, merge, window
) -> list[Tensor]:
    du, ddt, dB, dC, dz = gradients(u, dt, A, B, C, W, z)
    return [du.to(u.dtype), ddt.to(dt.dtype), dB, dC, dz, *small_gradients(u, A, W)]


def _setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, h0, table, lengths, softplus, merge, window, _ = inputs
    _, y, starts, _ = output
    ctx.save_for_backward(*tensors, table, lengths, y, starts)
    ctx.has_h0, ctx.flags = h0 is not None, (softplus, merge, window)
    ctx.set_materialize_grads(False)


def _backward(ctx, dout, _dy, _dstarts, dlast, run=scan_backward):  # type: ignore[no-untyped-def]
    saved = ctx.saved_tensors
    u, _, A, _, _, D, bias, W, z, *_ = saved
    if dout is None:
        dout = u.new_zeros((u.shape[0], 1 if ctx.flags[1] else A.shape[0], *u.shape[2:]))
    elif u.stride(-1) == 1 and dout.stride(-1) != 0:  # an expanded one is read as it is
        dout = dout.contiguous()
    du, ddt, dB, dC, dz, dA, *small = run(dout, dlast, *saved, *ctx.flags)
    dD, dbias, dW, dh0 = small
    return (
        du,
        ddt,
        dA,
        dB,
        dC,
        None if D is None else dD,
        None if bias is None else dbias,
        None if W is None else dW,
        None if z is None else dz,
        dh0 if ctx.has_h0 else None,
        *[None] * 6,
    )


scan.register_autograd(_backward, setup_context=_setup)


class Direct(torch.autograd.Function):
    """The operator without the dispatcher: the same forward and backward."""

    forward = staticmethod(forward)
    setup_context = staticmethod(_setup)

    @staticmethod
    @once_differentiable
    def backward(ctx, dout, dy, dstarts, dlast):  # type: ignore[no-untyped-def]
        """As the operator's."""
        return _backward(ctx, dout, dy, dstarts, dlast, backward)  # type: ignore[no-untyped-call]
