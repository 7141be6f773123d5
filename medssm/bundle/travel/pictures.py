"""Pictures (PNG, BMP, TIFF) as nnU-Net reads and writes them: planes of one slice."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import skimage.io as io
import torch
from monai.config import KeysCollection, PathLike
from monai.data import MetaTensor
from monai.transforms import MapTransform

# nnU-Net's spacing across a picture: no other one is near
_ACROSS = 999.0


class LoadPictured(MapTransform):
    """Read a case of pictures, each grey or with colours along its last axis.

    Args:
        keys: A file, or several of which each has some channels; becomes (C, 1, H, W).

    Source:
        nnU-Net v2, reader of natural images.
    """

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the files of a case."""
        case = dict(data)
        for key in self.key_iterator(case):
            files = case[key] if isinstance(case[key], (list, tuple)) else [case[key]]
            channels = np.concatenate([_channels(file) for file in files]).astype(np.float32)
            affine = torch.diag(torch.tensor([_ACROSS, 1.0, 1.0, 1.0]))
            meta = {"filename_or_obj": str(files[0])}
            case[key] = MetaTensor(torch.from_numpy(channels), affine=affine, meta=meta)
        return case


class SavePictured(MapTransform):
    """Write a label map as a picture, called as the image with ``_seg`` behind.

    Args:
        keys: Label maps (1, 1, H, W).
        output_dir: Where to.
        image_key: The image, which knows its file.
        ending: Of the picture.
    """

    def __init__(
        self, keys: KeysCollection, output_dir: PathLike, ending: str, image_key: str = "image"
    ) -> None:
        super().__init__(keys)
        self.output_dir, self.ending, self.image_key = Path(output_dir), ending, image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the labels of a case."""
        case = dict(data)
        name = Path(str(case[self.image_key].meta["filename_or_obj"])).name
        self.output_dir.mkdir(parents=True, exist_ok=True)
        for key in self.key_iterator(case):
            label = np.asarray(case[key].cpu())[0, 0].astype(np.uint8)
            file = self.output_dir / f"{name.removesuffix(self.ending)}_seg{self.ending}"
            io.imsave(file, label, check_contrast=False)
        return case


def _channels(file: PathLike) -> np.ndarray:
    """The channels of one picture, (C, 1, H, W)."""
    pixels = np.asarray(io.imread(file))
    return pixels.transpose(2, 0, 1)[:, None] if pixels.ndim > 2 else pixels[None, None]
