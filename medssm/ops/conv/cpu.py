"""The native causal convolution on CPU as torch custom operators."""

import ctypes
import functools
from pathlib import Path

import torch
from torch import Tensor

from medssm.ops.conv.inputs import ConvInputs
from medssm.ops.native.build import NoCompilerError
from medssm.ops.native.library import View, load, put

SOURCE = Path(__file__).parent / "conv_cpu.cpp"
MOST_TAPS = 8
LEAST_STEPS = 256  # steps of a task: below this a thread costs more than it saves
_SIZES = ["batch", "routes", "length", "channels", "taps", "silu", "threads", "segments"]


class ConvCall(ctypes.Structure):
    """The C struct of the same name."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in _SIZES),
        *((name, ctypes.c_void_p) for name in ("pos", "weight", "bias", "dweight", "dbias")),
        *((name, View) for name in ("x", "out", "dout", "dx")),
    )


@functools.cache
def missing() -> str | None:
    """Say why this machine cannot run the native convolution; None when it can."""
    try:
        library = load(SOURCE)
    except (NoCompilerError, OSError) as error:
        return f"{error}."
    assert library.medssm_conv_call_size() == ctypes.sizeof(ConvCall)
    return None


def refuses(call: ConvInputs) -> str | None:
    """Say why the native convolution cannot take a call; None when it can."""
    if call.x.device.type != "cpu":
        return f"the tensors are on {call.x.device.type}, not on the CPU."
    if call.weight.shape[2] > MOST_TAPS:
        return f"it has {MOST_TAPS} taps at most, the weight has {call.weight.shape[2]}."
    if call.x.dtype == torch.float16 and not load(SOURCE).medssm_conv_has_half():
        return "the compiler had no float16."
    return None


def run(call: ConvInputs) -> Tensor:
    """Convolve natively; gradients flow to x, weight and bias."""
    return conv(call.x, call.weight, call.bias, call.table, call.silu)


def _describe(x: Tensor, weight: Tensor, bias: Tensor | None, table: Tensor | None) -> ConvCall:
    call = ConvCall()
    call.batch, call.length, call.channels = x.shape
    call.routes, _, call.taps = weight.shape
    call.threads = torch.get_num_threads()
    call.segments = max(1, min(4 * call.threads, call.length // LEAST_STEPS))
    call.weight = weight.data_ptr()
    call.bias = None if bias is None else bias.data_ptr()
    call.pos = None if table is None else table.data_ptr()
    put(call.x, x.unsqueeze(1))
    return call


def _launch(call: ConvCall, dtype: torch.dtype, back: bool) -> None:
    failed = load(SOURCE).medssm_conv(ctypes.byref(call), int(dtype == torch.float64), int(back))
    if failed:
        raise ValueError(
            "routes: every row of the table must visit each position 0..L-1 exactly once."
        )


@torch.library.custom_op("medssm::conv_cpu", mutates_args=(), device_types="cpu")
def conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, table: Tensor | None, silu: bool
) -> Tensor:
    """Convolve forward: x (b, L, d) to (b, k, L, d)."""
    weight = weight.contiguous()
    bias = None if bias is None else bias.contiguous()
    table = None if table is None else table.contiguous()
    call = _describe(x, weight, bias, table)
    call.silu = int(silu)
    b, length, d = x.shape
    out = x.new_empty((b, weight.shape[0], length, d))
    put(call.out, out)
    _launch(call, weight.dtype, back=False)
    return out


@conv.register_fake
def _(x, weight, bias, table, silu) -> Tensor:  # type: ignore[no-untyped-def]
    b, length, d = x.shape
    return x.new_empty((b, weight.shape[0], length, d))


@torch.library.custom_op("medssm::conv_cpu_backward", mutates_args=(), device_types="cpu")
def conv_backward(
    dout: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    table: Tensor | None,
    silu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias."""
    weight = weight.contiguous()
    bias = None if bias is None else bias.contiguous()
    table = None if table is None else table.contiguous()
    call = _describe(x, weight, bias, table)
    call.silu = int(silu)
    b, length, d = x.shape
    k, _, taps = weight.shape
    # several routes add up: not in a half type
    dx = x.new_empty((b, length, d), dtype=x.dtype if k == 1 else weight.dtype)
    dweight = weight.new_empty((call.segments, b, k, d, taps))
    dbias = weight.new_empty((call.segments, b, k, d))
    put(call.dout, dout)
    put(call.dx, dx.unsqueeze(1))
    call.dweight, call.dbias = dweight.data_ptr(), dbias.data_ptr()
    if x.numel() == 0:
        dweight.zero_()
        dbias.zero_()
    _launch(call, weight.dtype, back=True)
    return dx.to(x.dtype), dweight.sum((0, 1)), dbias.sum((0, 1))


@conv_backward.register_fake
def _(dout, x, weight, bias, table, silu):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape), weight.new_empty(weight.shape), weight.new_empty(weight.shape[:2])


def _setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, ctx.silu = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, dout):  # type: ignore[no-untyped-def]
    x, weight, bias, table = ctx.saved_tensors
    dx, dweight, dbias = conv_backward(dout, x, weight, bias, table, ctx.silu)
    return dx, dweight, None if bias is None else dbias, None, None


conv.register_autograd(_backward, setup_context=_setup)
