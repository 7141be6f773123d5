"""S4D as its recurrence is written: the tests' oracle, and single steps for streams."""

import torch
from torch import Tensor

from medssm.ops.s4d.inputs import check, discretised


def s4d_recurrence(
    u: Tensor,
    log_step: Tensor,
    A: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    *,
    C_back: Tensor | None = None,
) -> Tensor:
    """Compute `s4d_convolution` step by step.

    Shape:
        As `s4d_convolution`.
    """
    call = check(u, log_step, A, C, D, C_back)
    y = _one_way(call.u, call.log_step, call.A, call.C)
    if call.C_back is not None:
        back = _one_way(call.u.flip(1), call.log_step, call.A, call.C_back).flip(1)
        # what lies ahead starts at the next token
        y = y + torch.cat((back[:, 1:], torch.zeros_like(back[:, :1])), 1)
    if call.D is not None:
        y = y + call.D * call.u
    return y.to(u.dtype)


def _one_way(u: Tensor, log_step: Tensor, A: Tensor, C: Tensor) -> Tensor:
    state = A.new_zeros(len(u), *A.shape)
    rows = []
    for x in u.unbind(1):
        y, state = s4d_step(state, x, log_step, A, C)
        rows.append(y)
    return torch.stack(rows, 1) if rows else u


def s4d_step(
    state: Tensor, u: Tensor, log_step: Tensor, A: Tensor, C: Tensor, D: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Take one token: x' = exp(dt A) x + (exp(dt A) - 1) / A u, y = 2 Re(C x') + D u.

    Returns:
        The output with the type of u, and the new state. Start with a state of zeros.

    Shape:
        state: (b, d, n) complex, u: (b, d), log_step: (d,), A, C: (d, n), D: (d,); result (b, d).
    """
    decay, gain = discretised(log_step, A)
    state = decay.exp() * state + gain * u[..., None]
    y = 2 * (C * state).sum(-1).real
    return (y if D is None else y + D * u).to(u.dtype), state
