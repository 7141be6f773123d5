"""What the native scan is told: the words of its C struct, and the tensors that it fills in."""

from pathlib import Path

import torch
from torch import Tensor

from medssm.ops.native.library import CHUNK, lanes
from medssm.ops.native.record import Words, computing

SOURCE = Path(__file__).parent / "scan_cpu.cpp"
GROUP = 16  # states in one pass, as in the source
MAX_RANK = 16  # largest low-rank step that the kernel multiplies out itself
WORDS = 11 + 15 + 13 * 6  # of the C struct
Pair = tuple[int, int]


def like(x: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An empty tensor, dense, channels first in memory where x is."""
    if x.stride(-1) != 1 and x.stride(-2) == 1:
        b, k, length, d = shape
        return x.new_empty((b, k, d, length), dtype=dtype).transpose(2, 3)
    return x.new_empty(shape, dtype=dtype)


def chunks(length: int, window: int) -> int:
    """Chunks of a length; a chunk holds whole local windows."""
    steps = CHUNK if window < 2 else CHUNK // window * window
    return -(-length // steps)


def results(
    u: Tensor, A: Tensor, z: Tensor | None, merge: bool, window: int, save: bool
) -> list[Tensor]:
    """Allocate out, y before the gate, the states at chunk starts and the last state."""
    b, _, length, d = u.shape
    k, _, n = A.shape
    wide = computing(u)
    several = n > GROUP or (merge and k > 1)  # several passes add up: not in a half type
    shape = (b, 1 if merge else k, length, d)
    out = like(u, shape, u.dtype if z is not None or not several else wide)
    y = u.new_empty(0, dtype=wide)
    if z is not None and (save or several):
        y = like(u, shape, wide if several else u.dtype)
    saved = 0
    if save:
        channels = -(-d // lanes(wide)) * lanes(wide)
        saved = b * k * chunks(length, window) * _padded(n, wide) * channels
    return [out, y, u.new_empty(saved, dtype=wide), u.new_empty((b, k, d, n), dtype=wide)]


def _padded(n: int, wide: torch.dtype) -> int:
    """States kept per channel: padded as the kernel pads them."""
    if n > GROUP or wide == torch.float64:
        return -(-n // GROUP) * GROUP
    return 1 << (n - 1).bit_length()


def gradients(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, W: Tensor | None, z: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Allocate the gradients of u, delta, B, C and z."""
    wide = computing(u)
    k, _, n = A.shape
    passes = n > GROUP
    du = like(u, tuple(u.shape), wide if passes or u.shape[1] < k else u.dtype)
    if W is None:
        ddt = like(dt, tuple(dt.shape), wide if passes else dt.dtype)
    else:
        ddt = dt.new_empty(dt.shape)
    dz = u.new_empty(0) if z is None else torch.empty_like(z, memory_format=torch.contiguous_format)
    return du, ddt, B.new_empty(B.shape), C.new_empty(C.shape), dz


def small_gradients(u: Tensor, A: Tensor, W: Tensor | None) -> list[Tensor]:
    """Allocate the gradients of A, D, bias, W and the initial state."""
    k, d, n = A.shape
    rank = 0 if W is None else W.shape[2]
    shapes = ((k, d, n), (k, d), (k, d), (k, d, rank), (u.shape[0], k, d, n))
    return [A.new_empty(shape) for shape in shapes]


def sizes(
    u: Tensor, A: Tensor, W: Tensor | None, softplus: bool, window: int, split: Pair
) -> list[int]:
    """The first words of the struct."""
    b, _, length, d = u.shape
    k, _, n = A.shape
    rank = 0 if W is None else W.shape[2]
    return [b, k, length, d, n, rank, softplus, torch.get_num_threads(), *split, window]


def segments(u: Tensor, window: int, idle: int) -> int:
    """Pieces of the length: as many as busy the threads that batch and channels leave idle.

    Args:
        u: The input.
        window: Steps of a local window.
        idle: Threads per task from which on splitting pays for its second pass.
    """
    b, _, length, d = u.shape
    threads = torch.get_num_threads()
    if threads == 1 or b == 0:
        return 1
    tasks = b * -(-d // lanes(torch.float32))
    if threads < idle * tasks:
        return 1
    return max(1, min(-(-threads // tasks), chunks(length, window) // 2))


def struct(head: list[int], pointers: list[int], views: dict[str, Words]) -> list[int]:
    """All words of the struct, in its order."""
    words = [*head, *pointers]
    for name in ("u", "dt", "B", "C", "z", "y", "out", "dout", "du", "ddt", "dB", "dC", "dz"):
        words += views.get(name, (0, 0, 0, 0, 0, 0))
    return words
