"""What papers on 2D networks do to a slice before training: flips and turns."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from medssm.core.errors import UsageError

Planes = dict[str, Any]
_STEEPEST = 20
# zero is what the papers fill with; -1 would be "outside of the image" of nnU-Net's stores
_FILL = 0.0


def slice_transforms(name: str, spatial_dims: int) -> Callable[..., Planes]:
    """The transforms of a paper, drawing from torch's global random state.

    Args:
        name: "isic" or "transunet".
        spatial_dims: Of the patches; only planes are taken.

    Returns:
        A callable ``(image=(C, Y, X), segmentation=(1, Y, X)) -> {"image", "segmentation"}``.

    Raises:
        UsageError: Patches are volumes.
    """
    if spatial_dims != 2:
        raise UsageError(
            f"augmentation={name} is made for planes; take planner.configuration=2d or "
            "augmentation=nnunet."
        )
    return {"isic": flips_and_turns, "transunet": right_angles_or_turns}[name]


def flips_and_turns(image: torch.Tensor, segmentation: torch.Tensor) -> Planes:
    """Each with probability one half: mirror left-right, mirror up-down, turn by any angle.

    The authors draw the angle once for the whole run, at import; here every picture has its own.

    Source:
        VM-UNet (2024) and MHS-VM (2024), training on ISIC.
    """
    planes = [image.numpy(), segmentation.numpy()]
    for axis in (-1, -2):
        if _coin():
            planes = [np.flip(plane, axis) for plane in planes]
    if _coin():
        planes = _turned(planes, 360 * float(torch.rand(())))
    return _named(planes)


def right_angles_or_turns(image: torch.Tensor, segmentation: torch.Tensor) -> Planes:
    """Half of the slices: a turn by a right angle and a flip; half of the rest: up to 20 degrees.

    Source:
        TransUNet (2021), training on Synapse; taken over by VM-UNet.
    """
    planes = [image.numpy(), segmentation.numpy()]
    if _coin():
        quarters, axis = _whole(0, 4), _whole(-2, 0)
        # a plane that is no square keeps its shape
        quarters = quarters if image.shape[-1] == image.shape[-2] else 2 * (quarters // 2)
        planes = [np.flip(np.rot90(plane, quarters, axes=(-2, -1)), axis) for plane in planes]
    elif _coin():
        planes = _turned(planes, float(_whole(-_STEEPEST, _STEEPEST)))
    return _named(planes)


def _coin() -> bool:
    return float(torch.rand(())) < 0.5


def _whole(low: int, high: int) -> int:
    return int(torch.randint(low, high, ()))


def _turned(planes: list[np.ndarray], degrees: float) -> list[np.ndarray]:
    return [
        ndimage.rotate(
            plane, degrees, axes=(-2, -1), reshape=False, order=0, mode="constant", cval=_FILL
        )
        for plane in planes
    ]


def _named(planes: list[np.ndarray]) -> Planes:
    image, segmentation = (torch.from_numpy(np.ascontiguousarray(plane)) for plane in planes)
    return {"image": image, "segmentation": segmentation}
