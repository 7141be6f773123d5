"""Memory and launches of the Triton scan's backward. Imports Triton when called."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from medssm.ops.scan import triton_plan
from medssm.ops.scan.triton_launch import (
    Operands,
    launch_arguments,
    on,
    registers,
    rows,
    run,
    run_carry,
    state_buffer,
    strides,
    wanted,
)
from medssm.ops.scan.triton_plan import Launch, Plan
from medssm.ops.scan.triton_routes import Inspection, inspect

GATED = 32  # positions of a program where only the gate is left


@dataclass(frozen=True)
class Results:
    """The gradients, and what is summed to make them.

    Shape:
        du, ddelta: as u and delta, with wider sums where several launches add up;
        pairs: (b, k, parts, L, n, 2), the gradients of B and C by parts of the channels;
        sums: a row for the scan and one for its windows: (b, k, chunks, ...) of A, D, the bias.
    """

    du: Tensor
    du_sum: Tensor
    ddelta: Tensor
    ddelta_sum: Tensor
    dz: Tensor
    pairs: Tensor
    sums: tuple[tuple[Tensor, Tensor, Tensor], ...]


def backward(
    call: Operands, dout: Tensor, dlast: Tensor | None, y: Tensor, entering: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of u, delta, [B, C], A, D, the bias, z and the initial state.

    Shape:
        As the operands; B and C side by side in (b, k, L, n, 2), float32.
    """
    b, k, length, d, n = call.sizes
    new = call.A.new_zeros
    if call.empty:
        small = new((k, d, n)), new((k, d)), new((k, d)), _gate(call).zero_()
        start = new((b, k, d, n)) if dlast is None else dlast.clone()
        return (*_streams(call), new((b, k, length, n, 2)), *small, start)
    call = call.rowwise()
    found = inspect(call.table)
    apart = call.u.shape[1] > 1 or k == 1
    plans = triton_plan.launches(k, () if apart else found.pairs, apart, call.window)
    with on(call.u.device):
        made = _allocate(call, plans)
        dout = rows(dout)
        V = _adjoints(call, dout, dlast, found)
        tensors = {"dout_ptr": dout, "V_ptr": V, "H_ptr": entering}
        for launch in plans:
            _launch(call, launch, made, tensors, found)
        if call.z is not None:
            _gate_gradients(call, dout, y, made.dz)
        dA, dbias = (torch.stack([one[i].sum((0, 2)) for one in made.sums]).sum(0) for i in (0, 2))
        dD = made.sums[0][1].sum((0, 2))  # a window has no skip
        start = V[:, :, 0].transpose(2, 3).contiguous()
        pairs = made.pairs[:, :, 0] if made.pairs.shape[2] == 1 else made.pairs.sum(2)
    return (made.du, made.ddelta, pairs.contiguous(), dA.transpose(1, 2).contiguous(), dD, dbias,
            made.dz, start)  # fmt: skip


def _streams(call: Operands) -> tuple[Tensor, Tensor]:
    return call.u.new_zeros(call.u.shape), call.delta.new_zeros(call.delta.shape)


def _gate(call: Operands) -> Tensor:
    return call.u.new_empty(0) if call.z is None else call.z.new_empty(call.z.shape)


def _span(call: Operands, groups: int) -> int:
    return triton_plan.span(call.plan(), call.sizes[0] * groups, wanted(call.u.device))


def _allocate(call: Operands, plans: list[Launch]) -> Results:
    b, k, length, d, n = call.sizes
    du, ddelta = call.u.new_empty(call.u.shape), call.delta.new_empty(call.delta.shape)
    sizes = call.plan()
    parts = -(-sizes.blocks // _span(call, plans[0].groups))
    both = [sizes, call.window_plan()] if call.window else [sizes]

    def wide(x: Tensor, alone: bool) -> Tensor:
        return x if alone or x.dtype == torch.float32 else torch.empty_like(x, dtype=torch.float32)

    def sums(one: Plan) -> tuple[Tensor, Tensor, Tensor]:
        shape = (b, k, one.chunks, d)
        return state_buffer(call, one), call.A.new_zeros(shape), call.A.new_zeros(shape)

    return Results(
        du, wide(du, len(plans) == 1 and plans[0].per == 1),
        ddelta, wide(ddelta, not call.window),
        _gate(call), call.A.new_empty((b, k, parts, length, n, 2)),
        tuple(sums(one) for one in both),
    )  # fmt: skip


def _adjoints(call: Operands, dout: Tensor, dlast: Tensor | None, found: Inspection) -> Tensor:
    """The adjoints that enter the chunks from the right."""
    from medssm.ops.scan.triton_backward import chunk_adjoints

    b, k, _, d, _ = call.sizes
    sizes = call.plan()
    V = state_buffer(call, sizes)
    end = None if dlast is None else dlast.transpose(2, 3).contiguous()
    if sizes.chunks > 1:
        values = call.arguments(sizes, found.mirrored) | strides("dout", dout)
        values |= {"dout_ptr": dout, "V_ptr": V, "S_ptr": V,
                   "sigma_ptr": call.A.new_empty((b, k, sizes.chunks, d))}  # fmt: skip
        run(chunk_adjoints, b * k * sizes.chunks * sizes.blocks, values)
        values["H_ptr"] = V
        run_carry(values, b * k, end, REVERSE=True, SAVE=False)
    elif end is not None:
        V[:, :, 0] = end
    return V


def _gate_gradients(call: Operands, dout: Tensor, y: Tensor, dz: Tensor) -> None:
    from medssm.ops.scan.triton_gate import gate_gradients

    b, _, length, _, _ = call.sizes
    sizes = replace(call.plan(), chunk=GATED, chunks=-(-length // GATED))
    values = call.arguments(sizes, 0) | strides("dout", dout)
    values |= {"dout_ptr": dout, "y_ptr": y, "dz_ptr": dz, "T": GATED}
    run(gate_gradients, b * sizes.chunks * sizes.blocks, values, num_warps=4)


def _launch(
    call: Operands, launch: Launch, made: Results, tensors: dict[str, Any], found: Inspection
) -> None:
    """All gradients that the routes of one launch give."""
    from medssm.ops.scan.triton_backward import gradients

    b, k, length, d, n = call.sizes
    sizes, mirrored = call.plan(), found.mirrored
    span = _span(call, launch.groups)
    here = call
    if launch.window:
        here, sizes, mirrored = call.backwards(), call.window_plan(), (1 << k) - 1
        tensors = tensors | {"V_ptr": state_buffer(call, sizes), "H_ptr": call.A}
    dA, dD, dbias = made.sums[-1 if launch.window else 0]
    shared = made.du.shape[1] == 1
    values = here.arguments(sizes, mirrored) | launch_arguments(launch, length)
    values |= tensors | strides("dout", tensors["dout_ptr"]) | {
        "dA_ptr": dA, "dD_ptr": dD, "dbias_ptr": dbias, "pairs_ptr": made.pairs,
        "tiles_ptr": call.A.new_empty(
            b * launch.groups * sizes.chunks * (sizes.chunk // triton_plan.BACK) * n * d
        ),
        "du_sum_ptr": made.du_sum, "du_ptr": made.du, "ddelta_sum_ptr": made.ddelta_sum,
        "ddelta_ptr": made.ddelta,
        "du_b": made.du.stride(0), "du_k": 0 if shared else made.du.stride(1),
        "ENDS": launch.window > 0 or call.window == 0, "span": span, "MANY": span > 1,
        "blocks": made.pairs.shape[2],
        "SKIP": call.D is not None and not launch.window,
    }  # fmt: skip
    programs = b * launch.groups * sizes.chunks * made.pairs.shape[2]
    run(gradients, programs, values | {"T": triton_plan.BACK}, **registers(call.wide))
