"""The scan on CPU against the best loop in plain PyTorch, process CPU time, side by side."""

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from medssm.ops.scan import selective_scan

# batch, channels, length: a volume, an image, a sequence (16 states)
SHAPES = {"vol": (1, 64, 32768), "img": (2, 192, 3136), "seq": (1, 384, 1000)}
STATES = 16


def unbind_loop(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The recurrence over unbound time steps: what PyTorch does best without a kernel.

    Shape:
        u, delta: (b, L, d); A: (d, n); B, C: (b, L, n); result (b, L, d).
    """
    delta = F.softplus(delta)
    h = u.new_zeros(u.shape[0], u.shape[2], A.shape[1])
    out = []
    parts = (x.unbind(1) for x in (u, delta, B, C))
    for u_t, s_t, b_t, c_t in zip(*parts, strict=True):
        h = torch.exp(s_t[..., None] * A) * h + (s_t * u_t)[..., None] * b_t[:, None]
        out.append((h * c_t[:, None]).sum(-1))
    return torch.stack(out, 1)


def measure(threads: int = 2, repeats: int = 5) -> list[dict[str, Any]]:
    """CPU milliseconds of both, forward and forward with backward, and their ratio."""
    torch.set_num_threads(threads)
    rows = []
    for name, (batch, channels, length) in SHAPES.items():
        g = torch.Generator().manual_seed(0)
        u, delta = (torch.randn(batch, length, channels, generator=g) for _ in range(2))
        B, C = (torch.randn(batch, length, STATES, generator=g) for _ in range(2))
        A = -torch.rand(channels, STATES, generator=g)
        leaves = [each.requires_grad_() for each in (u, delta, A, B, C)]

        def ours() -> Tensor:
            u, delta, A, B, C = leaves  # noqa: B023 - called inside this turn of the loop
            return selective_scan(u, delta[:, None], A[None], B[:, None], C[:, None])

        def loop() -> Tensor:
            return unbind_loop(*leaves)  # noqa: B023 - called inside this turn of the loop

        for label, backward in (("forward", False), ("forward+backward", True)):
            fast = _cpu_ms(ours, leaves, backward, repeats)
            slow = _cpu_ms(loop, leaves, backward, 1)
            rows.append(
                {"shape": name, "pass": label, "ours_cpu_ms": round(fast, 2),
                 "loop_cpu_ms": round(slow, 1), "ratio": round(slow / fast, 1)}
            )  # fmt: skip
    return rows


def _cpu_ms(call: Callable[[], Tensor], leaves: list[Tensor], backward: bool, count: int) -> float:
    best = float("inf")
    for _ in range(count + (count > 1)):
        start = time.process_time()
        if backward:
            torch.autograd.grad(call().sum(), leaves)
        else:
            with torch.no_grad():
                call()
        best = min(best, time.process_time() - start)
    return best * 1000
