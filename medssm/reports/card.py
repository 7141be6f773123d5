"""A model card in Markdown: what a report says of a model, for a README or a model hub."""

from collections.abc import Sequence
from pathlib import Path

from medssm.core.files import write_text
from medssm.reports.html import Page, Table


def model_card(page: Page) -> str:
    """The numbers, warnings, facts and definitions of a report as Markdown.

    Args:
        page: The report; its pictures and its tables of single cases stay out.
    """
    parts = [f"# {page.title}", page.subtitle]
    parts += [f"> **Note.** {_plain(warning)}" for warning in page.warnings]
    parts.append("## Results")
    parts.append(_markdown(["measure", "mean", "95 % interval"], page.figures))
    parts += [_section(table) for table in page.tables if table.title == "By label"]
    for title, rows in page.facts:
        parts += [f"## {title}", _list(rows)]
    parts += ["## What the numbers mean", _list(page.definitions)]
    parts += ["## To repeat the evaluation", f"```\n{page.command}\n```"]
    return "\n\n".join(parts) + "\n"


def write_card(page: Page, file: Path) -> None:
    """Write the card whole."""
    write_text(file, model_card(page))


def _section(table: Table) -> str:
    return f"### {table.title}\n\n{table.note}\n\n{_markdown(table.header, table.rows)}"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_plain(cell) for cell in line) + " |" for line in lines)


def _list(rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"- **{name}**: {_plain(text)}" for name, text in rows)


def _plain(text: str) -> str:
    """Text that cannot end a table cell or a line."""
    return " ".join(text.split()).replace("|", "\\|")
