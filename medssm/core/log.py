"""What a run says: one logger, and progress lines with an ETA, all on stderr."""

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

Item = TypeVar("Item")
LOGGER = logging.getLogger("medssm")
_QUIET_LEVEL = logging.WARNING


def configure(verbosity: int = 0, stream: TextIO | None = None) -> None:
    """Set how much is said: -2 nothing, -1 warnings only, 0 the story, 1 and above everything."""
    levels = {-2: logging.CRITICAL, -1: _QUIET_LEVEL, 0: logging.INFO}
    level = levels.get(max(-2, verbosity), logging.DEBUG)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(level)
    LOGGER.propagate = False


def say(message: str, *values: object) -> None:
    """Tell the user a fact of the run."""
    LOGGER.info(message, *values)


def detail(message: str, *values: object) -> None:
    """Tell a fact that only a verbose run shows."""
    LOGGER.debug(message, *values)


def warn(message: str, *values: object) -> None:
    """Tell of something that the user should look at."""
    LOGGER.warning(message, *values)


def seconds_in_words(seconds: float) -> str:
    """A duration as 42s, 3m05s or 2h07m."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


class Progress:
    """A line that is rewritten on a terminal, and spoken now and then elsewhere.

    Args:
        total: How many steps there are.
        label: What is being done, e.g. "preprocess".
        pause_s: Least time between two lines where the stream is no terminal.
    """

    def __init__(self, total: int, label: str, pause_s: float = 10.0) -> None:
        self.total, self.label, self.done = total, label, 0
        self._start = time.monotonic()
        self._last = self._start
        self._pause_s = pause_s
        self._terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def step(self, note: str = "", count: int = 1) -> None:
        """Count steps as done and say so."""
        self.done += count
        now = time.monotonic()
        if not LOGGER.isEnabledFor(logging.INFO):
            return
        pause = 0.1 if self._terminal else self._pause_s
        if now - self._last < pause and self.done < self.total:
            return
        self._last = now
        elapsed = now - self._start
        left = elapsed / max(1, self.done) * (self.total - self.done)
        line = (
            f"{self.label} {self.done}/{self.total}"
            f"  {seconds_in_words(elapsed)} gone, {seconds_in_words(left)} left  {note}"
        ).rstrip()
        if self._terminal:
            end = "\n" if self.done >= self.total else ""
            sys.stderr.write(f"\r\x1b[2K{line}{end}")
            sys.stderr.flush()
        else:
            LOGGER.info(line)


def progress(items: Iterable[Item], total: int, label: str) -> Iterator[Item]:
    """Go through items and show how far, with the time that is left."""
    bar = Progress(total, label)
    for item in items:
        yield item
        bar.step()
