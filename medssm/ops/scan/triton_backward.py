"""Triton kernels of the scan's backward: adjoints of chunks, then all gradients of each chunk.

Source:
    With e the gradient of y and v the adjoint that later steps send to the state of a step,
    g = C e + v is the gradient of the state and a g is what the step before receives. Over a chunk
    V = exp(A sigma) V' + V0: the same map as the states', from right to left.
"""
# the device language is typed by its compiler
# mypy: ignore-errors

import triton
import triton.language as tl

from medssm.ops.scan.triton_forward import COUNTS, mirror
from medssm.ops.scan.triton_tile import (
    LOG2E,
    added,
    decay,
    element,
    gated,
    place,
    positions,
    rows,
    sigmoid,
    steps,
    store,
    valid_range,
    within,
)


@triton.jit(do_not_specialize=COUNTS)
def chunk_adjoints(
    delta_ptr, A_ptr, C_ptr, bias_ptr, z_ptr, table_ptr, lengths_ptr, dout_ptr, V_ptr, sigma_ptr,
    delta_b, delta_k, delta_l, C_b, C_k, C_l, z_b, z_l, dout_b, dout_k, dout_l,
    length, channels, states, routes, chunks, chunk, blocks, mirrored,
    SOFTPLUS: tl.constexpr, TABLE: tl.constexpr, WIDE: tl.constexpr,
    LENGTHS: tl.constexpr, BIAS: tl.constexpr,
    GATE: tl.constexpr, T: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """What each chunk sends to its left from zero on its right (V holds zeros), and its sigma."""
    block, c, k, b = place(tl.program_id(0), blocks, chunks, routes)
    _, shift = mirror(mirrored, k, c, chunks, chunk, length)
    low, high = valid_range(lengths_ptr, b, length, LENGTHS, 0)
    od = block * BD + tl.arange(0, BD)
    mine = od < channels
    bias = tl.zeros([BD], tl.float32)
    if BIAS:
        bias = tl.load(bias_ptr + k * channels + od, mask=mine, other=0.0)
    slot = (b * routes + k) * chunks + c
    adjoint_ptr = V_ptr + slot * states * channels + od
    rate_ptr = A_ptr + k * states * channels + od
    total = tl.zeros([BD], tl.float32)
    for t0 in range(0, chunk, T):
        start = c * chunk - shift + chunk - T - t0
        p = positions(table_ptr + k * length, start, length, T, TABLE, WIDE)
        s = steps(delta_ptr + b * delta_b + k * delta_k, p, delta_l, start, low, high, od, channels,
                  bias, T, SOFTPLUS)  # fmt: skip
        e = rows(dout_ptr + b * dout_b + k * dout_k, p, dout_l, start, low, high, od, channels, T)
        if GATE:
            e = gated(e, rows(z_ptr + b * z_b, p, z_l, start, low, high, od, channels, T), T)
        for i in tl.static_range(T):
            total += s[i]
        for n in range(0, states):
            rate = tl.load(rate_ptr + n * channels, mask=mine, other=0.0) * LOG2E
            v = tl.load(adjoint_ptr + n * channels, mask=mine, other=0.0)
            for i in tl.static_range(T - 1, -1, -1):
                read = element(C_ptr + b * C_b + k * C_k + (p[i] * C_l + n), start + i, low, high,
                               LENGTHS)  # fmt: skip
                v = tl.exp2(s[i] * rate) * (v + e[i] * read)
            tl.store(adjoint_ptr + n * channels, v, mask=mine)
        tl.debug_barrier()  # the next tile reads the adjoints
    tl.store(sigma_ptr + slot * channels + od, total, mask=mine)


@triton.jit
def tile_starts(
    u_ptr, delta_ptr, B_ptr, table_ptr, H_ptr, rate_ptr, tiles_ptr,
    u_l, delta_l, B_l, origin, low, high, phase, od, bias,
    length, channels, states, chunk,
    SOFTPLUS: tl.constexpr, TABLE: tl.constexpr, WIDE: tl.constexpr, WINDOW: tl.constexpr,
    LENGTHS: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """Walk a chunk forwards and leave the state that enters each of its tiles."""
    mine = od < channels
    for n in range(0, states):
        h = tl.zeros_like(bias)
        if WINDOW == 0:
            h = tl.load(H_ptr + n * channels, mask=mine, other=0.0)
        tl.store(tiles_ptr + n * channels, h, mask=mine)
    tl.debug_barrier()
    for t0 in range(0, chunk - T, T):
        start = origin + t0
        p = positions(table_ptr, start, length, T, TABLE, WIDE)
        s = steps(delta_ptr, p, delta_l, start, low, high, od, channels, bias, T, SOFTPLUS)
        u = rows(u_ptr, p, u_l, start, low, high, od, channels, T)
        for n in range(0, states):
            rate = tl.load(rate_ptr + n * channels, mask=mine, other=0.0) * LOG2E
            h = tl.load(tiles_ptr + n * channels, mask=mine, other=0.0)
            for i in tl.static_range(T):
                weight = element(B_ptr + (p[i] * B_l + n), start + i, low, high, LENGTHS)
                h = decay(s[i], rate, start + i, phase, WINDOW) * h + s[i] * u[i] * weight
            tl.store(tiles_ptr + (states + n) * channels, h, mask=mine)
        tiles_ptr += states * channels
        tl.debug_barrier()  # the next tile, or the way back, reads the states


@triton.jit
def tile_gradients(
    B_ptr, C_ptr, rate_ptr, tile_ptr, adjoint_ptr, dA_ptr, pair_ptr,
    p, s, u, e, B_l, C_l, start, low, high, adds, phase, od, length, channels, states,
    WINDOW: tl.constexpr, LENGTHS: tl.constexpr, ADDS: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """Walk a tile there and back for each state; sum over states what u and the steps receive.

    Returns for each step q = sum_n (gradient of x) B and w = sum_n g a h' A, h' the state before.
    """
    mine = od < channels
    q = ()
    w = ()
    for i in tl.static_range(T):
        q = q + (s[i] * 0.0,)
        w = w + (s[i] * 0.0,)
    for n in range(0, states):
        rate = tl.load(rate_ptr + n * channels, mask=mine, other=0.0)
        h = tl.load(tile_ptr + n * channels, mask=mine, other=0.0)
        v = tl.load(adjoint_ptr + n * channels, mask=mine, other=0.0)
        dA = tl.load(dA_ptr + n * channels, mask=mine, other=0.0)
        decays = ()
        befores = ()
        weights = ()
        for i in tl.static_range(T):
            a = decay(s[i], rate * LOG2E, start + i, phase, WINDOW)
            before = a * h
            weight = element(B_ptr + (p[i] * B_l + n), start + i, low, high, LENGTHS)
            h = before + s[i] * u[i] * weight
            decays = decays + (a,)
            befores = befores + (before,)
            weights = weights + (weight,)
        more_q = ()
        more_w = ()
        dB = ()
        dC = ()
        for i in tl.static_range(T - 1, -1, -1):
            read = element(C_ptr + (p[i] * C_l + n), start + i, low, high, LENGTHS)
            x = s[i] * u[i]
            g = read * e[i] + v
            # in a window the output reads the state before its own step
            dx = v if WINDOW > 0 else g
            seen = befores[i] if WINDOW > 0 else befores[i] + x * weights[i]
            product = g * befores[i]
            v = decays[i] * g
            dA += s[i] * product
            more_q = (q[i] + dx * weights[i],) + more_q
            more_w = (w[i] + product * rate,) + more_w
            dB = (tl.sum(dx * x, axis=0),) + dB
            dC = (tl.sum(seen * e[i], axis=0),) + dC
        q = more_q
        w = more_w
        tl.store(adjoint_ptr + n * channels, v, mask=mine)
        tl.store(dA_ptr + n * channels, dA, mask=mine)
        if ADDS:  # all loads first: they overlap
            more_B = ()
            more_C = ()
            for i in tl.static_range(T):
                at = pair_ptr + (p[i] * states + n) * 2
                found = (start + i >= 0) & (start + i < length) & (adds > 0)
                more_B = more_B + (dB[i] + tl.load(at, mask=found, other=0.0),)
                more_C = more_C + (dC[i] + tl.load(at + 1, mask=found, other=0.0),)
            dB = more_B
            dC = more_C
        for i in tl.static_range(T):
            at = pair_ptr + (p[i] * states + n) * 2
            inside = (start + i >= 0) & (start + i < length)
            tl.store(at, dB[i], mask=inside)
            tl.store(at + 1, dC[i], mask=inside)
    return q, w


@triton.jit(do_not_specialize=COUNTS)
def gradients(
    u_ptr, delta_ptr, A_ptr, B_ptr, C_ptr, D_ptr, bias_ptr, z_ptr, table_ptr, lengths_ptr,
    dout_ptr, H_ptr, tiles_ptr, V_ptr, dA_ptr, dD_ptr, dbias_ptr, pairs_ptr,
    du_sum_ptr, du_ptr, ddelta_sum_ptr, ddelta_ptr,
    u_b, u_k, u_l, delta_b, delta_k, delta_l, B_b, B_k, B_l, C_b, C_k, C_l, z_b, z_l,
    dout_b, dout_k, dout_l, du_b, du_k,
    length, channels, states, routes, chunks, chunk, blocks, mirrored,
    groups, first, hop, phase, span,
    SOFTPLUS: tl.constexpr, TABLE: tl.constexpr, WIDE: tl.constexpr,
    LENGTHS: tl.constexpr, BIAS: tl.constexpr,
    SKIP: tl.constexpr, GATE: tl.constexpr, WINDOW: tl.constexpr, MANY: tl.constexpr,
    ADDS: tl.constexpr, LAST: tl.constexpr, ENDS: tl.constexpr, PER: tl.constexpr,
    T: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """All gradients of a chunk, from the state that enters it and the adjoint on its right (in V).

    A program walks PER opposite routes over the same positions and `span` blocks of channels, and
    adds their gradients of u, B and C up itself: no atomic, the same bits on every run. V ends as
    the adjoint that leaves the chunk to its left; in the first chunk, that of the initial state.
    ADDS says that earlier launches left a sum of du, LAST that this one closes it, ENDS that it
    closes ddelta, MANY that `span` is above one.
    """
    part, c, g, b = place(tl.program_id(0), blocks, chunks, groups)
    low, high = valid_range(lengths_ptr, b, length, LENGTHS, WINDOW)
    tiles = ((b * groups + g) * chunks + c) * (chunk // T) * states * channels
    for turn in range(0, PER * span):
        m = turn % span
        j = turn // span
        k = first + g + j * hop
        own, shift = mirror(mirrored, k, c, chunks, chunk, length)
        own = own if PER > 1 else c
        origin = own * chunk - shift
        od = (part * span + m) * BD + tl.arange(0, BD)
        mine = od < channels
        bias = tl.zeros([BD], tl.float32)
        if BIAS:
            bias = tl.load(bias_ptr + k * channels + od, mask=mine, other=0.0)
        skip = tl.zeros([BD], tl.float32)
        if SKIP:
            skip = tl.load(D_ptr + k * channels + od, mask=mine, other=0.0)
        slot = (b * routes + k) * chunks + own
        state = slot * states * channels + od
        rate_ptr = A_ptr + k * states * channels + od
        to_table = table_ptr + k * length
        to_u = u_ptr + b * u_b + k * u_k
        to_delta = delta_ptr + b * delta_b + k * delta_k
        to_B = B_ptr + b * B_b + k * B_k
        to_C = C_ptr + b * C_b + k * C_k
        tile_starts(
            to_u, to_delta, to_B, to_table, H_ptr + state, rate_ptr, tiles_ptr + tiles + od,
            u_l, delta_l, B_l, origin, low, high, phase, od, bias, length, channels, states, chunk,
            SOFTPLUS, TABLE, WIDE, WINDOW, LENGTHS, T,
        )  # fmt: skip
        dD = tl.zeros([BD], tl.float32)
        dbias = tl.zeros([BD], tl.float32)
        for t0 in range(0, chunk, T):
            offset = chunk - T - t0
            start = origin + offset
            p = positions(to_table, start, length, T, TABLE, WIDE)
            s = steps(to_delta, p, delta_l, start, low, high, od, channels, bias, T, SOFTPLUS)
            u = rows(to_u, p, u_l, start, low, high, od, channels, T)
            to_dout = dout_ptr + b * dout_b + k * dout_k
            e = rows(to_dout, p, dout_l, start, low, high, od, channels, T)
            if GATE:
                z = rows(z_ptr + b * z_b, p, z_l, start, low, high, od, channels, T)
                e = gated(e, z, T)
            tile_ptr = tiles_ptr + tiles + (offset // T).to(tl.int64) * states * channels + od
            q, w = tile_gradients(
                to_B, to_C, rate_ptr, tile_ptr, V_ptr + state, dA_ptr + state,
                pairs_ptr + ((b * routes + k) * blocks + part) * length * 2 * states,
                p, s, u, e, B_l, C_l, start, low, high, m if WINDOW == 0 else 1, phase, od, length,
                channels, states, WINDOW, LENGTHS, WINDOW > 0 or MANY, T,
            )  # fmt: skip
            raw = rows(to_delta, p, delta_l, start, low, high, od, channels, T)
            du = ()
            ds = ()
            for i in tl.static_range(T):
                change = w[i] + u[i] * q[i]
                if SOFTPLUS:
                    change = change * sigmoid(raw[i] + bias)
                change = tl.where(od < within(start + i, low, high, channels), change, 0.0)
                dbias += change
                dD += e[i] * u[i]
                du = du + (skip * e[i] + s[i] * q[i],)
                ds = ds + (change,)
            route = (b * routes + k) * length * channels
            if WINDOW > 0:
                ds = added(ds, rows(ddelta_sum_ptr + route, p, channels, start, 0, length, od,
                                    channels, T), T)  # fmt: skip
            store(ddelta_ptr + route if ENDS else ddelta_sum_ptr + route, p, ds, start, length, od,
                  channels, T)  # fmt: skip
            to_du = b * du_b + k * du_k
            if ADDS or PER > 1:
                rises = channels if ADDS else tl.where(j > 0, channels, 0)
                earlier = rows(du_sum_ptr + to_du, p, channels, start, 0, length, od, rises, T)
                du = added(du, earlier, T)
            if LAST and (PER == 1 or j == PER - 1):
                store(du_ptr + to_du, p, du, start, length, od, channels, T)
            else:
                store(du_sum_ptr + to_du, p, du, start, length, od, channels, T)
            tl.debug_barrier()  # the next tile reads the adjoints and sums
        tl.store(dD_ptr + slot * channels + od, dD, mask=mine)
        tl.store(dbias_ptr + slot * channels + od, dbias, mask=mine)
        tl.debug_barrier()
