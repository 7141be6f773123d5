"""medssm: medical imaging with state-space models. Nothing heavy is imported here."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# public name -> where it lives; loaded on first use so that `import medssm` stays instant
_API = {
    "train": "medssm.fields.api",
    "predict": "medssm.fields.api",
    "evaluate": "medssm.fields.api",
}

__all__ = ["__version__", "evaluate", "predict", "train"]


def __getattr__(name: str) -> Any:
    if name in _API:
        return getattr(import_module(_API[name]), name)
    raise AttributeError(f"module 'medssm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
