"""Operators on sequences: selective scan, causal convolution, routes. Needs torch alone."""

import importlib
from typing import Any

_PLACES = {
    "causal_conv1d": "conv",
    "causal_conv1d_fn": "compat",
    "causal_conv1d_step": "conv.step",
    "explain": "backends",
    "prefer": "backends",
    "s4d_convolution": "s4d",
    "selective_scan": "scan",
    "selective_scan_fn": "compat",
    "selective_scan_step": "scan.step",
}
"""The operators and where they are; imported when asked for, as torch takes a second."""


def __getattr__(name: str) -> Any:
    """Import an operator when it is asked for."""
    if name not in _PLACES:
        raise AttributeError(f"medssm.ops has no {name!r}; it has {', '.join(_PLACES)}.")
    return getattr(importlib.import_module(f"medssm.ops.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    """The operators' names."""
    return sorted(_PLACES)
