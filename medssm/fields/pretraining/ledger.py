"""The ledger: rows are only ever appended, each process to a part of its own."""

import json
import os
import secrets
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Status = Literal["used", "stored", "rejected", "quarantined"]
Stage = Literal["select", "prepare"]
_PARTS: dict[tuple[str, int], int] = {}


@dataclass(frozen=True)
class LedgerRow:
    """What became of a file or a volume at a stage.

    Args:
        item: A file's pseudonym, or a volume's id.
        stage: Where it was decided.
        recipe: By which configuration.
        status: The outcome; quarantined is what may work another time or elsewhere.
        reason: A code of `medssm.data.reasons`, "" where it went well.
        detail: Figures and messages, without identifiers and paths.
        volume: The volumes that a file is in.
    """

    item: str
    stage: Stage
    recipe: str
    status: Status
    reason: str = ""
    detail: str = ""
    volume: str = ""


class Ledger:
    """Rows over part files; a row that a kill cut in half counts as never written.

    Args:
        folder: Of the parts.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def append(self, rows: Iterable[LedgerRow], attempt: int = 1, seconds: float = 0.0) -> None:
        """Write rows and wait until they are on the disk."""
        facts = {
            "attempt": attempt,
            "seconds": round(seconds, 3),
            "host": socket.gethostname(),
            "at": time.time(),
        }
        append_lines(open_part(self.folder), (json.dumps({**asdict(row), **facts}) for row in rows))

    def latest(self, recipe: str | None = None) -> dict[tuple[str, str], LedgerRow]:
        """The last word on every (item, stage), of one recipe or of any."""
        found: dict[tuple[str, str], tuple[float, LedgerRow]] = {}
        for content in read_lines(sorted(self.folder.glob("part-*.jsonl"))):
            row = LedgerRow(**{name: content[name] for name in LedgerRow.__dataclass_fields__})
            if recipe is not None and row.recipe != recipe:
                continue
            key = (row.item, row.stage)
            if key not in found or content["at"] >= found[key][0]:
                found[key] = (content["at"], row)
        return {key: row for key, (_, row) in sorted(found.items())}


def open_part(folder: Path) -> int:
    """The part file of this process in a folder, open for appending; made on first use."""
    # a forked child must not share its parent's part
    key = (str(folder), os.getpid())
    if key not in _PARTS:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"part-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        _PARTS[key] = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return _PARTS[key]


def append_lines(handle: int, lines: Iterable[str]) -> None:
    """Append whole lines and wait until they are on the disk."""
    content = "".join(f"{line}\n" for line in lines).encode()
    while content:
        content = content[os.write(handle, content) :]
    os.fsync(handle)


def read_lines(files: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """The rows of part files, what a kill cut off left out."""
    for file in files:
        with file.open("rb") as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    continue
                try:
                    yield json.loads(line)
                except json.JSONDecodeError:
                    continue
