"""The causal convolution's Triton backend. Sums are taken in a fixed order, without atomics."""

from typing import Any

import torch
from torch import Tensor

from medssm.ops.conv.autograd import connect
from medssm.ops.conv.inputs import ConvInputs
from medssm.ops.scan.triton_backend import missing, refuses_place, refuses_types
from medssm.ops.scan.triton_launch import on, rows
from medssm.ops.scan.triton_launch import run as launch
from medssm.ops.scan.triton_plan import channel_block
from medssm.ops.scan.triton_routes import inspect, inverse

__all__ = ["missing", "refuses", "run"]

MOST_TAPS = 8
WARPS = 4  # of a program of the forward


def refuses(call: ConvInputs) -> str | None:
    """Say why the Triton convolution cannot take a call; None when it can."""
    if call.weight.shape[2] > MOST_TAPS:
        return f"it has {MOST_TAPS} taps at most, the weight has {call.weight.shape[2]}."
    return refuses_place(call.x) or refuses_types(x=call.x)


def run(call: ConvInputs) -> Tensor:
    """Convolve by Triton; gradients flow to x, weight and bias."""
    return conv(call.x, call.weight, call.bias, call.table, call.silu)


def tile(taps: int) -> tuple[int, int]:
    """Steps of a program, and warps of the backward's, which holds 2 taps - 1 rows a step."""
    return (32, 16) if taps <= 4 else (8, 8)


def _arguments(
    x: Tensor, weight: Tensor, bias: Tensor | None, table: Tensor | None, silu: bool
) -> dict[str, Any]:
    """What both kernels are given; the weights as (route, tap, channel)."""
    x = rows(x)
    _, length, channels = x.shape
    routes, _, taps = weight.shape
    weight = weight.transpose(1, 2).contiguous()
    block, steps = channel_block(channels), tile(taps)[0]
    return {
        "x_ptr": x, "weight_ptr": weight, "bias_ptr": weight if bias is None else bias.contiguous(),
        "table_ptr": weight if table is None else table.contiguous(), "x_b": x.stride(0),
        "x_l": x.stride(1), "length": length, "channels": channels, "routes": routes,
        "blocks": -(-channels // block), "tiles": -(-length // steps), "TAPS": taps,
        "TABLE": table is not None, "BIAS": bias is not None, "SILU": silu, "T": steps, "BD": block,
    }  # fmt: skip


@torch.library.custom_op("medssm::conv_triton", mutates_args=())
def conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, table: Tensor | None, silu: bool
) -> Tensor:
    """Convolve forward: x (b, L, d) to (b, k, L, d)."""
    b, length, d = x.shape
    routes = weight.shape[0]
    out = x.new_empty((b, routes, length, d))
    inspect(table)
    if out.numel():
        from medssm.ops.conv.triton_kernels import convolve

        values = _arguments(x, weight, bias, table, silu) | {"out_ptr": out}
        programs = b * routes * values["tiles"] * values["blocks"]
        with on(x.device):
            launch(convolve, programs, values, num_warps=WARPS)
    return out


@torch.library.custom_op("medssm::conv_triton_backward", mutates_args=())
def conv_backward(
    dout: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    table: Tensor | None,
    silu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias."""
    b, _, d = x.shape
    routes, _, taps = weight.shape
    dx = x.new_empty(x.shape)
    if not dout.numel():
        return dx.zero_(), weight.new_zeros(weight.shape), weight.new_zeros((routes, d))
    from medssm.ops.conv.triton_kernels import convolve_gradients

    dout = rows(dout)
    values = _arguments(x, weight, bias, table, silu)
    tiles = values["tiles"]
    dweight = weight.new_empty((b, routes, tiles, taps, d))
    dbias = weight.new_empty((b, routes, tiles, d))
    values |= {
        "inverse_ptr": weight if table is None else inverse(table), "dout_ptr": dout,
        "dout_b": dout.stride(0), "dout_k": dout.stride(1), "dout_l": dout.stride(2),
        "dx_ptr": dx, "dweight_ptr": dweight, "dbias_ptr": dbias,
    }  # fmt: skip
    programs = b * tiles * values["blocks"]
    with on(x.device):
        launch(convolve_gradients, programs, values, num_warps=tile(taps)[1])
    return dx, dweight.sum((0, 2)).transpose(1, 2).contiguous(), dbias.sum((0, 2))


connect(conv, conv_backward)
