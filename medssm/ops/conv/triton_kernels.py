"""Triton kernels of the causal convolution along routes, with its SiLU, forward and backward."""

# the device language is typed by its compiler
# mypy: ignore-errors

import triton
import triton.language as tl

from medssm.ops.scan.triton_tile import place, sigmoid

COUNTS = ["length", "routes", "blocks", "tiles"]


@triton.jit
def visit(table_ptr, t, inside, TABLE: tl.constexpr):
    """The positions of steps, with 64 bits; 0 where a step is outside."""
    p = tl.load(table_ptr + t, mask=inside, other=0) if TABLE else tl.where(inside, t, 0)
    return p.to(tl.int64)


@triton.jit
def tokens(ptr, places, stride, inside, od, channels):
    """Rows of channels at some places, (step, channel), in float32; zero outside."""
    mask = inside[:, None] & (od < channels)[None, :]
    found = tl.load(ptr + places[:, None] * stride + od[None, :], mask=mask, other=0.0)
    return found.to(tl.float32)


@triton.jit(do_not_specialize=COUNTS)
def convolve(
    x_ptr, weight_ptr, bias_ptr, table_ptr, out_ptr,
    x_b, x_l, length, channels, routes, blocks, tiles,
    TAPS: tl.constexpr, TABLE: tl.constexpr, BIAS: tl.constexpr, SILU: tl.constexpr,
    T: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """A tile of steps of one route; results go to the positions of the steps."""
    block, tile, k, b = place(tl.program_id(0), blocks, tiles, routes)
    od = block * BD + tl.arange(0, BD)
    mine = od < channels
    t = tile * T + tl.arange(0, T)
    own = t < length
    total = tl.zeros([T, BD], tl.float32)
    if BIAS:
        total += tl.load(bias_ptr + k * channels + od, mask=mine, other=0.0)[None, :]
    for j in tl.static_range(TAPS):
        at = t - (TAPS - 1) + j
        inside = (at >= 0) & (at < length)
        p = visit(table_ptr + k * length, at, inside, TABLE)
        weight = tl.load(weight_ptr + (k * TAPS + j) * channels + od, mask=mine, other=0.0)
        total += weight[None, :] * tokens(x_ptr + b * x_b, p, x_l, inside, od, channels)
    if SILU:
        total = total * sigmoid(total)
    p = visit(table_ptr + k * length, t, own, TABLE)
    row = (b * routes + k) * length
    at = out_ptr + (row + p)[:, None] * channels + od[None, :]
    tl.store(at, total, mask=own[:, None] & mine[None, :])


@triton.jit(do_not_specialize=COUNTS)
def convolve_gradients(
    x_ptr, weight_ptr, bias_ptr, table_ptr, inverse_ptr, dout_ptr, dx_ptr, dweight_ptr, dbias_ptr,
    x_b, x_l, dout_b, dout_k, dout_l, length, channels, routes, blocks, tiles,
    TAPS: tl.constexpr, TABLE: tl.constexpr, BIAS: tl.constexpr, SILU: tl.constexpr,
    T: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """A tile of positions, over all routes: dx is whole, those of weight and bias are partial.

    A position at step t of a route is seen by steps t .. t + TAPS - 1, which see steps
    t - TAPS + 1 .. t + TAPS - 1.
    """
    block, tile, _, b = place(tl.program_id(0), blocks, tiles, 1)
    od = block * BD + tl.arange(0, BD)
    mine = od < channels
    q = tile * T + tl.arange(0, T)
    own = q < length
    dx = tl.zeros([T, BD], tl.float32)
    for k in range(0, routes):
        k64 = b * 0 + k  # as wide as the batch: offsets are made of it
        t = visit(inverse_ptr + k64 * length, q, own, TABLE).to(tl.int32)
        to_table = table_ptr + k64 * length
        slot = ((b * routes + k) * tiles + tile) * channels + od
        bias = tl.zeros([BD], tl.float32)
        if BIAS:
            bias = tl.load(bias_ptr + k * channels + od, mask=mine, other=0.0)
        weights = ()
        seen = ()
        for j in tl.static_range(TAPS):
            weight = tl.load(weight_ptr + (k * TAPS + j) * channels + od, mask=mine, other=0.0)
            weights = weights + (weight,)
        for j in tl.static_range(2 * TAPS - 1):
            at = t - (TAPS - 1) + j
            inside = own & (at >= 0) & (at < length)
            p = visit(to_table, at, inside, TABLE)
            seen = seen + (tokens(x_ptr + b * x_b, p, x_l, inside, od, channels),)
        for j in tl.static_range(TAPS):
            at = t + j
            inside = own & (at < length)
            p = visit(to_table, at, inside, TABLE)
            g = tokens(dout_ptr + b * dout_b + k64 * dout_k, p, dout_l, inside, od, channels)
            if SILU:
                total = tl.zeros([T, BD], tl.float32) + bias[None, :]
                for i in tl.static_range(TAPS):
                    total += weights[i][None, :] * seen[j + i]
                half = sigmoid(total)
                g = g * half * (1.0 + total * (1.0 - half))
            dx += weights[TAPS - 1 - j][None, :] * g
            if j == 0:  # every step is at home in one tile
                tl.store(dbias_ptr + slot, tl.sum(g, axis=0), mask=mine)
                for i in tl.static_range(TAPS):
                    part = dweight_ptr + ((b * routes + k) * tiles + tile) * TAPS * channels
                    tl.store(part + i * channels + od, tl.sum(g * seen[i], axis=0), mask=mine)
    at = dx_ptr + (b * length + q)[:, None] * channels + od[None, :]
    tl.store(at, dx, mask=own[:, None] & mine[None, :])
