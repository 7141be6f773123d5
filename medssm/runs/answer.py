"""What a stage answers: facts for programs, lines for people, and the next command."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Answer:
    """The result of a stage.

    Args:
        facts: Plain data, the same that the lines tell.
        lines: What a person reads.
        written: What was written, the main thing first.
        next_command: The command that comes next, as words.
        exit_code: 0, or the code of cases that failed beside others that worked.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    lines: Sequence[str] = ()
    written: Sequence[Path] = ()
    next_command: Sequence[str] = ()
    exit_code: int = 0


def table(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> list[str]:
    """Aligned columns, two spaces apart."""
    cells = [list(map(str, row)) for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
