"""One HTML file that holds everything: no script, style or picture from elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from medssm.core.files import write_text


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Args:
        title: What it shows.
        header: Column names.
        rows: Cells as text.
        note: How to read it.
        sortable: Whether a click on a column sorts it.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    sortable: bool = False


@dataclass(frozen=True)
class Picture:
    """A picture with its legend; `address` is a data address."""

    address: str
    title: str
    text: str


@dataclass(frozen=True)
class Plate:
    """A section of pictures over the whole width.

    Args:
        title: What they show.
        note: How to read them.
        pictures: In order.
    """

    title: str
    note: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Page:
    """The content of a report, top to bottom.

    Args:
        title: Of the page.
        subtitle: One line under it.
        figures: The few numbers that matter most: (name, value, range).
        warnings: What a reader must know before believing the numbers.
        tables: Tables in order.
        pictures: Overlays.
        plates: Sections of wide pictures.
        curves: Training curves, if there was a training.
        definitions: Name and definition of every number.
        facts: Sections of name and value: data, plan, environment.
        command: What to type to get this page again.
        legend: Colour and name of every outlined label.
    """

    title: str
    subtitle: str
    figures: Sequence[tuple[str, str, str]]
    warnings: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    plates: Sequence[Plate] = ()
    curves: Sequence[Picture] = ()
    definitions: Sequence[tuple[str, str]] = ()
    facts: Sequence[tuple[str, Sequence[tuple[str, str]]]] = ()
    command: str = ""
    legend: Sequence[tuple[str, str]] = field(default_factory=tuple)


def write_page(page: Page, file: Path) -> None:
    """Render a page and write it whole."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    write_text(file, environment.get_template("page.html.j2").render(page=page))
