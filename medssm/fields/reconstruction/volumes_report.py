"""How the cases of a reconstruction went, for programs and for people."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medssm.runs.answer import Answer


@dataclass
class VolumesReport:
    """How the cases went.

    Args:
        cases: Case to its entry of predictions.json.
        skipped: Cases that stood finished.
        failed: Case to what was wrong.
    """

    cases: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0, or 3 where a case failed."""
        return 3 if self.failed else 0

    def answer(self, output: Path) -> Answer:
        """What a user is told."""
        done = [name for name in self.cases if name not in self.skipped]
        lines = [
            f"{len(done)} reconstructed, {len(self.skipped)} stood finished, "
            f"{len(self.failed)} failed"
        ]
        for name in done:
            entry = self.cases[name]
            told = [f"{len(entry['slices'])} slices", f"{entry['acceleration']:.2f}x",
                    f"{entry['seconds']:.1f} s"]  # fmt: skip
            for figure, values in entry["figures"].items():
                if figure == "unit":  # for the calibration, and nothing to judge by
                    continue
                told.append(f"{figure.replace('_', ' ')} {np.mean(values):.4f}")
            lines.append(f"{name}: {', '.join(told)}")
        facts = {"done": done, "skipped": self.skipped, "failed": self.failed,
                 "cases": self.cases, "output": str(output)}  # fmt: skip
        following = ("medssm", "evaluate", str(output)) if self.cases else ()
        return Answer(facts, lines, [output], following, self.exit_code)
