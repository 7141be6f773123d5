"""The Fourier pair between images and k-space, with the two conventions of where zero lies."""

from typing import Literal

import torch
from torch import Tensor

Norm = Literal["ortho", "backward"]
PLANE = (-3, -2)
"""Rows and columns where the last axis is (real, imaginary)."""


def fft2(
    image: Tensor, centred: bool = True, dims: tuple[int, int] = PLANE, norm: Norm = "ortho"
) -> Tensor:
    """From images to k-space.

    Args:
        image: Any number of axes, the last one (real, imaginary).
        centred: The origin of both sides lies in the middle (fastMRI); else at the first element,
            without any shift (Calgary-Campinas).
        dims: Rows and columns.
        norm: "ortho" divides by the root of the number of pixels, "backward" by nothing.

    Returns:
        A tensor of the same shape.

    Shape:
        image: (*, H, W, 2) unless `dims` says else.

    Source:
        RECON section 1: odd sizes shift by n // 2 on the way out and (n + 1) // 2 on the way in.
    """
    return as_real(_transform(as_complex(image), centred, _of_complex(image, dims), norm, True))


def ifft2(
    kspace: Tensor, centred: bool = True, dims: tuple[int, int] = PLANE, norm: Norm = "ortho"
) -> Tensor:
    """From k-space to images: the inverse of `fft2` with the same arguments."""
    return as_real(_transform(as_complex(kspace), centred, _of_complex(kspace, dims), norm, False))


def as_complex(x: Tensor) -> Tensor:
    """A real tensor with a last axis (real, imaginary) as a complex one.

    Shape:
        x: (*, 2), result: (*).
    """
    return torch.view_as_complex(x.contiguous())


def as_real(z: Tensor) -> Tensor:
    """A complex tensor as a real one with a last axis (real, imaginary).

    Shape:
        z: (*), result: (*, 2).
    """
    return torch.view_as_real(z.resolve_conj())


def origin_first(x: Tensor, dims: tuple[int, int]) -> Tensor:
    """Move the origin from the middle of two axes to their first element."""
    return torch.fft.ifftshift(x, dim=dims)


def origin_central(x: Tensor, dims: tuple[int, int]) -> Tensor:
    """Move the origin from the first element of two axes to their middle."""
    return torch.fft.fftshift(x, dim=dims)


def _of_complex(x: Tensor, dims: tuple[int, int]) -> tuple[int, int]:
    """The same axes once the last one, (real, imaginary), is gone."""
    rows, columns = (each if each >= 0 else x.ndim + each for each in dims)
    return rows, columns


def _transform(
    x: Tensor, centred: bool, dims: tuple[int, int], norm: Norm, forward: bool
) -> Tensor:
    if centred:
        x = origin_first(x, dims)
    x = (
        torch.fft.fft2(x, dim=dims, norm=norm)
        if forward
        else torch.fft.ifft2(x, dim=dims, norm=norm)
    )
    return origin_central(x, dims) if centred else x
