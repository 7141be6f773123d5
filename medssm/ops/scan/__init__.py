"""The selective scan of Mamba: one door, channels last, over any routes; backends behind it."""

import functools
import logging
from typing import Literal, overload

import torch
from torch import Tensor

from medssm.ops.backends import AUTO, Backend, Operator, wished
from medssm.ops.routes import Routes
from medssm.ops.scan import chunked, cpu, mamba_ssm, reference, triton_backend
from medssm.ops.scan.inputs import ScanInputs, check
from medssm.ops.scan.reference import Result


def _portable(call: ScanInputs) -> Result:
    """Import PyTorch's scan operator, which takes a second, when it is asked for."""
    from medssm.ops.scan import portable

    return portable.run(call)


SCAN: Operator[ScanInputs] = Operator(
    "selective_scan",
    (
        Backend("triton", triton_backend.refuses, triton_backend.run, triton_backend.missing),
        Backend("cpu", cpu.refuses, cpu.run, cpu.missing),
        Backend("chunked", lambda _: None, chunked.run),
        Backend("mamba_ssm", mamba_ssm.refuses, mamba_ssm.run, mamba_ssm.missing, on_wish=True),
        Backend("portable", lambda _: None, _portable, on_wish=True),
        Backend("reference", lambda _: None, reference.run, on_wish=True),
    ),
)


def _tell_of_slowness(call: ScanInputs) -> None:
    """Say once why a scan on the CPU is not the fast one, unless the user asked for it."""
    if call.u.device.type == "cpu" and wished() == (AUTO,):
        _tell_once(f"the selective scan runs in plain PyTorch: {SCAN.answers(call)['cpu']}")


@functools.cache
def _tell_once(message: str) -> None:
    logging.getLogger("medssm").warning(message)


@overload
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    *,
    delta_bias: Tensor | None = None,
    delta_weight: Tensor | None = None,
    routes: Tensor | Routes | None = None,
    z: Tensor | None = None,
    initial_state: Tensor | None = None,
    delta_softplus: bool = True,
    merge: Literal["sum", "none"] = "sum",
    lengths: Tensor | None = None,
    local_window: int = 0,
    deterministic: bool | None = None,
    return_last_state: Literal[False] = False,
) -> Tensor: ...
@overload
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    *,
    delta_bias: Tensor | None = None,
    delta_weight: Tensor | None = None,
    routes: Tensor | Routes | None = None,
    z: Tensor | None = None,
    initial_state: Tensor | None = None,
    delta_softplus: bool = True,
    merge: Literal["sum", "none"] = "sum",
    lengths: Tensor | None = None,
    local_window: int = 0,
    deterministic: bool | None = None,
    return_last_state: Literal[True],
) -> tuple[Tensor, Tensor]: ...
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    *,
    delta_bias: Tensor | None = None,
    delta_weight: Tensor | None = None,
    routes: Tensor | Routes | None = None,
    z: Tensor | None = None,
    initial_state: Tensor | None = None,
    delta_softplus: bool = True,
    merge: Literal["sum", "none"] = "sum",
    lengths: Tensor | None = None,
    local_window: int = 0,
    deterministic: bool | None = None,
    return_last_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Scan K routes over one memory: h_t = exp(s A) h_{t-1} + s B u, y = C h + D u.

    s is softplus(delta + delta_bias). Tokens never move: step t of route k touches position
    routes[k, t]. The state is float32 (float64 for float64 input) whatever the type of u.

    Args:
        u: Input, shared by the routes where it has three axes or one route.
        delta: Raw step sizes, or their low-rank form where `delta_weight` is given.
        A: Decay rates, negative.
        B: Input weights.
        C: Output weights.
        D: Skip weights.
        delta_bias: Added to delta before softplus.
        delta_weight: delta becomes `delta @ delta_weight^T`, formed inside the kernel, so the
            full-rank tensor never exists. Use it for ranks up to 16.
        routes: Orders of visiting; None visits memory in order.
        z: Gate: the merged result is multiplied by silu(z).
        initial_state: State before the first step; zero when not given.
        delta_softplus: Whether softplus is applied.
        merge: "sum" adds the routes up, "none" keeps them apart.
        lengths: Steps of each batch element, 0 to L; a route skips its steps from there on: their
            outputs are 0, the state stays, nothing that lies there has a gradient.
        local_window: Window of w steps in which each step also sees the later ones: y = C (h +
            h' - s B u) + D u, h' scanned backwards from zero at the end of each window. 0: off.
        deterministic: Whether a GPU must add in a fixed order; None follows
            `torch.are_deterministic_algorithms_enabled()`. The other backends always do.
        return_last_state: Also give the state after the last step, with its gradient.

    Returns:
        The outputs in the order of memory with the type of u; and the last state if asked.

    Shape:
        u: (b, L, d) or (b, k, L, d), delta: (b, k, L, d) or (b, k, L, r), A: (k, d, n),
        B, C: (b, k, L, n), D, delta_bias: (k, d), delta_weight: (k, d, r), routes: (k, L),
        z: (b, L, d), states: (b, k, d, n), lengths: (b,);
        result (b, L, d), or (b, k, L, d) unmerged.

    Raises:
        ValueError: A shape does not fit, or a route is no permutation of the positions.
        BackendRefusedError: The wished backend cannot take this call.

    Source:
        Gu and Dao, "Mamba", 2023; the local window is of "LBMamba", 2025, whose window was
        however many steps a GPU thread held.
    """
    if merge not in {"sum", "none"}:
        raise ValueError(f"merge is {merge!r}; take 'sum' or 'none'.")
    u, delta, B, C = (_plain(each) for each in (u, delta, B, C))
    z = None if z is None else _plain(z)
    call = ScanInputs(
        u.unsqueeze(1) if u.dim() == 3 else u, delta, A, B, C, D, delta_bias, delta_weight,
        routes.table_on(u.device) if isinstance(routes, Routes) else routes,
        z, initial_state, delta_softplus, merge == "sum", lengths, local_window, deterministic,
    )  # fmt: skip
    call = check(call)
    backend = SCAN.choose(call)
    if backend.name == "chunked" and not torch.compiler.is_compiling():
        _tell_of_slowness(call)
    y, last = backend.run(call)
    return (y, last) if return_last_state else y


def _plain(x: Tensor) -> Tensor:
    """A tensor without the history that MONAI's MetaTensor carries; no registered operator can."""
    as_tensor = getattr(x, "as_tensor", None)
    return x if as_tensor is None else as_tensor()
