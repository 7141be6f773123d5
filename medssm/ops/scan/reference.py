"""The selective scan as its equations are written: slow, any float type, the tests' oracle."""

import torch
import torch.nn.functional as F
from torch import Tensor

from medssm.ops.scan.inputs import ScanInputs

Result = tuple[Tensor, Tensor]


def run(call: ScanInputs) -> Result:
    """Scan step by step.

    With s = softplus(delta + bias), at step t of route k, position p = table[k, t]:

        h_t = exp(s_p A) h_{t-1} + s_p u_p B_p        y_p = C_p . h_t + D u_p

    Returns:
        The outputs in the order of memory, and the last state.

    Shape:
        (b, L, d) where the routes are summed, else (b, k, L, d); state (b, k, d, n).
    """
    call = call.with_full_delta()
    u, delta, B, C = (x.to(call.computing) for x in (call.u, call.delta, call.B, call.C))
    if call.delta_bias is not None:
        delta = delta + call.delta_bias[:, None]
    if call.softplus:
        delta = F.softplus(delta, threshold=33.0)  # exact in float64; exp would overflow
    b, k, L, d = delta.shape
    routes = []
    states = []
    for r in range(k):
        table = range(L) if call.table is None else call.table[r].tolist()
        u_r, s, Bk, Ck = (x.unbind(1) for x in (u[:, min(r, u.shape[1] - 1)], *_of(r, delta, B, C)))
        h = u.new_zeros(b, d, call.A.shape[2])
        if call.initial_state is not None:
            h = call.initial_state[:, r]
        y: list[Tensor] = [h.new_empty(0)] * L
        for p in table:
            decay = torch.exp(s[p][..., None] * call.A[r])
            h = decay * h + (s[p] * u_r[p])[..., None] * Bk[p][:, None]
            y[p] = (h * Ck[p][:, None]).sum(-1)
            if call.D is not None:
                y[p] = y[p] + call.D[r] * u_r[p]
        routes.append(torch.stack(y, 1))
        states.append(h)
    out = torch.stack(routes, 1)
    return gated(out.sum(1) if call.merge else out, call), torch.stack(states, 1)


def gated(y: Tensor, call: ScanInputs) -> Tensor:
    """Multiply by silu(z) where there is a gate, and give the result the type of u."""
    if call.z is not None:
        gate = F.silu(call.z.to(call.computing))
        y = y * (gate if call.merge else gate[:, None])
    return y.to(call.u.dtype)


def _of(r: int, *tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor[:, r] for tensor in tensors)
