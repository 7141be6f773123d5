"""Triton kernels of the forward scan: states of chunks, their carry, and the replay.

Source:
    The length is cut in chunks. With S the state that a chunk reaches from zero and sigma the sum
    of its steps, H' = exp(A sigma) H + S leads from one chunk to the next.
"""
# the device language is typed by its compiler
# mypy: ignore-errors

import triton
import triton.language as tl

from medssm.ops.scan.triton_tile import (
    LOG2E,
    added,
    decay,
    element,
    gated,
    place,
    positions,
    rows,
    steps,
    store,
    valid_range,
    within,
)

COUNTS = [
    "length",
    "routes",
    "states",
    "chunks",
    "chunk",
    "blocks",
    "groups",
    "first",
    "hop",
    "mirrored",
    "phase",
    "span",
    "elements",
]


@triton.jit
def mirror(mirrored, k, c, chunks, chunk, length):
    """The chunk of route k that covers chunk c of its opposite, and how far it begins early."""
    flips = ((mirrored.to(tl.int64) >> k) & 1).to(tl.int32)
    return tl.where(flips == 1, chunks - 1 - c, c), flips * (chunks * chunk - length)


@triton.jit(do_not_specialize=COUNTS)
def chunk_states(
    u_ptr, delta_ptr, A_ptr, B_ptr, bias_ptr, table_ptr, lengths_ptr, S_ptr, sigma_ptr,
    u_b, u_k, u_l, delta_b, delta_k, delta_l, B_b, B_k, B_l,
    length, channels, states, routes, chunks, chunk, blocks, mirrored,
    SOFTPLUS: tl.constexpr, TABLE: tl.constexpr, WIDE: tl.constexpr,
    LENGTHS: tl.constexpr, BIAS: tl.constexpr,
    T: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """End state of each chunk from zero (S holds zeros), and the sum of its steps."""
    block, c, k, b = place(tl.program_id(0), blocks, chunks, routes)
    _, shift = mirror(mirrored, k, c, chunks, chunk, length)
    low, high = valid_range(lengths_ptr, b, length, LENGTHS, 0)
    od = block * BD + tl.arange(0, BD)
    mine = od < channels
    bias = tl.zeros([BD], tl.float32)
    if BIAS:
        bias = tl.load(bias_ptr + k * channels + od, mask=mine, other=0.0)
    slot = (b * routes + k) * chunks + c
    state_ptr = S_ptr + slot * states * channels + od
    rate_ptr = A_ptr + k * states * channels + od
    total = tl.zeros([BD], tl.float32)
    for t0 in range(0, chunk, T):
        start = c * chunk - shift + t0
        p = positions(table_ptr + k * length, start, length, T, TABLE, WIDE)
        s = steps(delta_ptr + b * delta_b + k * delta_k, p, delta_l, start, low, high, od, channels,
                  bias, T, SOFTPLUS)  # fmt: skip
        u = rows(u_ptr + b * u_b + k * u_k, p, u_l, start, low, high, od, channels, T)
        for i in tl.static_range(T):
            total += s[i]
        for n in range(0, states):
            rate = tl.load(rate_ptr + n * channels, mask=mine, other=0.0) * LOG2E
            h = tl.load(state_ptr + n * channels, mask=mine, other=0.0)
            for i in tl.static_range(T):
                weight = element(B_ptr + b * B_b + k * B_k + (p[i] * B_l + n), start + i, low, high,
                                 LENGTHS)  # fmt: skip
                h = tl.exp2(s[i] * rate) * h + s[i] * u[i] * weight
            tl.store(state_ptr + n * channels, h, mask=mine)
        tl.debug_barrier()  # the next tile reads the states
    tl.store(sigma_ptr + slot * channels + od, total, mask=mine)


@triton.jit(do_not_specialize=COUNTS)
def carry(
    A_ptr, S_ptr, sigma_ptr, H_ptr, initial_ptr,
    channels, elements, routes, chunks, blocks,
    REVERSE: tl.constexpr, SAVE: tl.constexpr, INITIAL: tl.constexpr,
    U: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    """Replace the end states in S by the states that enter the chunks (REVERSE: from the right)."""
    pid = tl.program_id(0)
    e = (pid % blocks) * BE + tl.arange(0, BE)
    bk = (pid // blocks).to(tl.int64)
    mine = e < elements
    rate = tl.load(A_ptr + (pid // blocks % routes) * elements + e, mask=mine, other=0.0) * LOG2E
    h = tl.zeros([BE], tl.float32)
    if INITIAL:
        h = tl.load(initial_ptr + bk * elements + e, mask=mine, other=0.0)
    for c0 in range(0, chunks, U):
        found = ()
        sums = ()
        for i in tl.static_range(U):  # all loads first: they overlap
            c = chunks - 1 - c0 - i if REVERSE else c0 + i
            mask = e < within(c, 0, chunks, elements)
            slot = bk * chunks + c
            found = found + (tl.load(S_ptr + slot * elements + e, mask=mask, other=0.0),)
            sums = sums + (
                tl.load(sigma_ptr + slot * channels + e % channels, mask=mask, other=0.0),
            )
        for i in tl.static_range(U):
            c = chunks - 1 - c0 - i if REVERSE else c0 + i
            mask = e < within(c, 0, chunks, elements)
            slot = bk * chunks + c
            tl.store(S_ptr + slot * elements + e, h, mask=mask)
            if SAVE:
                tl.store(H_ptr + slot * elements + e, h, mask=mask)
            h = tl.exp2(sums[i] * rate) * h + found[i]


@triton.jit(do_not_specialize=COUNTS)
def replay(
    u_ptr, delta_ptr, A_ptr, B_ptr, C_ptr, D_ptr, bias_ptr, z_ptr, table_ptr, lengths_ptr,
    S_ptr, sum_ptr, y_ptr, out_ptr,
    u_b, u_k, u_l, delta_b, delta_k, delta_l, B_b, B_k, B_l, C_b, C_k, C_l, z_b, z_l, y_b, y_k,
    length, channels, states, routes, chunks, chunk, blocks, mirrored,
    groups, first, hop, phase,
    SOFTPLUS: tl.constexpr, TABLE: tl.constexpr, WIDE: tl.constexpr,
    LENGTHS: tl.constexpr, BIAS: tl.constexpr,
    SKIP: tl.constexpr, GATE: tl.constexpr, KEEP: tl.constexpr, WINDOW: tl.constexpr,
    ADDS: tl.constexpr, LAST: tl.constexpr, PER: tl.constexpr, T: tl.constexpr,
    BD: tl.constexpr,
):  # fmt: skip
    """Walk each chunk from the state that enters it (in S, left there at its end) and write y.

    A program walks PER routes over the same positions, a route and its opposite, and keeps their
    running sum; ADDS says that earlier launches left a sum, LAST that this one closes it.
    """
    block, c, g, b = place(tl.program_id(0), blocks, chunks, groups)
    low, high = valid_range(lengths_ptr, b, length, LENGTHS, WINDOW)
    od = block * BD + tl.arange(0, BD)
    mine = od < channels
    for j in tl.static_range(PER):
        k = first + g + j * hop
        mine_c, shift = mirror(mirrored, k, c, chunks, chunk, length)
        mine_c = mine_c if PER > 1 else c
        bias = tl.zeros([BD], tl.float32)
        if BIAS:
            bias = tl.load(bias_ptr + k * channels + od, mask=mine, other=0.0)
        skip = tl.zeros([BD], tl.float32)
        if SKIP:
            skip = tl.load(D_ptr + k * channels + od, mask=mine, other=0.0)
        slot = (b * routes + k) * chunks + mine_c
        state_ptr = S_ptr + slot * states * channels + od
        rate_ptr = A_ptr + k * states * channels + od
        out_at = b * y_b + k * y_k
        for t0 in range(0, chunk, T):
            start = mine_c * chunk - shift + t0
            p = positions(table_ptr + k * length, start, length, T, TABLE, WIDE)
            s = steps(delta_ptr + b * delta_b + k * delta_k, p, delta_l, start, low, high, od,
                      channels, bias, T, SOFTPLUS)  # fmt: skip
            u = rows(u_ptr + b * u_b + k * u_k, p, u_l, start, low, high, od, channels, T)
            x = ()
            fresh = ()
            for i in tl.static_range(T):
                x = x + (s[i] * u[i],)
                fresh = fresh + (skip * u[i],)
            y = fresh
            for n in range(0, states):
                rate = tl.load(rate_ptr + n * channels, mask=mine, other=0.0) * LOG2E
                h = tl.load(state_ptr + n * channels, mask=mine, other=0.0)
                fresh = ()
                for i in tl.static_range(T):
                    weight = element(B_ptr + b * B_b + k * B_k + (p[i] * B_l + n), start + i,
                                     low, high, LENGTHS)  # fmt: skip
                    read = element(C_ptr + b * C_b + k * C_k + (p[i] * C_l + n), start + i,
                                   low, high, LENGTHS)  # fmt: skip
                    before = decay(s[i], rate, start + i, phase, WINDOW) * h
                    h = before + x[i] * weight
                    # a window adds what later steps bring; the step itself is counted already
                    fresh = fresh + (y[i] + read * (before if WINDOW > 0 else h),)
                y = fresh
                tl.store(state_ptr + n * channels, h, mask=mine)
            tl.debug_barrier()  # the next tile reads the states
            CLOSES: tl.constexpr = LAST and j == PER - 1
            if ADDS or j > 0:  # what earlier launches, or the opposite route, left at these places
                y = added(
                    y, rows(sum_ptr + out_at, p, channels, start, 0, length, od, channels, T), T
                )
            if GATE and CLOSES:
                if KEEP:
                    store(y_ptr + out_at, p, y, start, length, od, channels, T)
                y = gated(y, rows(z_ptr + b * z_b, p, z_l, start, 0, length, od, channels, T), T)
            store(out_ptr + out_at if CLOSES else sum_ptr + out_at, p, y, start, length, od,
                  channels, T)  # fmt: skip
        tl.debug_barrier()
