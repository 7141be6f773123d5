"""Optional packages: a missing one is answered with the extra that brings it."""

from importlib import import_module
from types import ModuleType

from medssm.core.errors import MachineError


def require(module: str, extra: str) -> ModuleType:
    """Import an optional package.

    Raises:
        MachineError: It is not installed; the message says which extra to install.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MachineError(
            f"{module} is needed for this and could not be imported ({error}). "
            f"Install it with: pip install 'medssm[{extra}]'"
        ) from error
