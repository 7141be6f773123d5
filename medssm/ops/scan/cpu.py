"""The native scan on CPU as torch custom operators, with autograd and shapes for tracing."""

import ctypes
import functools
from pathlib import Path

import torch
from torch import Tensor

from medssm.ops.native.build import NoCompilerError
from medssm.ops.native.library import CHUNK, View, lanes, load, put
from medssm.ops.scan.inputs import ScanInputs
from medssm.ops.scan.reference import Result

SOURCE = Path(__file__).parent / "scan_cpu.cpp"
GROUP = 16  # states in one pass, as in the source
MAX_RANK = 16  # largest low-rank step that the kernel multiplies out itself
_SIZES = [
    "batch",
    "routes",
    "length",
    "channels",
    "states",
    "rank",
    "softplus",
    "threads",
    "segments",
    "parts",
]
_POINTERS = [
    "pos",
    "A",
    "D",
    "bias",
    "W",
    "h0",
    "hT",
    "starts",
    "dhT",
    "dA",
    "dD",
    "dbias",
    "dW",
    "dh0",
]
_VIEWS = ["u", "dt", "B", "C", "z", "y", "out", "dout", "du", "ddt", "dB", "dC", "dz"]


class ScanCall(ctypes.Structure):
    """The C struct of the same name."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in _SIZES),
        *((name, ctypes.c_void_p) for name in _POINTERS),
        ("part_stride", ctypes.c_int64),
        *((name, View) for name in _VIEWS),
    )


@functools.cache
def missing() -> str | None:
    """Say why this machine cannot run the native scan; None when it can."""
    try:
        library = load(SOURCE)
    except (NoCompilerError, OSError) as error:
        return f"{error}; install g++ for scans about 100 times faster."
    assert library.medssm_scan_call_size() == ctypes.sizeof(ScanCall)
    return None


def refuses(call: ScanInputs) -> str | None:
    """Say why the native scan cannot take a call; None when it can."""
    if call.u.device.type != "cpu":
        return f"the tensors are on {call.u.device.type}, not on the CPU."
    if call.lengths is not None or call.local_window:
        return "it takes no lengths and no local window."
    if torch.float16 in {x.dtype for x in (call.u, call.delta, call.B, call.C)}:
        return None if load(SOURCE).medssm_scan_has_half() else "the compiler had no float16."
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
    out, _, _, last = scan(*tensors, call.table, call.softplus, call.merge, save)
    if gate_outside:
        assert call.z is not None
        out = out * torch.nn.functional.silu(call.z)[:, None].to(out.dtype)
    return out[:, 0] if call.merge else out, last


def _computing(u: Tensor) -> torch.dtype:
    return torch.float64 if u.dtype == torch.float64 else torch.float32


def _like(x: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An empty tensor, dense, channels first in memory where x is."""
    if x.stride(-1) != 1 and x.stride(-2) == 1:
        b, k, length, d = shape
        return x.new_empty((b, k, d, length), dtype=dtype).transpose(2, 3)
    return x.new_empty(shape, dtype=dtype)


def _results(u: Tensor, A: Tensor, z: Tensor | None, merge: bool, save: bool) -> list[Tensor]:
    """Allocate out, y before the gate, the states at chunk starts and the last state."""
    b, _, length, d = u.shape
    k, _, n = A.shape
    computing = _computing(u)
    several = n > GROUP or (merge and k > 1)  # several passes add up: not in a half type
    shape = (b, 1 if merge else k, length, d)
    out = _like(u, shape, u.dtype if z is not None or not several else computing)
    y = u.new_empty(0, dtype=computing)
    if z is not None and (save or several):
        y = _like(u, shape, computing if several else u.dtype)
    width = _width(n, computing) * -(-d // lanes(computing)) * lanes(computing)
    saved = b * k * -(-length // CHUNK) * width if save else 0
    starts = u.new_empty(saved, dtype=computing)
    return [out, y, starts, u.new_empty((b, k, d, n), dtype=computing)]


def _width(n: int, computing: torch.dtype) -> int:
    """States kept per channel: padded as the kernel pads them."""
    if n > GROUP or computing == torch.float64:
        return -(-n // GROUP) * GROUP
    return 1 << (n - 1).bit_length()


def _describe(
    u: Tensor, dt: Tensor, A: Tensor, W: Tensor | None, z: Tensor | None, softplus: bool
) -> ScanCall:
    call = ScanCall()
    call.batch, _, call.length, call.channels = u.shape
    call.routes, _, call.states = A.shape
    call.rank = 0 if W is None else W.shape[2]
    call.softplus, call.threads = int(softplus), torch.get_num_threads()
    call.segments = call.parts = 1
    put(call.u, u)
    put(call.dt, dt)
    put(call.z, None if z is None else z.unsqueeze(1))
    return call


def _point(call: ScanCall, **tensors: Tensor | None) -> None:
    for name, tensor in tensors.items():
        if tensor is not None:
            setattr(call, name, tensor.data_ptr())


def _dense(*tensors: Tensor | None) -> list[Tensor | None]:
    return [None if tensor is None else tensor.contiguous() for tensor in tensors]


def _split(call: ScanCall, idle: int) -> int:
    """Segments of the length: as many as busy the threads that tasks leave idle."""
    tasks = call.batch * -(-call.channels // lanes(torch.float32))
    if tasks == 0 or call.threads < idle * tasks:
        return 1
    chunks = -(-call.length // CHUNK)
    return max(1, min(-(-call.threads // tasks), chunks // 2))


def _launch(call: ScanCall, dtype: torch.dtype, back: bool) -> None:
    failed = load(SOURCE).medssm_scan(ctypes.byref(call), int(dtype == torch.float64), int(back))
    if failed:
        raise ValueError(
            "routes: every row of the table must visit each position 0..L-1 exactly once."
        )


@torch.library.custom_op("medssm::scan_cpu", mutates_args=(), device_types="cpu")
def scan(
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
    softplus: bool,
    merge: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scan forward: (out, y before the gate or empty, states at chunk starts, last state)."""
    A, D, bias, W, h0, table = _dense(A, D, bias, W, h0, table)  # type: ignore[assignment]
    call = _describe(u, dt, A, W, z, softplus)
    out, y, starts, last = _results(u, A, z, merge, save)
    call.segments = _split(call, idle=3)
    put(call.B, B)
    put(call.C, C)
    if z is not None:
        put(call.out, out)
    if z is None or y.numel():
        put(call.y, out if z is None else y, merge)
    _point(call, pos=table, A=A, D=D, bias=bias, W=W, h0=h0, hT=last)
    _point(call, starts=starts if save else None)
    _launch(call, _computing(u), back=False)
    return out.to(u.dtype), y, starts, last


@scan.register_fake
def _(  # type: ignore[no-untyped-def]
    u, dt, A, B, C, D, bias, W, z, h0, table, softplus, merge, save
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    out, y, starts, last = _results(u, A, z, merge, save)
    return out.to(u.dtype), y, starts, last


def _gradients(
    u: Tensor, dt: Tensor, A: Tensor, W: Tensor | None, z: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Allocate the gradients of u, of a full-rank delta and of z."""
    computing = _computing(u)
    k, _, n = A.shape
    passes = n > GROUP
    du = _like(u, tuple(u.shape), computing if passes or u.shape[1] < k else u.dtype)
    full = () if W is not None else tuple(dt.shape)
    ddt = _like(dt, full, computing if passes else dt.dtype) if full else dt.new_empty(0)
    dz = u.new_empty(0) if z is None else torch.empty_like(z, memory_format=torch.contiguous_format)
    return du, ddt, dz


@torch.library.custom_op("medssm::scan_cpu_backward", mutates_args=(), device_types="cpu")
def scan_backward(
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
    y: Tensor,
    starts: Tensor,
    softplus: bool,
    merge: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of u, delta, [low-rank delta, B, C], A, D, bias, W, z and the initial state."""
    A, D, bias, W, table, dlast = _dense(A, D, bias, W, table, dlast)  # type: ignore[assignment]
    call = _describe(u, dt, A, W, z, softplus)
    computing = _computing(u)
    b, k, length, d, n, rank = (int(call.batch), int(call.routes), int(call.length),
                                int(call.channels), int(call.states), int(call.rank))  # fmt: skip
    blocks, groups = -(-d // lanes(computing)), -(-n // GROUP)
    call.segments = _split(call, idle=2)
    call.parts = max(1, min(blocks, -(-call.threads // max(1, b * call.segments))))
    du, ddt, dz = _gradients(u, dt, A, W, z)
    steps = u.new_empty((call.parts, b, k, length, rank + 2 * n), dtype=computing)
    call.part_stride = steps.stride(0)
    first = steps[0]
    put(call.dB, first[..., rank : rank + n])
    put(call.dC, first[..., rank + n :])
    put(call.ddt, first[..., :rank] if rank else ddt)
    put(call.du, du)
    put(call.B, B)
    put(call.C, C)
    put(call.dout, dout, merge)
    if z is not None:
        put(call.y, y)
        put(call.dz, dz.unsqueeze(1))
    new = functools.partial(u.new_empty, dtype=computing)
    slots = (call.segments, b, k, d)
    dA, dD, dbias = new((*slots, n)), new(slots), new((*slots, groups))
    dW, dh0 = new((*slots, rank, groups)), new((b, k, d, n))
    _point(call, pos=table, A=A, D=D, bias=bias, W=W, starts=starts, dhT=dlast)
    _point(call, dA=dA, dD=dD, dbias=dbias, dW=dW, dh0=dh0)
    _launch(call, computing, back=True)
    over = (0, 1)
    small = (dA.sum(over), dD.sum(over), dbias.sum((0, 1, 4)), dW.sum((0, 1, 5)))
    summed = steps[0] if call.parts == 1 else steps.sum(0)
    if call.parts == 1:
        summed = steps.view(steps.shape[1:])
    return du.to(u.dtype), ddt.to(dt.dtype), summed, *small, dz, dh0


@scan_backward.register_fake
def _(  # type: ignore[no-untyped-def]
    dout, dlast, u, dt, A, B, C, D, bias, W, z, table, y, starts, softplus, merge
) -> tuple[Tensor, ...]:
    b, _, length, d = u.shape
    k, _, n = A.shape
    rank = 0 if W is None else W.shape[2]
    du, ddt, dz = _gradients(u, dt, A, W, z)
    new = functools.partial(u.new_empty, dtype=_computing(u))
    small = (new((k, d, n)), new((k, d)), new((k, d)), new((k, d, rank)))
    steps = new((b, k, length, rank + 2 * n))
    return du.to(u.dtype), ddt.to(dt.dtype), steps, *small, dz, new((b, k, d, n))


def _setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, h0, table, softplus, merge, _ = inputs
    _, y, starts, _ = output
    ctx.save_for_backward(*tensors, table, y, starts)
    ctx.has_h0, ctx.flags = h0 is not None, (softplus, merge)
    ctx.set_materialize_grads(False)


def _backward(ctx, dout, _dy, _dstarts, dlast):  # type: ignore[no-untyped-def]
    saved = ctx.saved_tensors
    u, dt, A, B, C, D, bias, W, z, *_ = saved
    if dout is None:
        shape = (u.shape[0], 1 if ctx.flags[1] else A.shape[0], *u.shape[2:])
        dout = u.new_zeros(shape)
    elif u.stride(-1) == 1:
        dout = dout.contiguous()
    du, ddt, steps, dA, dD, dbias, dW, dz, dh0 = scan_backward(dout, dlast, *saved, *ctx.flags)
    rank, n = (0 if W is None else W.shape[2]), A.shape[2]
    low, dB, dC = steps.split((rank, n, n), dim=-1)
    return (
        du,
        ddt if W is None else low.to(dt.dtype),
        dA,
        dB.to(B.dtype),
        dC.to(C.dtype),
        None if D is None else dD,
        None if bias is None else dbias,
        None if W is None else dW,
        None if z is None else dz,
        dh0 if ctx.has_h0 else None,
        None,
        None,
        None,
        None,
    )


scan.register_autograd(_backward, setup_context=_setup)
