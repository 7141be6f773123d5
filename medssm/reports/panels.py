"""Images side by side on one window, their error maps below on another, and lines over slices."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from medssm.reports.overlays import PALETTE, picture_address

_CELL = 2.3
_TITLE = 0.28


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
    """Draw rows of images; every row is as wide as the longest.

    Args:
        rows: Top to bottom.

    Returns:
        A data address that an <img> takes.
    """
    columns = max(len(row) for row in rows)
    first = rows[0][0].image.shape
    height = min(2.0, first[0] / first[1]) * _CELL + _TITLE
    figure = Figure(figsize=(columns * _CELL, len(rows) * height), dpi=96)
    FigureCanvasAgg(figure)
    for row, panels in enumerate(rows):
        for column, panel in enumerate(panels):
            axes = figure.add_subplot(len(rows), columns, row * columns + column + 1)
            low, high = panel.window
            axes.imshow(panel.image, cmap=panel.colours, vmin=low, vmax=max(high, low + 1e-12),
                        interpolation="nearest")  # fmt: skip
            axes.set_title(panel.title, fontsize=8, pad=3)
            axes.set_axis_off()
    figure.subplots_adjust(0.005, 0.005, 0.995, 1 - 0.22 / (len(rows) * height), 0.03, 0.14)
    return _address(figure)


def lines_address(x: Sequence[float], series: Mapping[str, Sequence[float]], axis: str) -> str:
    """Draw lines over a common axis.

    Args:
        x: Places.
        series: Name to values, as many as places.
        axis: What the places are.
    """
    figure = Figure(figsize=(7.2, 2.6), dpi=96)
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
