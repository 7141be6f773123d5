"""What a masked network makes of hidden cells: image, what it saw, what it made, side by side."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_EDGE = 1.8
_TITLES = ("image", "seen", "reconstruction")


def reconstruction_png(
    rows: Sequence[tuple[str, np.ndarray, np.ndarray, np.ndarray]],
) -> bytes:
    """Draw the middle plane of each image, once whole, once as seen, once as made.

    Args:
        rows: Name, image, which voxels were seen, and the image with hidden cells as predicted.

    Returns:
        A PNG file.

    Shape:
        arrays: (X, Y[, Z]), image in 0..1.
    """
    figure = Figure(figsize=(3 * _EDGE, len(rows) * _EDGE + 0.2), dpi=96)
    FigureCanvasAgg(figure)
    for row, (name, image, seen, made) in enumerate(rows):
        planes = [_middle(each) for each in (image, np.where(seen, image, np.nan), made)]
        for column, plane in enumerate(planes):
            axes = figure.add_subplot(len(rows), 3, 3 * row + column + 1)
            axes.set_facecolor("#3a5a7a")
            axes.imshow(plane.T, cmap="gray", vmin=0, vmax=1, origin="lower")
            axes.set_xticks([])
            axes.set_yticks([])
            if row == 0:
                axes.set_title(_TITLES[column], fontsize=8)
            if column == 0:
                axes.set_ylabel(name[:12], fontsize=6)
    figure.tight_layout(pad=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _middle(voxels: np.ndarray) -> np.ndarray:
    return voxels if voxels.ndim == 2 else voxels[..., voxels.shape[-1] // 2]
