"""Fourier pair and complex products in real numbers alone, for runtimes without complex ones."""

import math

import torch
from torch import Tensor


def fft2_pairs(x: Tensor, centred: bool = True, inverse: bool = False) -> Tensor:
    """`fft2` or `ifft2` as two products with matrices of cosines and sines; orthonormal.

    H + W multiplications a pixel take the place of a fast transform: at the sizes of a slice that
    is less work than a convolution, and every runtime multiplies matrices.

    Args:
        x: Any number of axes, the last one (real, imaginary).
        centred: As for `fft2`.
        inverse: From k-space to images.

    Shape:
        x: (*, H, W, 2), result the same.
    """
    rows, columns = (_matrix(x.shape[axis], centred, inverse, x) for axis in (-3, -2))
    real, imaginary = x[..., 0], x[..., 1]
    along = (
        real @ columns[0] - imaginary @ columns[1],
        real @ columns[1] + imaginary @ columns[0],
    )
    return torch.stack(
        (rows[0] @ along[0] - rows[1] @ along[1], rows[0] @ along[1] + rows[1] @ along[0]), -1
    )


def times(a: Tensor, b: Tensor) -> Tensor:
    """The product of complex numbers.

    Shape:
        a, b, result: (*, 2).
    """
    return torch.stack(
        (a[..., 0] * b[..., 0] - a[..., 1] * b[..., 1],
         a[..., 0] * b[..., 1] + a[..., 1] * b[..., 0]), -1,
    )  # fmt: skip


def times_conjugate(a: Tensor, b: Tensor) -> Tensor:
    """The product of complex numbers with the conjugates of others.

    Shape:
        a, b, result: (*, 2).
    """
    return torch.stack(
        (a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1],
         a[..., 1] * b[..., 0] - a[..., 0] * b[..., 1]), -1,
    )  # fmt: skip


def _matrix(size: int, centred: bool, inverse: bool, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the transform of one axis; symmetric."""
    places = torch.arange(size, device=like.device)
    # as a tensor: an exported program may have any size
    count = torch.full_like(places[:1], size)
    if centred:
        places = places - size // 2
    # whole turns are taken off in whole numbers, where nothing is rounded
    turns = torch.remainder(places[:, None] * places[None, :], count)
    count = count.to(like.dtype)
    angle = turns.to(like.dtype) / count * (2 * math.pi * (1 if inverse else -1))
    return torch.cos(angle) / count.sqrt(), torch.sin(angle) / count.sqrt()
