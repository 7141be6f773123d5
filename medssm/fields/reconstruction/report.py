"""The report of reconstructions: images, errors on one stated window, masks, maps, tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medssm.reports.card import write_card
from medssm.reports.html import Page, Picture, Plate, Table, write_page
from medssm.reports.panels import Panel, grid_address, lines_address

# white of images, as a percentile of the reference; errors are shown on a tenth of that window
_WHITE = 99.8
GAIN = 10
_MOST_MAPS = 8
IMAGES_NOTE = (
    f"All images of a slice share one window: black is 0, white the {_WHITE}th percentile of the "
    f"reference (of the last image where there is none). Error maps show the absolute difference "
    f"from the reference on one window as well: 0 to a {GAIN}th of that white, a gain of {GAIN}."
)


@dataclass(frozen=True)
class ReportImage:
    """One slice by all methods.

    Args:
        case: The volume.
        slice: Its number.
        images: Name to magnitude: the reference first where it is known, the network last.
        mask: What was sampled.
        maps: Magnitudes of the coils' sensitivities.
        uncertainty: Stated standard deviation.
        text: What is said of it.

    Shape:
        images, uncertainty: (h, w); mask: (H, W); maps: (C, H, W).
    """

    case: str
    slice: int
    images: Mapping[str, np.ndarray]
    mask: np.ndarray
    maps: np.ndarray | None = None
    uncertainty: np.ndarray | None = None
    text: str = ""


@dataclass(frozen=True)
class ReportContent:
    """What a report tells.

    Args:
        title: Of the page.
        subtitle: One line under it.
        figures: The few numbers that matter most: (name, value, range).
        warnings: What a reader must know before believing the numbers.
        tables: In order.
        images: Slices to show.
        curves: (title, numbers of slices, method to values).
        training: Curves of the training, where there was one.
        definitions: Name and definition of every number.
        facts: Sections of name and value.
        command: What to type to get this page again.
    """

    title: str
    subtitle: str
    figures: Sequence[tuple[str, str, str]]
    warnings: Sequence[str]
    tables: Sequence[Table]
    images: Sequence[ReportImage]
    curves: Sequence[tuple[str, Sequence[float], Mapping[str, Sequence[float]]]]
    training: Sequence[Picture]
    definitions: Sequence[tuple[str, str]]
    facts: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    command: str


def write_report(folder: Path, content: ReportContent) -> Path:
    """Write report.html, and model_card.md with its numbers.

    Returns:
        The HTML file.
    """
    plates = []
    if content.images:
        drawn = [_picture(each) for each in content.images]
        plates.append(Plate("Images and errors", IMAGES_NOTE, drawn))
        note = "What was sampled, and the magnitude of the coils' sensitivities, 0 to 1."
        plates.append(Plate("Mask and sensitivities", note, _masks(content.images)))
    if content.curves:
        lines = [Picture(lines_address(x, series, "slice"), title, "")
                 for title, x, series in content.curves]  # fmt: skip
        plates.append(Plate("Slice by slice", "One line a method.", lines))
    page = Page(
        title=content.title,
        subtitle=content.subtitle,
        figures=content.figures,
        warnings=content.warnings,
        tables=content.tables,
        plates=plates,
        curves=content.training,
        definitions=content.definitions,
        facts=content.facts,
        command=content.command,
    )
    file = folder / "report.html"
    write_page(page, file)
    write_card(page, folder / "model_card.md")
    return file


def _picture(shown: ReportImage) -> Picture:
    reference = shown.images.get("reference")
    last = list(shown.images.values())[-1]
    white = float(np.percentile(last if reference is None else reference, _WHITE))
    rows = [[Panel(name, image, (0, white)) for name, image in shown.images.items()]]
    if reference is not None:
        errors = [
            Panel(f"|{name} - reference| × {GAIN}", np.abs(image - reference), (0, white / GAIN),
                  "magma")
            for name, image in shown.images.items()
            if name != "reference"
        ]  # fmt: skip
        if shown.uncertainty is not None:
            window = (0.0, white / GAIN)
            spread = Panel(f"stated deviation × {GAIN}", shown.uncertainty, window, "magma")
        else:
            spread = Panel("reference", reference, (0, white))
        rows.append([spread, *errors])
    elif shown.uncertainty is not None:
        rows.append([Panel(f"stated deviation × {GAIN}", shown.uncertainty, (0, white / GAIN),
                           "magma")])  # fmt: skip
    text = f"white = {white:.4g}, errors 0 to {white / GAIN:.4g}. {shown.text}"
    return Picture(grid_address(rows), f"{shown.case}, slice {shown.slice}", text)


def _masks(images: Sequence[ReportImage]) -> list[Picture]:
    pictures = []
    for case in dict.fromkeys(each.case for each in images):
        shown = next(each for each in images if each.case == case)
        panels = [Panel("mask", shown.mask.astype(float), (0, 1))]
        if shown.maps is not None:
            panels += [
                Panel(f"coil {number + 1}", each, (0, 1))
                for number, each in enumerate(shown.maps[:_MOST_MAPS])
            ]
        share = float(shown.mask.mean())
        more = 0 if shown.maps is None else max(0, len(shown.maps) - _MOST_MAPS)
        text = f"{share:.1%} of positions sampled" + (f"; {more} more coils" if more else "")
        pictures.append(Picture(grid_address([panels]), case, text))
    return pictures
