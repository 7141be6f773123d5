"""The selective scan as PyTorch's own scan operator, for programs that leave this library."""

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan
from torch.nn.functional import pad

from medssm.ops.scan.inputs import ScanInputs
from medssm.ops.scan.reference import Result, gated, step_sizes
from medssm.ops.scan.walk import chunk_steps

Step = tuple[Tensor, ...]
NARROW = 2048
"""Numbers of a state, over all routes, up to which a step costs more than its arithmetic."""


def run(call: ScanInputs) -> Result:
    """Scan by `torch.ops.higher_order.scan`, one step of the equations as its body.

    An exported program then holds no operator of this library, and its ONNX form is Scan nodes.
    Where the state is narrow, chunks of the sequence run side by side: their last states from
    zero first, then what each starts from, then their outputs. Nothing is divided by a decay. The
    other backends are far faster, so it runs only when asked for by name.

    Shape:
        As `reference.run`.
    """
    call = call.with_full_delta()
    u, s, B, C = _inputs(call)
    k, d, n = call.A.shape
    h = call.initial_state
    # channels last: a step is arithmetic on long rows
    A = call.A.mT.contiguous()  # (k, n, d)
    h = A.new_zeros((u.shape[0], k, n, d)) if h is None else h.mT.contiguous()
    narrow = k * d * n <= NARROW
    steps = chunk_steps(call.local_window)
    parts = tuple(_in_chunks(x, steps) if narrow else _in_a_row(x) for x in (s, s * u, B, C))
    starts = _starts(A, h, parts) if narrow else h[None]
    last, y = scan(_body(A), starts, parts)
    if call.local_window:
        y = y + _later_steps(A, call.local_window, parts, torch.zeros_like(starts))
    y = (_as_one(y, u.shape[2]) if narrow else y[:, 0]).permute(1, 2, 0, 3)
    if call.D is not None:
        y = y + u * call.D[:, None]
    y = _back(y, call)
    return gated(y.sum(1) if call.merge else y, call), last[-1].mT


def _inputs(call: ScanInputs) -> Step:
    """u, s, B and C in the order of the routes, (b, k, L, c); a skipped step has zeros."""
    u, delta, B, C = (_taken(x, call) for x in (call.u, call.delta, call.B, call.C))
    bias = None if call.delta_bias is None else call.delta_bias[:, None]
    s = step_sizes(delta, bias, call.softplus)
    if call.lengths is None:
        return u, s, B, C
    steps = torch.arange(s.shape[2], device=s.device)
    valid = (steps < call.lengths[:, None])[:, None, :, None]  # (b, 1, L, 1)
    return tuple(torch.where(valid, x, 0.0) for x in (u, s, B, C))


def _taken(x: Tensor, call: ScanInputs) -> Tensor:
    x = x.to(call.computing).expand(-1, call.A.shape[0], -1, -1)
    if call.table is None:
        return x
    return x.gather(2, call.table.long()[None, :, :, None].expand_as(x))


def _in_a_row(x: Tensor) -> Tensor:
    """Lay a tensor (b, k, L, c) out step by step, as one chunk: (L, 1, b, k, c)."""
    return x.permute(2, 0, 1, 3)[:, None]


def _in_chunks(x: Tensor, steps: int) -> Tensor:
    """Lay a tensor (b, k, L, c) out as m chunks of l steps, zeros behind: (l, m, b, k, c)."""
    length = x.shape[2]
    # never one chunk only: a program would then be made for short sequences
    chunks = torch.arange(length // steps + 2, device=x.device)
    at = torch.arange(steps, device=x.device)[:, None] + steps * chunks
    # by index, since of a view's strides a program would ask what it cannot know of any length
    return pad(x, (0, 0, 0, 1))[:, :, at.clamp_max(length)].permute(2, 3, 0, 1, 4)


def _as_one(y: Tensor, length: int) -> Tensor:
    """Take chunks (l, m, b, k, c) as one sequence: (L, b, k, c)."""
    at = torch.arange(length, device=y.device)
    return y[at % y.shape[0], at // y.shape[0]]


def _starts(A: Tensor, h: Tensor, parts: Step) -> Tensor:
    """The state that each chunk starts from, (m, b, k, n, d)."""
    s = parts[0]
    ends, _ = scan(_ending(A), A.new_zeros((s.shape[1], *h.shape)), parts)
    decays = torch.exp(s.sum(0)[..., None, :] * A)
    return scan(_following, h, (decays, ends))[1]


def _next(h: Tensor, parts: Step, A: Tensor) -> Tensor:
    s, x, B, _ = parts
    return torch.exp(s[..., None, :] * A) * h + x[..., None, :] * B[..., None]


def _seen(h: Tensor, C: Tensor) -> Tensor:
    # a matrix product folds the leading axes, and of chunks times records a program cannot tell
    # that they are a multiple of the chunks
    return (C[..., None] * h).sum(-2)


def _body(A: Tensor):  # type: ignore[no-untyped-def]
    def step(h: Tensor, parts: Step) -> tuple[Tensor, Tensor]:
        h = _next(h, parts, A)
        return h, _seen(h, parts[3])

    return step


def _ending(A: Tensor):  # type: ignore[no-untyped-def]
    def step(h: Tensor, parts: Step) -> tuple[Tensor, Tensor]:
        # a scan gives something at each step, wanted or not
        return _next(h, parts, A), h.new_zeros(1)

    return step


def _following(h: Tensor, parts: Step) -> tuple[Tensor, Tensor]:
    decay, end = parts
    return decay * h + end, h.clone()


def _later_steps(A: Tensor, window: int, parts: Step, nothing: Tensor) -> Tensor:
    """What the later steps of a window add to each output: the last of a window starts anew."""

    def step(right: Tensor, parts: Step) -> tuple[Tensor, Tensor]:
        s, x, B, C, inside = parts
        seen = torch.exp(s[..., None, :] * A) * right * inside
        return seen + x[..., None, :] * B[..., None], _seen(seen, C)

    steps = torch.arange(parts[0].shape[0], device=A.device)
    inside = ((steps + 1) % window != 0).to(A.dtype)
    backwards = tuple(x.flip(0) for x in (*parts, inside))
    return scan(step, nothing, backwards)[1].flip(0)


def _back(y: Tensor, call: ScanInputs) -> Tensor:
    """Put outputs where the steps found their inputs: (b, k, L, d)."""
    if call.table is None:
        return y
    where = call.table.long()[None, :, :, None].expand_as(y)
    return torch.zeros_like(y).scatter(2, where, y)
