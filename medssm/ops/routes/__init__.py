"""Orders in which to visit a grid: int32 tables (route, step) -> position. Tokens never move."""

from medssm.ops.routes.grid import axes3d, cross2d, windows
from medssm.ops.routes.heads import heads
from medssm.ops.routes.route import Routes, from_permutation
from medssm.ops.routes.sequence import (
    forward,
    interleave,
    padded_length,
    restride,
    reverse,
    there_and_back,
)

__all__ = [
    "Routes",
    "axes3d",
    "cross2d",
    "forward",
    "from_permutation",
    "heads",
    "interleave",
    "padded_length",
    "restride",
    "reverse",
    "there_and_back",
    "windows",
]
