"""What a check found: case, file, problem, severity, remedy; and the table a person reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing wrong with the input.

    Args:
        case: The case it belongs to, or "" for the data set itself.
        file: The file.
        problem: Short code, e.g. "truncated".
        severity: An error refuses the case; a warning is only told.
        found: What is there.
        expected: What should be.
        remedy: What to do.
        skippable: Whether leaving cases out is a cure; False where the data set itself is broken.
    """

    case: str
    file: str
    problem: str
    severity: Severity
    found: str
    expected: str
    remedy: str
    skippable: bool = True


def format_findings(findings: Sequence[Finding]) -> str:
    """Findings as an aligned table, errors first."""
    order = sorted(findings, key=lambda each: (each.severity != "error", each.case, each.file))
    head = ("case", "problem", "severity", "found", "expected", "remedy")
    rows = [
        (each.case or "(data set)", each.problem, each.severity, each.found, each.expected,
         f"{each.remedy} [{each.file}]")
        for each in order
    ]  # fmt: skip
    widths = [
        min(48, max(len(head[column]), *(len(row[column]) for row in rows))) if rows else 0
        for column in range(5)
    ]
    lines = []
    for row in (head, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row[:5], widths, strict=True)]
        lines.append("  ".join([*cells, row[5]]).rstrip())
    return "\n".join(lines)
