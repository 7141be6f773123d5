"""What papers on 2D networks do to a slice before training: flips and turns."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from medssm.core.errors import UsageError

Planes = dict[str, Any]
Pair = list[np.ndarray]
_STEEPEST = 20
# zero is what the papers fill with; -1 would be "outside of the image" of nnU-Net's stores
_FILL = 0.0
_NOISE = 0.005
# across a plane, as in imgaug
_NODES = 4


def slice_transforms(name: str, spatial_dims: int) -> Callable[..., Planes]:
    """The transforms of a paper, drawing from torch's global random state.

    Args:
        name: "isic", "transunet" or "msvm".
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
    makers: dict[str, Callable[..., Planes]] = {
        "isic": flips_and_turns,
        "transunet": right_angles_or_turns,
        "msvm": up_to_four,
    }
    return makers[name]


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


def up_to_four(image: torch.Tensor, segmentation: torch.Tensor) -> Planes:
    """None to four, in any order, of flips, noise, blur, contrast, and five ways to warp.

    The authors' noise is meant for 0 to 255 and drowns their pictures of 0 to 1; here it is in
    proportion. How far the piecewise warp goes is ours.

    Source:
        MSVM-UNet (2024), training on Synapse and ACDC.
    """
    planes = [image.numpy(), segmentation.numpy()]
    for index in torch.randperm(len(_STEPS))[: _whole(0, 5)]:
        planes = _STEPS[int(index)](planes)
    return _named(planes)


def _flip(axis: int) -> Callable[[Pair], Pair]:
    return lambda planes: [np.flip(plane, axis) for plane in planes] if _coin() else planes


def _noise(planes: Pair) -> Pair:
    image, label = planes
    noise = torch.randn(image.shape).numpy()
    return [image + _NOISE * float(np.ptp(image)) * noise, label]


def _blur(planes: Pair) -> Pair:
    image, label = planes
    return [ndimage.gaussian_filter(image, (0, 1, 1)), label]


def _contrast(planes: Pair) -> Pair:
    image, label = planes
    middle = image.mean(axis=(-2, -1), keepdims=True)
    return [middle + _between(0.5, 1.5) * (image - middle), label]


def _scale(planes: Pair) -> Pair:
    return _linear(planes, np.eye(2) / _between(0.5, 2.0))


def _rotate(planes: Pair) -> Pair:
    angle = np.deg2rad(_between(-40, 40))
    cosine, sine = np.cos(angle), np.sin(angle)
    return _linear(planes, np.array([[cosine, -sine], [sine, cosine]]))


def _shear(planes: Pair) -> Pair:
    return _linear(planes, np.array([[1.0, 0.0], [np.tan(np.deg2rad(_between(-16, 16))), 1.0]]))


def _translate(planes: Pair) -> Pair:
    shift = [_between(-0.2, 0.2) * size for size in planes[0].shape[-2:]]
    return _linear(planes, np.eye(2), shift)


def _piecewise(planes: Pair) -> Pair:
    shape = planes[0].shape[-2:]
    nodes = torch.randn(2, _NODES, _NODES).numpy() * _between(0.01, 0.03) * min(shape)
    zoom = (1, shape[0] / _NODES, shape[1] / _NODES)
    return _warped(planes, np.indices(shape) + ndimage.zoom(nodes, zoom, order=1))


def _linear(planes: Pair, matrix: np.ndarray, shift: Sequence[float] = (0.0, 0.0)) -> Pair:
    """Map about the middle of a plane."""
    shape = planes[0].shape[-2:]
    middle = np.array([(size - 1) / 2 for size in shape])[:, None, None]
    places = np.indices(shape) - middle - np.array(shift)[:, None, None]
    return _warped(planes, np.einsum("ij,jyx->iyx", matrix, places) + middle)


def _warped(planes: Pair, places: np.ndarray) -> Pair:
    """Read pictures between pixels and labels at the nearest one."""
    return [
        np.stack([ndimage.map_coordinates(each, places, order=order, cval=_FILL) for each in plane])
        for plane, order in zip(planes, (1, 0), strict=True)
    ]


_STEPS: tuple[Callable[[Pair], Pair], ...] = (
    _flip(-2), _flip(-1), _noise, _blur, _contrast, _scale, _rotate, _shear, _piecewise, _translate,
)  # fmt: skip


def _between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _coin() -> bool:
    return float(torch.rand(())) < 0.5


def _whole(low: int, high: int) -> int:
    return int(torch.randint(low, high, ()))


def _turned(planes: Pair, degrees: float) -> Pair:
    return [
        ndimage.rotate(
            plane, degrees, axes=(-2, -1), reshape=False, order=0, mode="constant", cval=_FILL
        )
        for plane in planes
    ]


def _named(planes: Pair) -> Planes:
    image, segmentation = (torch.from_numpy(np.ascontiguousarray(plane)) for plane in planes)
    return {"image": image, "segmentation": segmentation}
