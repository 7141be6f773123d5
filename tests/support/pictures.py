"""Plain folders of grey or colour pictures with a ring and its core, from a seed."""

from pathlib import Path

import imageio.v3 as imageio
import numpy as np

COLOUR = np.array([1.0, 0.9, 0.8])


def make_picture_folder(root: Path, colour: bool, cases: int = 4, new: int = 2) -> Path:
    """Write images/ and labels/, and new_images/ and new_labels/ to be predicted."""
    rng = np.random.default_rng(0)
    for part in ("images", "labels", "new_images", "new_labels"):
        (root / part).mkdir(parents=True)
    for index in range(cases + new):
        prefix = "new_" if index >= cases else ""
        height, width = 40 + 4 * index, 48
        y, x = np.mgrid[:height, :width]
        radius = np.hypot(y - rng.integers(12, height - 12), x - rng.integers(12, width - 12))
        label = ((radius < 10).astype(np.uint8) + (radius < 5)).astype(np.uint8)
        tint = COLOUR if colour else np.ones(1)
        pixels = 60 + 60 * label[..., None] * tint + rng.normal(0, 8, (height, width, len(tint)))
        pixels = np.clip(pixels, 0, 255).astype(np.uint8)
        image = pixels if colour else pixels[..., 0]
        imageio.imwrite(root / f"{prefix}images" / f"p{index}.png", image)
        imageio.imwrite(root / f"{prefix}labels" / f"p{index}.png", label)
    return root
