"""Device functions of the Triton scans: positions and rows of a tile of steps, the step size.

A program owns a block of channels and walks steps in tiles. A tile is a tuple of vectors, one a
step, so each thread keeps whole channels: no shuffle, no shared memory in a scan, and no assumption
about the size of a warp. States lie in memory as (state, channel), which a program alone reads and
writes; a barrier between tiles orders that for any number of warps.
"""
# the device language is typed by its compiler
# mypy: ignore-errors

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def within(t, low, high, channels):
    """The channels that a step may touch: all of them inside [low, high), else none."""
    return tl.where((t >= low) & (t < high), channels, 0)


@triton.jit
def positions(table_ptr, start, length, T: tl.constexpr, TABLE: tl.constexpr, WIDE: tl.constexpr):
    """The positions visited by T steps; 0 outside the sequence.

    Offsets along the sequence have their type: 64 bits only for tensors that need them (WIDE),
    because every step of a tile keeps several offsets in registers.
    """
    found = ()
    for i in tl.static_range(T):
        t = start + i
        inside = (t >= 0) & (t < length)
        p = tl.load(table_ptr + t, mask=inside, other=0) if TABLE else tl.where(inside, t, 0)
        found = found + (p.to(tl.int64) if WIDE else p,)
    return found


@triton.jit
def rows(ptr, places, stride, start, low, high, od, channels, T: tl.constexpr):
    """A row of channels at each of T places, zero outside [low, high), in float32."""
    found = ()
    for i in tl.static_range(T):
        mask = od < within(start + i, low, high, channels)
        row = tl.load(ptr + (places[i] * stride + od), mask=mask, other=0.0)
        found = found + (row.to(tl.float32),)
    return found


@triton.jit
def element(ptr, t, low, high, LENGTHS: tl.constexpr):
    """One number; zero at a skipped step, where padding may hold anything."""
    if LENGTHS:
        return tl.load(ptr, mask=(t >= low) & (t < high), other=0.0).to(tl.float32)
    return tl.load(ptr).to(tl.float32)


@triton.jit
def store(ptr, places, values, start, length, od, channels, T: tl.constexpr):
    """Write the rows of a tile in a dense tensor."""
    for i in tl.static_range(T):
        mask = od < within(start + i, 0, length, channels)
        tl.store(ptr + (places[i] * channels + od), values[i], mask=mask)


@triton.jit
def added(values, others, T: tl.constexpr):
    """The sum of two tiles."""
    found = ()
    for i in tl.static_range(T):
        found = found + (values[i] + others[i],)
    return found


@triton.jit
def softplus(x):
    """log(1 + exp(x)), accurate where it is small: log1p(e) = 2 atanh(e / (2 + e))."""
    e = tl.exp(-tl.abs(x))
    f = e / (2.0 + e)
    q = f * f
    s = 1.0 / 15.0 + q * (1.0 / 17.0)
    s = 1.0 / 11.0 + q * (1.0 / 13.0 + q * s)
    s = 1.0 / 7.0 + q * (1.0 / 9.0 + q * s)
    s = 1.0 / 3.0 + q * (1.0 / 5.0 + q * s)
    return tl.maximum(x, 0.0) + 2.0 * f * (1.0 + q * s)


@triton.jit
def sigmoid(x):
    """1 / (1 + exp(-x)) without overflow: the derivative of softplus."""
    e = tl.exp(-tl.abs(x))
    return tl.where(x >= 0.0, 1.0, e) / (1.0 + e)


@triton.jit
def steps(
    delta_ptr, places, stride, start, low, high, od, channels, bias,
    T: tl.constexpr, SOFTPLUS: tl.constexpr,
):  # fmt: skip
    """The step sizes s of a tile; zero outside [low, high), so that the state passes through."""
    raw = rows(delta_ptr, places, stride, start, low, high, od, channels, T)
    found = ()
    for i in tl.static_range(T):
        s = raw[i] + bias
        if SOFTPLUS:
            s = softplus(s)
        mask = od < within(start + i, low, high, channels)
        found = found + (tl.where(mask, s, 0.0),)
    return found


@triton.jit
def gated(values, gates, T: tl.constexpr):
    """Each row times silu of its gate."""
    found = ()
    for i in tl.static_range(T):
        found = found + (values[i] * gates[i] * sigmoid(gates[i]),)
    return found


@triton.jit
def decay(s, rate, t, phase, WINDOW: tl.constexpr):
    """exp(s A); zero at the first step of a window, which forgets what was before."""
    a = tl.exp2(s * rate)
    if WINDOW > 0:
        a = tl.where((t + phase) % WINDOW == 0, 0.0, a)
    return a


@triton.jit
def valid_range(lengths_ptr, b, length, LENGTHS: tl.constexpr, WINDOW: tl.constexpr):
    """First and last valid step, plus one: a window scan runs backwards along its route."""
    low = 0
    high = length
    if LENGTHS:
        valid = tl.load(lengths_ptr + b)
        if WINDOW > 0:
            low = length - valid
        else:
            high = tl.minimum(length, valid)
    return low, high


@triton.jit
def place(pid, blocks, chunks, groups):
    """Channel block, chunk, group and batch of a program: neighbours share rows of memory.

    Group and batch have 64 bits, so that offsets made of them have too; divisions stay at 32.
    """
    rest = pid // blocks
    bg = rest // chunks
    return pid % blocks, rest % chunks, (bg % groups).to(tl.int64), (bg // groups).to(tl.int64)
