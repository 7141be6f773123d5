"""Memory and launches of the Triton scan, forward and backward. Imports Triton when called."""

import contextlib
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from medssm.ops.scan import triton_plan
from medssm.ops.scan.triton_plan import Launch, Plan
from medssm.ops.scan.triton_routes import Inspection, inspect

# fused multiplication and addition are asked for: their default is about to change
OPTIONS = {"num_warps": 1, "num_stages": 1, "enable_fp_fusion": True}
NARROW = 2**31
CARRIED = 256  # states that a program carries over the chunks
AHEAD = 8  # chunks that it loads at a time


@dataclass(frozen=True)
class Operands:
    """The tensors and flags of a call, as the operators take them.

    Shape:
        As `ScanInputs`, with a full-rank delta.
    """

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    bias: Tensor | None
    z: Tensor | None
    table: Tensor | None
    lengths: Tensor | None
    softplus: bool
    merge: bool
    window: int

    @property
    def sizes(self) -> tuple[int, int, int, int, int]:
        """Batch, routes, length, channels, states."""
        b, k, length, d = self.delta.shape
        return b, k, length, d, self.B.shape[3]

    @property
    def empty(self) -> bool:
        """Whether there is no step to take."""
        b, _, length, d, n = self.sizes
        return 0 in (b, length, d, n)

    @property
    def wide(self) -> bool:
        """Whether offsets along a sequence pass 31 bits."""
        length, channels, states = self.delta.shape[2], self.delta.shape[3], self.B.shape[3]
        steps = [x.stride(-2) for x in (self.u, self.delta, self.B, self.C)]
        steps += [] if self.z is None else [self.z.stride(-2)]
        return length * (max(*steps, channels, 2 * states) + 1) >= NARROW

    def rowwise(self) -> "Operands":
        """The same with dense rows; parameters as (route, state, channel)."""
        return replace(
            self, u=rows(self.u), delta=rows(self.delta), B=rows(self.B), C=rows(self.C),
            z=None if self.z is None else rows(self.z), A=self.A.transpose(1, 2).contiguous(),
            D=_whole(self.D), bias=_whole(self.bias), table=_whole(self.table),
            lengths=_whole(self.lengths),
        )  # fmt: skip

    def plan(self) -> Plan:
        """Blocks and chunks of the scan itself."""
        b, k, length, d, _ = self.sizes
        return triton_plan.plan(b * k, length, d, wanted(self.u.device))

    def window_plan(self) -> Plan:
        """Blocks and chunks of the local windows."""
        return triton_plan.window_plan(self.delta.shape[2], self.delta.shape[3], self.window)

    def backwards(self) -> "Operands":
        """The same along the reversed routes: how a local window is walked."""
        _, k, length, _, _ = self.sizes
        if self.table is not None:
            return replace(self, table=self.table.flip(1))
        order = torch.arange(length - 1, -1, -1, dtype=torch.int32, device=self.u.device)
        return replace(self, table=order.expand(k, -1).contiguous())

    def arguments(self, sizes: Plan, mirrored: int) -> dict[str, Any]:
        """What every kernel is given."""
        _, k, length, d, n = self.sizes
        return {
            "u_ptr": self.u, "delta_ptr": self.delta, "A_ptr": self.A, "B_ptr": self.B,
            "C_ptr": self.C, "D_ptr": _or(self.D, self.A), "bias_ptr": _or(self.bias, self.A),
            "z_ptr": _or(self.z, self.u), "table_ptr": _or(self.table, self.A),
            "lengths_ptr": _or(self.lengths, self.A),
            **strides("u", self.u), **strides("delta", self.delta), **strides("B", self.B),
            **strides("C", self.C), "z_b": self.z.stride(0) if self.z is not None else 0,
            "z_l": self.z.stride(1) if self.z is not None else 0,
            "length": length, "channels": d, "states": n, "routes": k,
            "chunks": sizes.chunks, "chunk": sizes.chunk, "blocks": sizes.blocks,
            "mirrored": mirrored, "T": triton_plan.TILE, "BD": sizes.block,
            "SOFTPLUS": self.softplus, "TABLE": self.table is not None, "WIDE": self.wide,
            "LENGTHS": self.lengths is not None, "BIAS": self.bias is not None,
            "GATE": self.z is not None,
        }  # fmt: skip


def rows(x: Tensor) -> Tensor:
    """The tensor with its last axis dense; copied where it is not."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _whole(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous()


def _or(x: Tensor | None, other: Tensor) -> Tensor:
    return other if x is None else x  # never read where x is None


def strides(name: str, x: Tensor) -> dict[str, int]:
    """Strides of batch, route and step; an axis of one route is shared by all."""
    return {
        f"{name}_b": x.stride(0),
        f"{name}_k": x.stride(1) if x.shape[1] > 1 else 0,
        f"{name}_l": x.stride(2),
    }


def wanted(device: torch.device) -> int:
    """Programs that fill a device."""
    return triton_plan.WAVE * triton_plan.processors(device)


def on(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Make a device the current one, where it is one that can be."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def run(kernel: Any, programs: int, arguments: dict[str, Any], **options: int) -> None:
    """Launch a kernel with those of the arguments that it names."""
    chosen = {name: arguments[name] for name in kernel.arg_names}
    kernel[(programs,)](**chosen, **(OPTIONS | options))


def registers(wide: bool) -> dict[str, int]:
    """The most registers of a thread of the backward: as many as it needs, so that none spills.

    Left alone, the compiler takes fewer and spills. Only NVIDIA's takes such an order.
    """
    return {} if torch.version.hip else {"maxnreg": 248 if wide else 224}


def run_carry(arguments: dict[str, Any], tasks: int, initial: Tensor | None, **flags: Any) -> None:
    """Carry states over the chunks, from left to right or from right to left."""
    from medssm.ops.scan.triton_forward import carry

    elements = arguments["states"] * arguments["channels"]
    blocks = -(-elements // CARRIED)
    values = arguments | {
        "elements": elements, "blocks": blocks, "initial_ptr": _or(initial, arguments["A_ptr"]),
        "INITIAL": initial is not None, "U": AHEAD, "BE": CARRIED,
    } | flags  # fmt: skip
    run(carry, tasks * blocks, values, num_warps=4)


def launch_arguments(launch: Launch, length: int) -> dict[str, Any]:
    """What a launch tells its kernel of itself; a window ends where (t + phase) begins another."""
    return {
        "groups": launch.groups, "first": launch.first, "hop": launch.hop, "PER": launch.per,
        "ADDS": launch.adds, "LAST": launch.last, "WINDOW": launch.window,
        "phase": -length % max(1, launch.window),
    }  # fmt: skip


def state_buffer(call: Operands, sizes: Plan) -> Tensor:
    """Zeros for a state of every chunk: (batch, route, chunk, state, channel)."""
    b, k, _, d, n = call.sizes
    return call.A.new_zeros((b, k, sizes.chunks, n, d))


def saved_states(delta: Tensor, A: Tensor, save: bool) -> Tensor:
    """Room for the states that enter the chunks, by a size that tracing can follow."""
    b, k, length, d = delta.shape
    chunks = -(-length // triton_plan.SHORTEST)
    return A.new_empty(b * k * chunks * A.shape[2] * d if save else 0)


def forward(call: Operands, initial: Tensor | None, save: bool) -> tuple[Tensor, ...]:
    """Scan: the outputs, the sum before the gate if it is saved, entering states, last state."""
    b, k, length, d, n = call.sizes
    routes = 1 if call.merge else k
    out = call.u.new_empty((b, routes, length, d))
    y = call.u.new_empty((b, routes, length, d) if save and call.z is not None else 0)
    entering = saved_states(call.delta, call.A, save)
    if call.empty:
        last = call.A.new_zeros((b, k, d, n)) if initial is None else initial.clone()
        return out.zero_(), y.zero_(), entering, last
    call = call.rowwise()
    found = inspect(call.table)
    with on(call.u.device):
        S = _enter(call, initial, entering, found)
        last = _replay(call, S, y, out, found)
    return out, y, entering, last


def _enter(call: Operands, initial: Tensor | None, kept: Tensor, found: Inspection) -> Tensor:
    """The states that enter the chunks; a copy in `kept` if it has room."""
    from medssm.ops.scan.triton_forward import chunk_states

    b, k, _, d, _ = call.sizes
    sizes = call.plan()
    S = state_buffer(call, sizes)
    start = None if initial is None else initial.transpose(2, 3).contiguous()
    if sizes.chunks > 1:
        sigma = call.A.new_empty((b, k, sizes.chunks, d))
        values = call.arguments(sizes, found.mirrored) | {"S_ptr": S, "sigma_ptr": sigma}
        run(chunk_states, b * k * sizes.chunks * sizes.blocks, values)
        values["H_ptr"] = kept
        run_carry(values, b * k, start, REVERSE=False, SAVE=kept.numel() > 0)
        return S
    if start is not None:
        S[:, :, 0] = start
    if kept.numel():
        kept[: S.numel()] = S.flatten()
    return S


def _replay(call: Operands, S: Tensor, y: Tensor, out: Tensor, found: Inspection) -> Tensor:
    """Write the outputs, launch after launch; give the last state."""
    from medssm.ops.scan.triton_forward import replay

    b, k, length, _, _ = call.sizes
    pairs = found.pairs if call.merge else ()
    plans = triton_plan.launches(k, pairs, not call.merge, call.window)
    alone = len(plans) == 1 and plans[0].per == 1
    total = out if alone or out.dtype == torch.float32 else torch.empty_like(out, dtype=S.dtype)
    windowed = call.backwards() if call.window else call
    for launch in plans:
        here, sizes, states = call, call.plan(), S
        mirrored = found.mirrored
        if launch.window:
            here, sizes = windowed, call.window_plan()
            states, mirrored = state_buffer(call, sizes), (1 << k) - 1
        values = here.arguments(sizes, mirrored) | launch_arguments(launch, length)
        values |= {
            "S_ptr": states, "sum_ptr": total, "y_ptr": y if y.numel() else total, "out_ptr": out,
            "y_b": out.stride(0), "y_k": 0 if call.merge else out.stride(1),
            "SKIP": call.D is not None and not launch.window, "KEEP": y.numel() > 0,
        }  # fmt: skip
        run(replay, b * launch.groups * sizes.chunks * sizes.blocks, values)
    return S[:, :, -1].transpose(2, 3).contiguous()
