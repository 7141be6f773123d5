"""A polite stop: SIGTERM, SIGINT and SIGUSR1 ask, the loop answers at a safe moment."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from medssm.core.log import warn

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name)
)


class Interruption:
    """Remembers that a stop was asked for; a second request stops at once.

    Use it as a context manager; outside the main thread it only offers `requested`.
    """

    def __init__(self) -> None:
        self.requested = False
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        self.install()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def install(self) -> None:
        """Take the signals; again after a library has put its own handlers."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            present = signal.getsignal(number)
            if present != self._receive:
                self._before.setdefault(number, present)
                signal.signal(number, self._receive)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.requested:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
            return
        self.requested, self.received = True, number
        warn("%s: finishing this step, then saving.", signal.Signals(number).name)
