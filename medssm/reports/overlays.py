"""A slice with the outlines of reference and prediction, as a picture inside a page."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by people who see fewer colours
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#0072B2", "#F0E442")
_WIDE = 4.2


def overlay_png(
    image: np.ndarray | None,
    outlines: Sequence[tuple[np.ndarray, np.ndarray]],
    spacing_mm: Sequence[float],
) -> str:
    """Draw the slice where the references are largest; reference solid, prediction dashed.

    Args:
        image: Voxels, or None for outlines alone.
        outlines: Reference and prediction mask of each label, in the palette's order.
        spacing_mm: Of the axes as stored (x, y[, z]).

    Returns:
        A data address that an <img> takes.

    Shape:
        image and masks: (X, Y[, Z]).
    """
    plane = _largest_slice(outlines)
    picture = None if image is None else _cut(image, plane)
    shape_px = outlines[0][0].shape
    height = shape_px[1] * spacing_mm[1]
    width = shape_px[0] * spacing_mm[0]
    figure = Figure(figsize=(_WIDE, _WIDE * height / width), dpi=96)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    shape = (0.0, width, 0.0, height)
    if picture is not None:
        low, high = np.percentile(picture, (1, 99))
        axes.imshow(picture.T, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), origin="lower",
                    extent=shape, interpolation="nearest")  # fmt: skip
    else:
        axes.set_facecolor("#202020")
        axes.set_xlim(0, width)
        axes.set_ylim(0, height)
    x = (np.arange(shape_px[0]) + 0.5) * spacing_mm[0]
    y = (np.arange(shape_px[1]) + 0.5) * spacing_mm[1]
    for index, (truth, guess) in enumerate(outlines):
        colour = PALETTE[index % len(PALETTE)]
        pair = ((_cut(truth, plane), "solid", 1.8), (_cut(guess, plane), "dashed", 1.4))
        for mask, style, thick in pair:
            if mask.any() and not mask.all():
                axes.contour(x, y, mask.T.astype(float), levels=[0.5], colors=[colour],
                             linestyles=style, linewidths=thick)  # fmt: skip
    axes.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="#202020")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _largest_slice(outlines: Sequence[tuple[np.ndarray, np.ndarray]]) -> int | None:
    if outlines[0][0].ndim == 2:
        return None
    for side in (0, 1):
        # where there is no reference at all, the largest false detection is shown
        sizes = sum(np.count_nonzero(pair[side], axis=(0, 1)) for pair in outlines)
        if np.any(sizes):
            return int(np.argmax(sizes))
    return outlines[0][0].shape[2] // 2


def _cut(voxels: np.ndarray, plane: int | None) -> np.ndarray:
    return voxels if plane is None else voxels[:, :, plane]


def picture_address(png: bytes) -> str:
    """A PNG as an address inside the page."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
