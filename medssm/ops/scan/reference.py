"""The selective scan as its equations are written: slow, any float type, the tests' oracle."""

import torch
import torch.nn.functional as F
from torch import Tensor

from medssm.ops.routes.route import require_permutations
from medssm.ops.scan.inputs import ScanInputs

Result = tuple[Tensor, Tensor]


def run(call: ScanInputs) -> Result:
    """Scan step by step.

    With s = softplus(delta + bias) and a = exp(s A), at step t of route k, all tensors taken at
    the position table[k, t]:

        h_t = a_t h_{t-1} + s_t u_t B_t        y_t = C_t . h_t + D u_t

    A local window replaces h_t in y_t by h_t + r_t - s_t u_t B_t, where r_t = a_t r_{t+1} +
    s_t u_t B_t starts from zero at the end of each window. A skipped step has a = 1, s = y = 0.

    Returns:
        The outputs in the order of memory, and the last state.

    Shape:
        (b, L, d) where the routes are summed, else (b, k, L, d); state (b, k, d, n).
    """
    if call.table is not None:
        require_permutations(call.table)
    call = call.with_full_delta()
    tensors = [x.to(call.computing) for x in (call.u, call.delta, call.B, call.C)]
    b, k, L, d = call.delta.shape
    tensors[0] = tensors[0].expand(b, k, L, d)
    routes, states = [], []
    for r in range(k):
        order = torch.arange(L, device=call.u.device)
        if call.table is not None:
            order = call.table[r].long()
        y, h = _route(call, r, *(x[:, r, order] for x in tensors))
        routes.append(y[:, order.argsort()])
        states.append(h)
    out = torch.stack(routes, 1)
    return gated(out.sum(1) if call.merge else out, call), torch.stack(states, 1)


def _route(call: ScanInputs, r: int, u: Tensor, delta: Tensor, B: Tensor, C: Tensor) -> Result:
    """One route, its tensors in the order of its steps."""
    b, L, d = u.shape
    s = step_sizes(delta, None if call.delta_bias is None else call.delta_bias[r], call.softplus)
    if call.lengths is not None:
        valid = (torch.arange(L, device=u.device) < call.lengths[:, None])[..., None]
        u, s, B, C = (torch.where(valid, x, 0.0) for x in (u, s, B, C))
    # unbind, not indexing: the backward of an index writes a full-size zero tensor each step
    decay = [torch.exp(x[..., None] * call.A[r]) for x in s.unbind(1)]
    increment = [
        x[..., None] * y[:, None] for x, y in zip((s * u).unbind(1), B.unbind(1), strict=True)
    ]
    h = u.new_zeros(b, d, call.A.shape[2])
    if call.initial_state is not None:
        h = call.initial_state[:, r]
    seen = []
    for a, x in zip(decay, increment, strict=True):
        h = a * h + x
        seen.append(h)
    if call.local_window:
        right = torch.zeros_like(h)
        for t in reversed(range(L)):
            if (t + 1) % call.local_window == 0:
                right = torch.zeros_like(h)
            right = decay[t] * right + increment[t]
            seen[t] = seen[t] + right - increment[t]
    y = [(x * c[:, None]).sum(-1) for x, c in zip(seen, C.unbind(1), strict=True)]
    # no steps give nothing, made of everything so that everything has a gradient of zeros
    out = torch.stack(y, 1) if y else s * u * (B * C).sum(-1, keepdim=True) + call.A[r].sum(-1)
    return out if call.D is None else out + call.D[r] * u, h


def step_sizes(delta: Tensor, bias: Tensor | None, softplus: bool) -> Tensor:
    """The step s of the equations from its raw form."""
    delta = delta if bias is None else delta + bias
    # the threshold keeps float64 exact; without one exp would overflow
    return F.softplus(delta, threshold=33.0) if softplus else delta


def gated(y: Tensor, call: ScanInputs) -> Tensor:
    """Multiply by silu(z) where there is a gate, and give the result the type of u."""
    if call.z is not None:
        gate = F.silu(call.z.to(call.computing))
        y = y * (gate if call.merge else gate[:, None])
    return y.to(call.u.dtype)
