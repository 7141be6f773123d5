"""The errors a user may meet, each with the exit code that a script can read."""

from collections.abc import Iterable
from difflib import get_close_matches


class MedssmError(Exception):
    """Base of every error of ours; what escapes as this class itself is a bug."""

    exit_code = 70


class UsageError(MedssmError):
    """A wrong flag, key, name or argument (exit code 2)."""

    exit_code = 2


class BadArgumentError(UsageError, ValueError):
    """An argument of a library call is out of its range (exit code 2)."""


class BadDataError(MedssmError):
    """Input data that must not be used as it is (exit code 3)."""

    exit_code = 3


class MachineError(MedssmError):
    """Disk, memory, device or a missing package (exit code 4)."""

    exit_code = 4


class InterruptedRunError(MedssmError):
    """A run that was stopped on request and can be resumed (exit code 5)."""

    exit_code = 5


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant.

    Args:
        name: What the user wrote.
        known: The names that exist.

    Returns:
        A sentence fragment such as ``did you mean 'mamba'? Known: ...``.
    """
    names = sorted(known)
    matches = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {matches[0]!r}? " if matches else ""
    return f"{hint}Known: {', '.join(names) if names else '(none)'}."
