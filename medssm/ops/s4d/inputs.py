"""The arguments of an S4D convolution, checked once, and its modes for one step."""

from typing import NamedTuple

import torch
from torch import Tensor


class S4DInputs(NamedTuple):
    """A checked call in one type of numbers.

    Shape:
        u: (b, L, d), log_step: (d,), A, C, C_back: (d, n) complex, D: (d,).
    """

    u: Tensor
    log_step: Tensor
    A: Tensor
    C: Tensor
    D: Tensor | None
    C_back: Tensor | None


def check(
    u: Tensor, log_step: Tensor, A: Tensor, C: Tensor, D: Tensor | None, C_back: Tensor | None
) -> S4DInputs:
    """Check shapes and bring all to float32, or to float64 where u is.

    Raises:
        ValueError: A shape does not fit, or A or C is real; the message names it.
    """
    if u.dim() != 3 or not u.is_floating_point() or A.dim() != 2:
        raise ValueError(
            f"u must be floating with axes (batch, length, channel) and A have (channel, mode);"
            f" got {tuple(u.shape)} of {u.dtype} and {tuple(A.shape)}."
        )
    d, n = u.shape[2], A.shape[1]
    shapes: dict[str, tuple[Tensor | None, tuple[int, ...]]] = {
        "log_step": (log_step, (d,)),
        "D": (D, (d,)),
        "A": (A, (d, n)),
        "C": (C, (d, n)),
        "C_back": (C_back, (d, n)),
    }
    for name, (tensor, shape) in shapes.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {shape}.")
        if tensor is not None and len(shape) == 2 and not tensor.is_complex():
            raise ValueError(f"{name} is {tensor.dtype}; the modes and their weights are complex.")
    real = torch.float64 if u.dtype == torch.float64 else torch.float32
    wide = torch.complex128 if real == torch.float64 else torch.complex64
    return S4DInputs(
        u.to(real),
        log_step.to(real),
        A.to(wide),
        C.to(wide),
        None if D is None else D.to(real),
        None if C_back is None else C_back.to(wide),
    )


def discretised(log_step: Tensor, A: Tensor) -> tuple[Tensor, Tensor]:
    """The logarithm of each mode's decay over a step, dt A, and its input gain.

    Shape:
        log_step: (d,), A: (d, n) complex; results (d, n) complex.
    """
    decay = log_step.exp()[:, None] * A
    return decay, torch.expm1(decay) / A
