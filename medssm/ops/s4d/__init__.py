"""The diagonal state space S4D: one kernel as long as the sequence, convolved by FFT."""

import torch
from torch import Tensor

from medssm.ops.s4d.inputs import check, discretised

BLOCK = 64
"""Lags of a block: powers of the decays are kept within a block and at the block starts."""


def s4d_convolution(
    u: Tensor,
    log_step: Tensor,
    A: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    *,
    C_back: Tensor | None = None,
) -> Tensor:
    """Convolve each channel with the kernel of its complex modes.

    K_l = 2 Re sum_n C_n (exp(dt A_n) - 1) / A_n exp(dt A_n l) with dt = exp(log_step), B absorbed
    in C; y_t = sum_{s <= t} K_{t-s} u_s + D u_t. With `C_back`, a second kernel K' looks ahead
    and adds sum_{s > t} K'_{s-t-1} u_s, so that lag 0 counts once. All arithmetic is float32 or
    float64 and outside autocast.

    Args:
        u: Input.
        log_step: Logarithm of the step of each channel.
        A: Modes with negative real parts, one of each conjugate pair.
        C: Output weights of the modes.
        D: Skip weights.
        C_back: Output weights of the kernel that looks ahead.

    Returns:
        The output with the type of u.

    Shape:
        u: (b, L, d), log_step: (d,), A, C, C_back: (d, n) complex, D: (d,); result (b, L, d).

    Raises:
        ValueError: A shape does not fit, or A or C is real.

    Source:
        Gu et al., "On the Parameterization and Initialization of Diagonal State Space Models",
        2022, equations 2 and 5 (zero-order hold); both directions as in S4ND, 2022.
    """
    call = check(u, log_step, A, C, D, C_back)
    length = u.shape[1]
    with torch.autocast(u.device.type, enabled=False):
        kernel = s4d_kernel(call.log_step, call.A, call.C, length)
        kernel = torch.nn.functional.pad(kernel, (0, length))
        if call.C_back is not None:
            ahead = s4d_kernel(call.log_step, call.A, call.C_back, length)
            # lag -1 is the last of a circle of 2 L lags; the very last look ahead is never used
            kernel = kernel + torch.nn.functional.pad(ahead, (0, length)).flip(-1)
        spectrum = torch.fft.rfft(call.u, n=2 * length, dim=1)
        spectrum = spectrum * torch.fft.rfft(kernel, dim=-1).t()
        y = torch.fft.irfft(spectrum, n=2 * length, dim=1)[:, :length]
        if call.D is not None:
            y = y + call.D * call.u
    return y.to(u.dtype)


def s4d_kernel(log_step: Tensor, A: Tensor, C: Tensor, length: int) -> Tensor:
    """The kernel of each channel, from (length / 64 + 64) powers of each mode.

    Shape:
        log_step: (d,), A, C: (d, n) complex; result (d, length).
    """
    decay, gain = discretised(log_step, A)
    # one block more than needed: a size that may be 1 would bound an exported program
    starts = torch.arange(0, length + BLOCK, BLOCK, device=A.device)
    within = torch.arange(BLOCK, device=A.device)
    left = (C * gain)[:, None] * torch.exp(decay[:, None] * starts[:, None])  # (d, blocks, n)
    right = torch.exp(decay[..., None] * within)  # (d, n, BLOCK)
    lags = torch.arange(length, device=A.device)
    # indexed, not flattened and cut: an exported program has no bound between the two lengths
    return 2 * (left @ right).real[:, lags // BLOCK, lags % BLOCK]
