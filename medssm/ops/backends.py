"""Which implementation runs a call: an ordered table of backends, each refusing in words."""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

Call = TypeVar("Call")
VARIABLE = "MEDSSM_BACKEND"
AUTO = "auto"
_WISH: ContextVar[str] = ContextVar("medssm_backend", default="")


class BackendRefusedError(RuntimeError):
    """The wished backend, or every backend, cannot take this call."""


@dataclass(frozen=True)
class Backend(Generic[Call]):
    """One way to compute an operator.

    Args:
        name: What the user writes to wish for it.
        refuses: None when it can take the call, else the reason in a sentence.
        run: Computes the call.
        missing: None when this machine can run it at all, else the reason in a sentence.
    """

    name: str
    refuses: Callable[[Call], str | None]
    run: Callable[[Call], Any]
    missing: Callable[[], str | None] = field(default=lambda: None)


class Row(NamedTuple):
    """A line of the table that `medssm doctor` prints."""

    operator: str
    backend: str
    available: bool
    reason: str


class Operator(Generic[Call]):
    """An operator and its backends, the preferred one first.

    Args:
        name: The operator's name in messages.
        backends: In the order in which they are asked.
    """

    def __init__(self, name: str, backends: tuple[Backend[Call], ...]) -> None:
        self.name, self.backends = name, backends
        OPERATORS[name] = self

    def choose(self, call: Call) -> Backend[Call]:
        """Find the first backend that does not refuse, or the wished one.

        Raises:
            BackendRefusedError: The wish is unknown or cannot be met, or all refuse.
        """
        wish = wished()
        known = [backend.name for backend in self.backends]
        if wish != AUTO and wish not in known:
            raise BackendRefusedError(
                f"{self.name} has no backend {wish!r} (asked for by {VARIABLE} or prefer);"
                f" it has: {', '.join(known)}."
            )
        reasons = []
        for backend in self.backends:
            if wish in {AUTO, backend.name}:
                reason = backend.missing() or backend.refuses(call)
                if reason is None:
                    return backend
                reasons.append(f"{backend.name}: {reason}")
        raise BackendRefusedError(f"no backend takes this {self.name}. " + " ".join(reasons))

    def __call__(self, call: Call) -> Any:
        """Run the call on the chosen backend."""
        return self.choose(call).run(call)

    def rows(self) -> list[Row]:
        """Say of each backend whether this machine has it."""
        found = [(backend, backend.missing()) for backend in self.backends]
        return [Row(self.name, b.name, why is None, why or "ready") for b, why in found]


OPERATORS: dict[str, Operator[Any]] = {}


def wished() -> str:
    """The backend asked for by `prefer` or the environment; "auto" when none is."""
    return _WISH.get() or os.environ.get(VARIABLE, "") or AUTO


@contextlib.contextmanager
def prefer(name: str) -> Iterator[None]:
    """Run every operator inside the `with` on one backend, or fail with the reasons.

    Args:
        name: A backend's name, or "auto".
    """
    token = _WISH.set(name)
    try:
        yield
    finally:
        _WISH.reset(token)


def explain() -> list[Row]:
    """The table of operators and backends on this machine, as `medssm doctor` prints it."""
    import medssm.ops.conv
    import medssm.ops.scan  # noqa: F401 (importing an operator enters it in the table)

    return [row for operator in OPERATORS.values() for row in operator.rows()]
