"""The selective scan as PyTorch's own scan operator, for programs that leave this library."""

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan

from medssm.ops.scan.inputs import ScanInputs
from medssm.ops.scan.reference import Result, gated, step_sizes

Step = tuple[Tensor, ...]


def run(call: ScanInputs) -> Result:
    """Scan by `torch.ops.higher_order.scan`, one step of the equations as its body.

    An exported program then holds no operator of this library, and its ONNX form is one Scan. It
    is far slower than the other backends, so it runs only when asked for by name.

    Shape:
        As `reference.run`.
    """
    call = call.with_full_delta()
    u, delta, B, C = (_steps_first(x, call) for x in (call.u, call.delta, call.B, call.C))
    s = step_sizes(delta, call.delta_bias, call.softplus)
    steps = torch.arange(s.shape[0], device=s.device)
    if call.lengths is not None:
        valid = (steps[:, None] < call.lengths)[..., None, None]  # (L, b, 1, 1)
        u, s, B, C = (torch.where(valid, x, 0.0) for x in (u, s, B, C))
    h = call.initial_state
    if h is None:
        h = call.A.new_zeros((call.u.shape[0], *call.A.shape))
    parts = (s, s * u, B, C)
    last, y = scan(_body(call.A), h, parts)
    if call.local_window:
        y = y + _later_steps(call, parts, steps)
    if call.D is not None:
        y = y + u * call.D
    y = _back(y, call)
    return gated(y.sum(1) if call.merge else y, call), last


def _body(A: Tensor):  # type: ignore[no-untyped-def]
    def step(h: Tensor, parts: Step) -> tuple[Tensor, Tensor]:
        s, x, B, C = parts
        h = torch.exp(s[..., None] * A) * h + x[..., None] * B[..., None, :]
        return h, (h * C[..., None, :]).sum(-1)

    return step


def _later_steps(call: ScanInputs, parts: Step, steps: Tensor) -> Tensor:
    """What the later steps of a window add to each output: the last of a window starts anew."""

    def step(right: Tensor, parts: Step) -> tuple[Tensor, Tensor]:
        s, x, B, C, inside = parts
        seen = torch.exp(s[..., None] * call.A) * right * inside
        return seen + x[..., None] * B[..., None, :], (seen * C[..., None, :]).sum(-1)

    inside = ((steps + 1) % call.local_window != 0).to(call.computing)
    backwards = tuple(x.flip(0) for x in (*parts, inside))
    nothing = call.A.new_zeros((call.u.shape[0], *call.A.shape))
    return scan(step, nothing, backwards)[1].flip(0)


def _steps_first(x: Tensor, call: ScanInputs) -> Tensor:
    """Lay a tensor (b, k, L, c) out along the routes: (L, b, k, c)."""
    x = x.to(call.computing).expand(-1, call.A.shape[0], -1, -1)
    if call.table is not None:
        x = x.gather(2, call.table.long()[None, :, :, None].expand_as(x))
    return x.permute(2, 0, 1, 3)


def _back(y: Tensor, call: ScanInputs) -> Tensor:
    """Put outputs (L, b, k, d) where the steps found their inputs: (b, k, L, d)."""
    y = y.permute(1, 2, 0, 3)
    if call.table is None:
        return y
    where = call.table.long()[None, :, :, None].expand_as(y)
    return torch.zeros_like(y).scatter(2, where, y)
