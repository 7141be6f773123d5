"""What a plan does to an image, as invertible transforms of MONAI: normalise, resample, paint."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from scipy.ndimage import binary_fill_holes, map_coordinates
from skimage.transform import resize

# where voxels are so much longer along one axis, planes are resampled one by one
_ANISOTROPIC = 3.0
_SMALLEST = 1e-8


class NormalizeAsPlannedd(MapTransform):
    """Normalise each channel by its own scheme.

    Args:
        keys: Images, (C, *S).
        schemes: Of each channel: "ZScoreNormalization", "CTNormalization", "NoNormalization",
            "RescaleTo01Normalization" or "RGBTo01Normalization".
        masked: Of each channel whether only the object counts, which is not zero in some channel.
        intensities: Of each channel mean, std, percentile_00_5 and percentile_99_5 of the
            foreground in training, for CTNormalization.

    Source:
        nnU-Net v2, normalisation schemes.
    """

    def __init__(
        self,
        keys: KeysCollection,
        schemes: Sequence[str],
        masked: Sequence[bool],
        intensities: Sequence[Mapping[str, float]],
    ) -> None:
        super().__init__(keys)
        self.schemes, self.masked, self.intensities = schemes, masked, intensities

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Normalise the images of a case."""
        case = dict(data)
        for key in self.key_iterator(case):
            image = case[key].to(torch.float32)
            plain = image.numpy().copy()
            mask = binary_fill_holes((plain != 0).any(axis=0))
            for channel, scheme in enumerate(self.schemes):
                plain[channel] = self._channel(plain[channel], mask, channel, scheme)
            case[key] = _like(image, torch.from_numpy(plain))
        return case

    def _channel(self, x: np.ndarray, mask: np.ndarray, channel: int, scheme: str) -> np.ndarray:
        if scheme == "ZScoreNormalization":
            where = mask if self.masked[channel] else np.ones_like(mask)
            inside = x[where]
            result = x.copy()
            result[where] = (inside - inside.mean()) / max(inside.std(), _SMALLEST)
            return result
        if scheme == "CTNormalization":
            facts = self.intensities[channel]
            clipped = np.clip(x, facts["percentile_00_5"], facts["percentile_99_5"])
            return (clipped - facts["mean"]) / max(facts["std"], _SMALLEST)
        if scheme == "RescaleTo01Normalization":
            shifted = x - x.min()
            return shifted / max(shifted.max(), _SMALLEST)
        return x / 255 if scheme == "RGBTo01Normalization" else x


class ResampleAsPlannedd(MapTransform, InvertibleTransform):
    """Resample images to the spacing of a plan, planes one by one where slices are thick.

    The inverse brings predictions, one channel a class, linearly to the former size.

    Args:
        keys: Images, (C, *S).
        spacing_mm: Of the plan, by axes of the array; two numbers leave the first axis alone.
        axes: Which axis of the file each axis of the array is.
        order: Of the spline; 0 for labels.

    Source:
        nnU-Net v2, resampling of data and of probabilities.
    """

    def __init__(
        self,
        keys: KeysCollection,
        spacing_mm: Sequence[float],
        axes: Sequence[int],
        order: int = 3,
    ) -> None:
        super().__init__(keys)
        self.spacing_mm, self.axes, self.order = tuple(spacing_mm), tuple(axes), order

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample the images of a case."""
        case = dict(data)
        for key in self.key_iterator(case):
            image = case[key]
            before = [float(image.pixdim[axis]) for axis in self.axes]
            shape = list(image.shape[1:])
            wanted = list(self.spacing_mm)
            if len(wanted) < len(before):
                wanted = [before[0], *wanted]
            size = [round(b / w * s) for b, w, s in zip(before, wanted, shape, strict=True)]
            plain = resample(np.asarray(image, dtype=np.float32), size, before, wanted, self.order)
            case[key] = _like(image, torch.from_numpy(plain))
            facts = {"shape": shape, "before": before, "wanted": wanted}
            self.push_transform(case, key, extra_info=facts)
        return case

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Bring predictions on the plan's grid back to the size before."""
        case = dict(data)
        for key in self.key_iterator(case):
            facts = self.pop_transform(case, key)["extra_info"]
            shape = [int(size) for size in facts["shape"]]
            wanted, before = ([float(each) for each in facts[k]] for k in ("wanted", "before"))
            plain = np.asarray(case[key].cpu(), dtype=np.float32)
            case[key] = _like(
                case[key], torch.from_numpy(resample(plain, shape, wanted, before, 1))
            )
        return case


class PaintRegionsd(MapTransform):
    """Turn one logit a region into a label map: regions painted in their declared order.

    Args:
        keys: Logits, (K, *S); the result is (1, *S).
        values: The label of each region.

    Source:
        nnU-Net v2, region-based training.
    """

    def __init__(self, keys: KeysCollection, values: Sequence[int]) -> None:
        super().__init__(keys)
        self.values = tuple(values)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Paint the predictions of a case."""
        case = dict(data)
        for key in self.key_iterator(case):
            label = torch.zeros_like(case[key][:1])
            for logits, value in zip(case[key], self.values, strict=True):
                # a logit above zero is a probability above one half
                label[0][logits > 0] = value
            case[key] = label
        return case


class IgnoreLabeld(MapTransform):
    """Call background what a label map leaves open, in it and in what is held against it.

    Args:
        keys: Label maps, (1, *S) each.
        label_key: The one that leaves voxels open.
        value: Its value there.
    """

    def __init__(self, keys: KeysCollection, label_key: str, value: int) -> None:
        super().__init__(keys)
        self.label_key, self.value = label_key, value

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Close the open voxels of a case."""
        case = dict(data)
        open_voxels = torch.as_tensor(case[self.label_key]) == self.value
        for key in self.key_iterator(case):
            case[key] = torch.where(open_voxels, torch.zeros_like(case[key]), case[key])
        return case


class RegionsOfLabelsd(MapTransform):
    """Turn a label map into one mask a region.

    Args:
        keys: Labels, (1, *S); the result is (K, *S).
        members: Label values of each region.
    """

    def __init__(self, keys: KeysCollection, members: Sequence[Sequence[int]]) -> None:
        super().__init__(keys)
        self.members = [tuple(each) for each in members]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Mask the regions of a case."""
        case = dict(data)
        for key in self.key_iterator(case):
            label = case[key]
            values = [torch.as_tensor(each, dtype=label.dtype) for each in self.members]
            masks = torch.cat([torch.isin(label.cpu(), each) for each in values])
            case[key] = _like(label, masks.to(torch.float32))
        return case


def resample(
    image: np.ndarray,
    size: Sequence[int],
    before_mm: Sequence[float],
    after_mm: Sequence[float],
    order: int,
) -> np.ndarray:
    """Resample an image to a size, planes one by one where voxels are long along one axis.

    Shape:
        image: (C, *S); result: (C, *size).
    """
    if list(image.shape[1:]) == list(size):
        return image
    axis = _long_axis(before_mm, after_mm)
    return np.stack([_resample_channel(x.astype(float), size, axis, order) for x in image]).astype(
        np.float32
    )


def _resample_channel(
    x: np.ndarray, size: Sequence[int], axis: int | None, order: int
) -> np.ndarray:
    if axis is None:
        return resize(x, size, order, mode="edge", anti_aliasing=False)
    plane = [each for i, each in enumerate(size) if i != axis]
    planes = [
        resize(each, plane, order, mode="edge", anti_aliasing=False)
        for each in np.moveaxis(x, axis, 0)
    ]
    stack = np.stack(planes, axis=axis)
    if stack.shape[axis] == size[axis]:
        return stack
    grid = np.mgrid[tuple(slice(0, each) for each in size)].astype(float)
    for i, each in enumerate(size):
        grid[i] = stack.shape[i] / each * (grid[i] + 0.5) - 0.5
    return map_coordinates(stack, grid, order=0, mode="nearest")


def _long_axis(before_mm: Sequence[float], after_mm: Sequence[float]) -> int | None:
    """The axis along which voxels are much longer, or None where there is none, or several."""
    for spacing in (before_mm, after_mm):
        if max(spacing) / min(spacing) > _ANISOTROPIC:
            longest = [i for i, each in enumerate(spacing) if each == max(spacing)]
            return longest[0] if len(longest) == 1 else None
    return None


def _like(image: Any, plain: torch.Tensor) -> Any:
    """The values with the history and the geometry of an image."""
    if not isinstance(image, MetaTensor):
        return plain
    return MetaTensor(plain, meta=image.meta, applied_operations=image.applied_operations)
