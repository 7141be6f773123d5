"""Images side by side on one window, their error maps below on another, and lines over slices."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from medssm.reports.overlays import PALETTE, picture_address

# a cell is about so wide; between cells is a gap, above them a title
_CELL_PX, _GAP_PX, _TITLE_PX, _DPI = 230, 6, 24, 96


@dataclass(frozen=True)
class Panel:
    """One image of a grid.

    Args:
        title: Above it.
        image: Pixels.
        window: Values of black and white.
        colours: As matplotlib names them.
    """

    title: str
    image: np.ndarray
    window: tuple[float, float]
    colours: str = "gray"


def grid_address(rows: Sequence[Sequence[Panel]]) -> str:
    """Draw rows of images; every row is as wide as the longest, every pixel whole.

    Args:
        rows: Top to bottom.

    Returns:
        A data address that an <img> takes.
    """
    tallest = max(panel.image.shape[0] for row in rows for panel in row)
    widest = max(panel.image.shape[1] for row in rows for panel in row)
    repeat = max(1, round(_CELL_PX / max(tallest, widest)))
    height, width = tallest * repeat + _TITLE_PX, widest * repeat + _GAP_PX
    columns = max(len(row) for row in rows)
    canvas = np.ones((len(rows) * height, columns * width, 3))
    figure = Figure(figsize=(canvas.shape[1] / _DPI, canvas.shape[0] / _DPI), dpi=_DPI)
    FigureCanvasAgg(figure)
    for row, panels in enumerate(rows):
        for column, panel in enumerate(panels):
            colours = _coloured(panel).repeat(repeat, axis=0).repeat(repeat, axis=1)
            top, left = row * height + _TITLE_PX, column * width
            canvas[top : top + colours.shape[0], left : left + colours.shape[1]] = colours
            place = ((left + (width - _GAP_PX) / 2) / canvas.shape[1],
                     1 - (top - 0.3 * _TITLE_PX) / canvas.shape[0])  # fmt: skip
            figure.text(*place, panel.title, fontsize=8, ha="center", va="bottom")
    figure.figimage(canvas, origin="upper", zorder=-1)
    return _address(figure)


def _coloured(panel: Panel) -> np.ndarray:
    """Red, green and blue of an image, (h, w, 3) from 0 to 1."""
    low, high = panel.window
    share = np.clip((panel.image - low) / max(high - low, 1e-12), 0, 1)
    return np.asarray(colormaps[panel.colours](share)[..., :3])


def lines_address(x: Sequence[float], series: Mapping[str, Sequence[float]], axis: str) -> str:
    """Draw lines over a common axis.

    Args:
        x: Places.
        series: Name to values, as many as places.
        axis: What the places are.
    """
    figure = Figure(figsize=(7.2, 2.6), dpi=_DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(1, 1, 1)
    for index, (name, values) in enumerate(series.items()):
        colour = PALETTE[index % len(PALETTE)]
        axes.plot(x, values, label=name, color=colour, marker=".", linewidth=1.2)
    axes.set_xlabel(axis, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=7, loc="best", frameon=False)
    figure.tight_layout(pad=0.5)
    return _address(figure)


def _address(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    return picture_address(buffer.getvalue())
