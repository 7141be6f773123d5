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
    reference: np.ndarray,
    prediction: np.ndarray,
    spacing_mm: Sequence[float],
    values: Sequence[int],
) -> str:
    """Draw the slice where the reference is largest; reference solid, prediction dashed.

    Args:
        image: Voxels, or None for outlines alone.
        reference: True label map.
        prediction: Label map to judge.
        spacing_mm: Of the three axes as stored (x, y, z).
        values: Label values to outline.

    Returns:
        A data address that an <img> takes.

    Shape:
        image, reference, prediction: (X, Y[, Z]).
    """
    plane = _largest_slice(reference, prediction)
    truth, guess = _cut(reference, plane), _cut(prediction, plane)
    picture = None if image is None else _cut(image, plane)
    height = truth.shape[1] * spacing_mm[1]
    width = truth.shape[0] * spacing_mm[0]
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
    x = (np.arange(truth.shape[0]) + 0.5) * spacing_mm[0]
    y = (np.arange(truth.shape[1]) + 0.5) * spacing_mm[1]
    for index, value in enumerate(values):
        colour = PALETTE[index % len(PALETTE)]
        for mask, style, thick in ((truth == value, "solid", 1.8), (guess == value, "dashed", 1.4)):
            if mask.any() and not mask.all():
                axes.contour(x, y, mask.T.astype(float), levels=[0.5], colors=[colour],
                             linestyles=style, linewidths=thick)  # fmt: skip
    axes.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="#202020")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _largest_slice(reference: np.ndarray, prediction: np.ndarray) -> int | None:
    if reference.ndim == 2:
        return None
    shown = reference if reference.any() else prediction
    return int(np.count_nonzero(shown, axis=(0, 1)).argmax())


def _cut(voxels: np.ndarray, plane: int | None) -> np.ndarray:
    return voxels if plane is None else voxels[:, :, plane]


def picture_address(png: bytes) -> str:
    """A PNG as an address inside the page."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
