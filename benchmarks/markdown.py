"""Figures as Markdown."""

from typing import Any


def table(heads: list[str], rows: list[list[Any]]) -> list[str]:
    """A table, line by line."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return [*lines, *("| " + " | ".join(map(_cell, row)) + " |" for row in rows)]


def where(machine: dict[str, Any]) -> str:
    """The machine, when, and whether others worked on it."""
    quiet = "quiet machine" if machine["quiet"] else (
        f"disturbed: others kept {machine['busy_cores_before']} cores busy"
    )  # fmt: skip
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['instruction_sets'][0]}, torch"
        f" {machine['torch']}, commit {machine['commit']}, {machine['date']}, {quiet}."
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,g}" if isinstance(value, int | float) else str(value)
