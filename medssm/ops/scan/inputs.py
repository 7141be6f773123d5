"""The arguments of a selective scan, checked once with messages that name the axes."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

STREAMED = (torch.float32, torch.bfloat16, torch.float16)
FLOATS = (*STREAMED, torch.float64)


@dataclass(frozen=True)
class ScanInputs:
    """A checked call: every tensor has all its axes.

    Shape:
        u: (b, k or 1, L, d), delta: (b, k, L, d) or (b, k, L, r) with delta_weight (k, d, r),
        A: (k, d, n), B, C: (b, k, L, n), D, delta_bias: (k, d), z: (b, L, d),
        initial_state: (b, k, d, n), table: (k, L) int32, lengths: (b,) int32.
    """

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    delta_bias: Tensor | None
    delta_weight: Tensor | None
    table: Tensor | None
    z: Tensor | None
    initial_state: Tensor | None
    softplus: bool
    merge: bool
    lengths: Tensor | None = None
    local_window: int = 0
    deterministic: bool | None = None

    @property
    def computing(self) -> torch.dtype:
        """The type of the state and of all arithmetic."""
        return torch.float64 if self.u.dtype == torch.float64 else torch.float32

    def with_full_delta(self) -> "ScanInputs":
        """The same call with the low-rank step multiplied out."""
        if self.delta_weight is None:
            return self
        weight = self.delta_weight.to(self.computing)
        with torch.autocast(self.u.device.type, enabled=False):  # it would compute in a half type
            delta = torch.einsum("bklr,kdr->bkld", self.delta.to(self.computing), weight)
        return replace(self, delta=delta, delta_weight=None)


def check(call: ScanInputs) -> ScanInputs:
    """Check shapes and types, and bring the tensors to the types that a backend expects.

    Raises:
        ValueError: A shape does not fit; the message names the axis.
    """
    if call.u.dim() not in {3, 4} or call.u.dtype not in FLOATS:
        raise ValueError(
            f"u must be floating with axes (batch, [route,] length, channel); got"
            f" {tuple(call.u.shape)} of {call.u.dtype}."
        )
    if call.A.dim() != 3 or call.delta.dim() != 4:
        raise ValueError(
            f"A must have the axes (route, channel, state) and delta (batch, route, length,"
            f" channel); got {tuple(call.A.shape)} and {tuple(call.delta.shape)}."
        )
    u = call.u if call.u.dim() == 4 else call.u.unsqueeze(1)
    b, _, L, d = u.shape
    k, _, n = call.A.shape
    width = d if call.delta_weight is None else call.delta_weight.shape[-1]
    device = u.device
    wanted: tuple[tuple[str, Tensor | None, tuple[int, ...]], ...] = (
        ("u", u, (b, u.shape[1] if u.shape[1] == 1 else k, L, d)),
        ("delta", call.delta, (b, k, L, width)),
        ("A", call.A, (k, d, n)),
        ("B", call.B, (b, k, L, n)),
        ("C", call.C, (b, k, L, n)),
        ("D", call.D, (k, d)),
        ("delta_bias", call.delta_bias, (k, d)),
        ("delta_weight", call.delta_weight, (k, d, width)),
        ("routes", call.table, (k, L)),
        ("z", call.z, (b, L, d)),
        ("initial_state", call.initial_state, (b, k, d, n)),
        ("lengths", call.lengths, (b,)),
    )
    for name, tensor, shape in wanted:
        if tensor is None:
            continue
        if tensor.shape != shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, expected {shape}: batch {b}, routes"
                f" {k}, length {L}, channels {d}, states {n}."
            )
        if tensor.device != device:
            raise ValueError(f"{name} is on {tensor.device}, u on {device}; move one of them.")
    if call.local_window < 0:
        raise ValueError(f"local_window is {call.local_window}; take 0 (off) or more steps.")
    changed = _typed(call) if u is call.u else {"u": u, **_typed(call)}
    return replace(call, **changed) if changed else call


_STREAMS = ("delta", "B", "C", "z")
_PARAMETERS = ("A", "D", "delta_bias", "delta_weight", "initial_state")
_TABLES = ("table", "lengths")


def _typed(call: ScanInputs) -> dict[str, Any]:
    """The tensors that a backend expects in another type: mostly none, as every call asks."""
    computing = call.computing
    # tensors along the length keep a half type beside a half or single u
    kept = STREAMED if computing == torch.float32 else (torch.float64,)
    changed: dict[str, Any] = {}
    for names, types, target in (
        (_STREAMS, kept, computing),
        (_PARAMETERS, (computing,), computing),
        (_TABLES, (torch.int32,), torch.int32),
    ):
        for name in names:
            tensor = getattr(call, name)
            if tensor is not None and tensor.dtype not in types:
                changed[name] = tensor.to(target)
    for name in _TABLES:
        tensor = changed.get(name, getattr(call, name))
        if tensor is not None and not tensor.is_contiguous():
            changed[name] = tensor.contiguous()
    return changed
