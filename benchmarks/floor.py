"""The measured floor of a scan on this CPU: its arithmetic at the rate that one core reaches."""

import ctypes
from pathlib import Path

import torch

from medssm.ops.native.build import NoCompilerError
from medssm.ops.native.library import lanes, load

SOURCE = Path(__file__).parent / "floor.cpp"
# per (step, state, vector of channels): exponentials, other operations
# forward: s A, a h, s u B, + and C h;  backward: those again for the states, then
# g (1), dC (1), dB (1), sum of g B (1), w (2), dA (1), sum of w A (1), carry (1)
WORK = {"forward": (1, 4), "forward+backward": (2, 17)}


def rates() -> dict[str, float] | None:
    """Nanoseconds per vector of a multiply-add and of exp2; None without a compiler."""
    found = (ctypes.c_double * 2)()
    try:
        load(SOURCE).medssm_floor(found)
    except (NoCompilerError, OSError):
        return None
    return {"multiply_add_ns": round(found[0], 3), "exp2_ns": round(found[1], 3)}


def floor_ms(elements: int, states: int, what: str, found: dict[str, float]) -> float:
    """CPU milliseconds that the arithmetic of a scan takes at the least.

    Args:
        elements: Batch times routes times length times channels.
        states: States of a channel.
        what: "forward" or "forward+backward".
        found: The rates of this CPU.
    """
    exponentials, others = WORK[what]
    each = exponentials * found["exp2_ns"] + others * found["multiply_add_ns"]
    return elements * states / lanes(torch.float32) * each / 1e6
