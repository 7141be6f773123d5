"""A page of an electrocardiogram in true millimetres: 25 mm a second and 10 mm a millivolt."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from scipy.ndimage import uniform_filter1d

from medssm.core.errors import BadArgumentError
from medssm.core.files import atomic_path
from medssm.data.findings import Finding

PAGE_MM = (297.0, 210.0)
"""A4, lying."""
MM_PER_S, MM_PER_MV = 25.0, 10.0
COLUMN_S, COLUMNS = 2.5, 4
STRIP_S = COLUMN_S * COLUMNS
LEFT_MM = 30.0
"""Where the traces begin; the calibration pulse stands before it."""
ROWS_MM = (150.0, 115.0, 80.0, 42.0)
"""Baselines of the three rows and of the rhythm strip, from the lower edge."""
PULSE_MM = 5.0
# ten pixels a millimetre, so that a ruler on a screen at this size is right
DPI = 254.0
_GRID = ((15.0, 280.0), (20.0, 175.0))
_GRID_COLOURS = ("#f7d3d3", "#e9a3a3")
_INK, _QUIET = "#111111", "#555555"
_ORDER = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
_RHYTHM = ("II", "V1", "I")
_SALIENCY = LinearSegmentedColormap.from_list("saliency", [(0.9, 0.6, 0, 0), (0.84, 0.37, 0, 0.75)])
_SALIENCY_HALF_MM = 13.0
_SMOOTHED_S = 0.06
_LABELS_A_LINE = 4
_MOST_FINDINGS = 4
_NOTICE = "Made by a research program. Not a medical device, not for diagnosis."


@dataclass(frozen=True)
class EcgPage:
    """What a page shows.

    Args:
        signal: In mV, zero where nothing is known; ten seconds of it are drawn.
        leads: Names of the rows.
        rate_hz: Samples a second.
        title: Heading.
        labels: Abbreviation, probability and decision of each label to name.
        saliency: How much each sample counted, any scale; None colours nothing.
        findings: Warnings to print.

    Shape:
        signal and saliency: (leads, T).
    """

    signal: np.ndarray
    leads: Sequence[str]
    rate_hz: float
    title: str
    labels: Sequence[tuple[str, float, bool]] = ()
    saliency: np.ndarray | None = None
    findings: Sequence[Finding] = ()


def render_page(page: EcgPage, file: Path) -> Path:
    """Write a page as PDF or PNG, by the ending of the file.

    Raises:
        BadArgumentError: Another ending, or shapes that do not fit.
    """
    kind = file.suffix.lower()
    if kind not in (".pdf", ".png"):
        raise BadArgumentError(f"{file}: expected a name that ends in .pdf or .png.")
    figure = figure_of(page)
    with atomic_path(file) as partial:
        if kind == ".pdf":
            # without the date the same page gives the same file
            FigureCanvasPdf(figure).print_pdf(partial, metadata={"CreationDate": None})
        else:
            FigureCanvasAgg(figure).print_png(partial)
    return file


def figure_of(page: EcgPage) -> Figure:
    """The page as a figure whose only axes count millimetres from the lower left corner.

    Raises:
        BadArgumentError: Shapes that do not fit.
    """
    signal = np.asarray(page.signal, dtype=np.float64)
    if signal.ndim != 2 or len(signal) != len(page.leads) or page.rate_hz <= 0:
        raise BadArgumentError(
            f"signal {signal.shape} with {len(page.leads)} leads at {page.rate_hz:g} Hz. "
            "Expected (leads, T) and a rate above 0."
        )
    if page.saliency is not None and np.shape(page.saliency) != signal.shape:
        raise BadArgumentError(f"saliency {np.shape(page.saliency)} for a signal {signal.shape}.")
    width, height = PAGE_MM
    figure = Figure(figsize=(width / 25.4, height / 25.4), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.axis("off")
    _draw_grid(axes)
    _draw_text(axes, page)
    shown = {name: index for index, name in enumerate(page.leads)}
    for row, names in enumerate(_ORDER):
        _draw_pulse(axes, ROWS_MM[row])
        for column, name in enumerate(names):
            _draw_lead(axes, page, shown.get(name), name, (row, column))
    _draw_pulse(axes, ROWS_MM[3])
    alive = [name for name in _RHYTHM if name in shown and signal[shown[name]].any()]
    name = (alive or [_RHYTHM[0]])[0]
    _draw_lead(axes, page, shown.get(name), name, (3, None))
    return figure


def x_mm(seconds: float | np.ndarray) -> float | np.ndarray:
    """Where a time of the strip lies on the page."""
    return LEFT_MM + MM_PER_S * seconds


def y_mm(millivolts: float | np.ndarray, row: int) -> float | np.ndarray:
    """Where a voltage lies on the page; row 3 is the rhythm strip."""
    return ROWS_MM[row] + MM_PER_MV * millivolts


def _draw_grid(axes: Axes) -> None:
    (left, right), (low, high) = _GRID
    for step, colour, width in ((1.0, _GRID_COLOURS[0], 0.25), (5.0, _GRID_COLOURS[1], 0.5)):
        upright = [[(x, low), (x, high)] for x in np.arange(left, right + 0.1, step)]
        level = [[(left, y), (right, y)] for y in np.arange(low, high + 0.1, step)]
        # snapped to pixels the lines would leave their millimetre
        axes.add_collection(
            LineCollection(upright + level, colors=colour, linewidths=width, zorder=0, snap=False),
            autolim=False,
        )


def _draw_pulse(axes: Axes, base: float) -> None:
    """One millivolt for a fifth of a second, on the grid's own lines."""
    start = LEFT_MM - 2 * PULSE_MM
    x = np.array([0, 0, PULSE_MM, PULSE_MM]) + start
    y = np.array([0, MM_PER_MV, MM_PER_MV, 0]) + base
    axes.plot(x, y, color=_INK, linewidth=0.8, snap=False, solid_joinstyle="miter", zorder=3)


def _draw_lead(
    axes: Axes, page: EcgPage, index: int | None, name: str, place: tuple[int, int | None]
) -> None:
    row, column = place
    start_s, stop_s = (0.0, STRIP_S)
    if column is not None:
        start_s, stop_s = column * COLUMN_S, (column + 1) * COLUMN_S
    x, y = float(x_mm(start_s)), float(y_mm(0.0, row))
    dead = index is None or not np.any(page.signal[index])
    note = " (no signal)" if dead else ""
    axes.text(x + 1, y + 11.5, name + note, fontsize=8, color=_INK, zorder=4)
    if column:
        axes.plot([x, x], [y - 2.5, y + 2.5], color=_QUIET, linewidth=0.5, zorder=2)
    if index is None or dead:
        return
    first, last = round(start_s * page.rate_hz), round(stop_s * page.rate_hz) + 1
    piece = np.asarray(page.signal[index][first:last], dtype=np.float64)
    if not piece.size:
        return
    times = (first + np.arange(len(piece))) / page.rate_hz
    if page.saliency is not None:
        _colour(axes, page, page.saliency[index][first:last], (times, row))
    axes.plot(
        x_mm(times), y_mm(piece, row), color=_INK, linewidth=0.7, zorder=3,
        solid_joinstyle="round",
    )  # fmt: skip


def _colour(axes: Axes, page: EcgPage, piece: np.ndarray, place: tuple[np.ndarray, int]) -> None:
    """A band under the trace, stronger where the network looked more."""
    assert page.saliency is not None
    times, row = place
    # single samples flicker; a wave of the heart is longer than this
    window = max(1, round(_SMOOTHED_S * page.rate_hz))
    strength = uniform_filter1d(np.abs(np.nan_to_num(piece)).astype(np.float64), window)
    whole = np.abs(np.nan_to_num(page.saliency)).astype(np.float64)
    top = float(np.percentile(uniform_filter1d(whole, window, axis=1), 99))
    if top <= 0 or len(piece) < 2:
        return
    axes.imshow(
        np.clip(strength / top, 0, 1)[None],
        cmap=_SALIENCY, vmin=0, vmax=1, aspect="auto", interpolation="bilinear", zorder=1,
        extent=(
            float(x_mm(times[0])), float(x_mm(times[-1])),
            ROWS_MM[row] - _SALIENCY_HALF_MM, ROWS_MM[row] + _SALIENCY_HALF_MM,
        ),
    )  # fmt: skip
    # a picture moves the limits of its axes
    axes.set_xlim(0, PAGE_MM[0])
    axes.set_ylim(0, PAGE_MM[1])


def _draw_text(axes: Axes, page: EcgPage) -> None:
    axes.text(LEFT_MM, 201, page.title, fontsize=12, weight="bold", va="center", color=_INK)
    scale = f"{MM_PER_S:g} mm/s   {MM_PER_MV:g} mm/mV   {page.rate_hz:g} Hz"
    axes.text(280, 201, scale, fontsize=8, va="center", ha="right", color=_INK)
    for number, (label, probability, decided) in enumerate(page.labels[: 3 * _LABELS_A_LINE]):
        below, column = divmod(number, _LABELS_A_LINE)
        mark = "●" if decided else "○"
        axes.text(
            LEFT_MM + 62.5 * column, 193.5 - 5.5 * below, f"{mark} {label}  {probability:.2f}",
            fontsize=9, weight="bold" if decided else "normal", va="center",
            color=_INK if decided else _QUIET,
        )  # fmt: skip
    lines = [f"{each.problem}: {each.found}" for each in page.findings]
    if len(lines) > _MOST_FINDINGS:
        lines = [*lines[: _MOST_FINDINGS - 1], f"and {len(lines) - _MOST_FINDINGS + 1} more"]
    for number, line in enumerate(lines):
        axes.text(
            LEFT_MM, 15.5 - 3.6 * number, line[:150], fontsize=7, va="center", color="#8a3b00"
        )
    axes.text(280, 8, _NOTICE, fontsize=7, va="center", ha="right", color=_QUIET)
