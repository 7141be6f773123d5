"""Which implementation runs a call: an ordered table of backends, each refusing in words."""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import torch

Call = TypeVar("Call")
Ask = TypeVar("Ask", bound=Callable[..., Any])
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
        on_wish: Whether it runs only when asked for by name.
    """

    name: str
    refuses: Callable[[Call], str | None]
    run: Callable[[Call], Any]
    missing: Callable[[], str | None] = field(default=lambda: None)
    on_wish: bool = False


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
        self.names = tuple(backend.name for backend in backends)
        OPERATORS[name] = self

    def choose(self, call: Call) -> Backend[Call]:
        """Find the first backend that does not refuse, or among the wished ones the first.

        Raises:
            BackendRefusedError: The wish is unknown or cannot be met, or all refuse.
        """
        wish = wished()
        tracing = torch.compiler.is_compiling()
        for backend in self._asked(wish):
            missing = _missing(self.name, backend.name) if tracing else backend.missing()
            if missing is None and backend.refuses(call) is None:
                return backend
        reasons = " ".join(
            f"{name}: {reason}"
            for name, reason in self.answers(call).items()
            if reason is not None and (wish == (AUTO,) or name in wish)
        )
        raise BackendRefusedError(f"no backend takes this {self.name}. {reasons}")

    def _asked(self, wish: tuple[str, ...]) -> list[Backend[Call]]:
        if wish == (AUTO,):
            return [backend for backend in self.backends if not backend.on_wish]
        found = [backend for backend in self.backends if backend.name in wish]
        if not found or len(wish) > 1:
            self._check_names(wish, bool(found))
        return sorted(found, key=lambda backend: wish.index(backend.name))

    def _check_names(self, wish: tuple[str, ...], found: bool) -> None:
        unknown = [name for name in wish if all(name not in op.names for op in operators())]
        if unknown or not found:
            raise BackendRefusedError(
                f"{self.name} has no backend {(unknown or wish)[0]!r} (asked for by {VARIABLE} or"
                f" prefer); it has: {', '.join(self.names)}. Name one for each operator, with"
                " commas, where they have none in common."
            )

    def answers(self, call: Call) -> dict[str, str | None]:
        """Of each backend, None where it takes the call or its reason against it."""
        return {
            backend.name: _missing(self.name, backend.name) or backend.refuses(call)
            for backend in self.backends
        }

    def __call__(self, call: Call) -> Any:
        """Run the call on the chosen backend."""
        return self.choose(call).run(call)

    def rows(self) -> list[Row]:
        """Say of each backend whether this machine has it."""
        found = [(backend, backend.missing()) for backend in self.backends]
        ready = {False: "ready", True: "ready, when asked for by name"}
        return [Row(self.name, b.name, why is None, why or ready[b.on_wish]) for b, why in found]


OPERATORS: dict[str, Operator[Any]] = {}


def fact(ask: Ask) -> Ask:
    """Mark a question about this machine, without arguments that are tensors.

    `torch.compile` and `torch.export` then take its answer as a constant instead of tracing how a
    library is found.
    """
    # what torch.compiler.assume_constant_result does too, but its import takes a second
    ask._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return ask


@fact
def _missing(operator: str, backend: str) -> str | None:
    return next(b for b in OPERATORS[operator].backends if b.name == backend).missing()


def wished() -> tuple[str, ...]:
    """The backends asked for by `prefer` or the environment; ("auto",) when none is."""
    wish = _WISH.get() or os.environ.get(VARIABLE, "")
    return tuple(name.strip() for name in wish.split(",")) if wish else (AUTO,)


@contextlib.contextmanager
def prefer(*names: str) -> Iterator[None]:
    """Run every operator inside the `with` on one of these backends, or fail with the reasons.

    Args:
        names: Backends in the order in which they are asked, or "auto".
    """
    token = _WISH.set(",".join(names))
    try:
        yield
    finally:
        _WISH.reset(token)


def operators() -> list[Operator[Any]]:
    """Every operator."""
    import medssm.ops.conv
    import medssm.ops.scan  # noqa: F401 (importing an operator enters it in the table)

    return list(OPERATORS.values())


def explain() -> list[Row]:
    """The table of operators and backends on this machine, as `medssm doctor` prints it."""
    return [row for operator in operators() for row in operator.rows()]
