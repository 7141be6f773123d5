"""What became of the slides of a preprocessing, counted while they go by."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medssm.core.errors import BadDataError


@dataclass(frozen=True)
class PreprocessReport:
    """What became of the slides.

    Args:
        folder: Where the features lie.
        done: Slides encoded now.
        skipped: Slides that were there already.
        no_tissue: Slides without tissue, and why; they have a file with no rows.
        failed: Slides that failed, and why.
        tiles: Rows written now.
        failed_tiles: Tiles left out of the slides that are done.
        degraded: Slides read from a damaged file, and how.
    """

    folder: Path
    done: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    no_tissue: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    tiles: int = 0
    failed_tiles: int = 0
    degraded: Mapping[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0, or 3 where a slide failed."""
        return BadDataError.exit_code if self.failed else 0

    def facts(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "folder": str(self.folder)}

    def lines(self) -> list[str]:
        """For people."""
        told = [
            f"{len(self.done)} slides encoded ({self.tiles} tiles), {len(self.skipped)} were there"
        ]
        if self.failed_tiles:
            told.append(f"{self.failed_tiles} tiles could not be decoded and are left out")
        for what, names in (
            ("without tissue", self.no_tissue),
            ("read from a damaged file", self.degraded),
            ("failed", self.failed),
        ):
            if names:
                told.append(f"{len(names)} {what}: {', '.join(sorted(names))}")
        return told


class Tally:
    """Counts while the slides go by.

    Args:
        folder: Where the features lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: list[str] = []
        self.skipped: list[str] = []
        self.no_tissue: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.degraded: dict[str, str] = {}
        self.tiles = self.failed_tiles = 0

    def skip(self, name: str, record: Mapping[str, Any]) -> None:
        """A slide that was there already."""
        self.skipped.append(name)
        self._mark(name, record)

    def add(self, name: str, facts: Mapping[str, Any]) -> None:
        """A slide that is done now."""
        self.done.append(name)
        self.tiles += int(facts["tiles"])
        self._mark(name, facts)

    def _mark(self, name: str, facts: Mapping[str, Any]) -> None:
        self.failed_tiles += int(facts.get("failed_tiles", 0))
        if facts.get("no_tissue"):
            self.no_tissue[name] = str(facts["no_tissue"])
        if facts.get("degraded"):
            self.degraded[name] = str(facts["degraded"])

    def report(self) -> PreprocessReport:
        """What became of all of them."""
        return PreprocessReport(
            self.folder, tuple(self.done), tuple(self.skipped), self.no_tissue, self.failed,
            self.tiles, self.failed_tiles, self.degraded,
        )  # fmt: skip
