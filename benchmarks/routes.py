"""Routes by table against flip and permute copies around the same kernel; local windows."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers import Walks, agree, copied_routes, make_inputs
from benchmarks.timing import passes, side_by_side
from medssm.ops.backends import BackendRefusedError, prefer
from medssm.ops.routes import Routes, there_and_back
from medssm.ops.scan import selective_scan

CUBE, SQUARE = (24, 24, 24), (56, 56)
# what: batch, channels, grid, axis orders; each is walked there and back
CASES: dict[str, tuple[int, int, tuple[int, ...], Walks]] = {
    "3D 24x24x24, one axis both ways": (1, 64, CUBE, ((0, 1, 2),)),
    "3D 24x24x24, three axes both ways": (1, 64, CUBE, ((0, 1, 2), (0, 2, 1), (1, 2, 0))),
    "2D 56x56, cross-scan": (1, 192, SQUARE, ((0, 1), (1, 0))),
}
STATES = (16, 1)
LOCAL = {"img": (2, 192, 3136), "seq": (1, 384, 1000)}
WINDOW = 16


def measure(threads: int = 2) -> dict[str, Any]:
    """CPU time of both ways, and their ratio; the local scan over the plain one."""
    torch.set_num_threads(threads)
    routes = [row for case in CASES for states in STATES for row in _case(case, states)]
    local = [row for shape in LOCAL for row in _local(shape)]
    return {"threads": threads, "routes": routes, "local_window": local}


def table_of(grid: tuple[int, ...], walks: Walks) -> Routes:
    """The routes of all walks there, then of all of them back."""
    length = int(torch.tensor(grid).prod())
    positions = torch.arange(length).view(grid)
    there = torch.stack([positions.permute(walk).flatten() for walk in walks])
    return Routes(torch.cat((there, there.flip(1))))


def _case(case: str, states: int) -> list[dict[str, Any]]:
    batch, channels, grid, walks = CASES[case]
    routes = table_of(grid, walks)
    count, length = routes.table.shape
    inputs = make_inputs(batch, count, length, channels, states)
    u, delta, A, B, C, D, bias = (each.requires_grad_() for each in inputs.values())
    index = routes.table.long()[None, :, :, None]
    ordered = [torch.gather(x.detach(), 2, index.expand(batch, -1, -1, x.shape[3]))
               .requires_grad_() for x in (delta, B, C)]  # fmt: skip

    def by_table() -> Tensor:
        with prefer("cpu"):
            return selective_scan(u, delta, A, B, C, D, delta_bias=bias, routes=routes)

    def by_copies(laid_out: bool) -> Tensor:
        ddt, dB, dC = ordered if laid_out else (delta, B, C)
        with prefer("cpu"):
            return copied_routes(
                u, ddt, A, dB, dC, D, bias, grid=grid, walks=walks, laid_out=laid_out
            )

    with torch.no_grad():
        agree(by_table(), by_copies(True))
        agree(by_table(), by_copies(False))
    weight = torch.randn(batch, length, channels)
    crew = {
        "table": passes(by_table, [u, delta, A, B, C, D, bias], weight),
        "copies of u": passes(
            lambda: by_copies(True), [u, ordered[0], A, *ordered[1:], D, bias], weight
        ),
        "copies of all": passes(lambda: by_copies(False), [u, delta, A, B, C, D, bias], weight),
    }
    rows = []
    for what in ("forward", "forward+backward"):
        times = side_by_side({name: calls[what] for name, calls in crew.items()})
        table = times["table"].cpu_ms
        rows.append(
            {"case": case, "routes": count, "states": states, "pass": what,
             "cpu_ms": {name: round(each.cpu_ms, 2) for name, each in times.items()},
             "copies_of_u_over_table": round(times["copies of u"].cpu_ms / table, 2),
             "copies_of_all_over_table": round(times["copies of all"].cpu_ms / table, 2)}
        )  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def _local(shape: str) -> list[dict[str, Any]]:
    """LBMamba's local scan over the plain forward scan and over two global routes."""
    batch, channels, length = LOCAL[shape]

    def contestant(routes: int, window: int) -> tuple[Callable[[], Tensor], list[Tensor]]:
        inputs = make_inputs(batch, routes, length, channels, 16)
        u, delta, A, B, C, D, bias = leaves = [each.requires_grad_() for each in inputs.values()]
        table = there_and_back(length) if routes == 2 else None

        def call() -> Tensor:
            with prefer("cpu"):
                return selective_scan(
                    u, delta, A, B, C, D, delta_bias=bias, routes=table, local_window=window
                )

        return call, leaves

    crew = {"plain": contestant(1, 0), "local": contestant(1, WINDOW), "two": contestant(2, 0)}
    try:
        with torch.no_grad():
            crew["local"][0]()
    except BackendRefusedError as refusal:
        return [{"shape": shape, "refused": str(refusal)}]
    weight = torch.randn(batch, length, channels)
    rows = []
    for what in ("forward", "forward+backward"):
        times = side_by_side(
            {name: passes(call, leaves, weight)[what] for name, (call, leaves) in crew.items()}
        )
        plain = times["plain"].cpu_ms
        rows.append(
            {"shape": shape, "window": WINDOW, "pass": what, "plain_cpu_ms": round(plain, 2),
             "local_over_plain": round(times["local"].cpu_ms / plain, 2),
             "two_routes_over_plain": round(times["two"].cpu_ms / plain, 2)}
        )  # fmt: skip
        print(rows[-1], flush=True)
    return rows
