"""Jobs that end well, badly, or by a signal; importable by a worker process."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from medssm.core.errors import BadDataError


@dataclass(frozen=True)
class MarkJob:
    """Leaves a file with its name; kills its process at its first or at every attempt."""

    name: str
    folder: Path
    fate: str = "good"

    def run(self) -> None:
        """Do as the fate says."""
        tried = self.folder / f"{self.name}.tried"
        first = not tried.exists()
        tried.touch()
        if self.fate == "deadly" or (self.fate == "deadly once" and first):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fate == "bad":
            raise BadDataError(f"{self.name} is bad")
        (self.folder / self.name).touch()
