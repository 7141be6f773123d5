"""Sample calls of every operator: which backend takes each on this machine, and is it right."""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from medssm.ops.backends import BackendRefusedError, Operator
from medssm.ops.conv import CONV
from medssm.ops.conv.inputs import ConvInputs
from medssm.ops.conv.inputs import check as check_conv
from medssm.ops.routes import cross2d
from medssm.ops.scan import SCAN
from medssm.ops.scan.inputs import ScanInputs
from medssm.ops.scan.inputs import check as check_scan

TYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
ALLOWED = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 0.03, torch.float16: 0.004}
"""Largest error of a value or gradient, as a share of the largest of its tensor."""
SIDE, CHANNELS, STATES, TAPS = 5, 20, 4, 4
STREAMS = {"u", "delta", "B", "C", "z", "x"}
"""What has the type of the sample; parameters are float32 beside a half type."""


class Sample(NamedTuple):
    """A call as users make it.

    Args:
        operator: Whose call.
        name: What is special about it.
        call: Its checked inputs.
    """

    operator: Operator[Any]
    name: str
    call: Any


class Choice(NamedTuple):
    """What happens to a sample on this machine.

    Args:
        operator: The operator's name.
        call: The sample's name.
        backend: Which backend takes it; empty where none does.
        refusals: Of each other backend that would be asked, why it does not take the call.
    """

    operator: str
    call: str
    backend: str
    refusals: Mapping[str, str]


class Verdict(NamedTuple):
    """How a backend stood the comparison with the reference.

    Args:
        operator: The operator's name.
        call: The sample's name.
        backend: Which backend ran.
        error: Largest error of values and gradients, as a share of the largest number.
        problem: Empty where the error is within its limit.
    """

    operator: str
    call: str
    backend: str
    error: float
    problem: str


def devices() -> list[torch.device]:
    """The CPU and the accelerator, where there is one."""
    found = [torch.device("cpu")]
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return found if accelerator is None else [*found, accelerator]


def samples() -> list[Sample]:
    """Calls of every operator in every type and with every option, on every device."""
    found = []
    for device in devices():
        place = "" if device.type == "cpu" else f" on {device.type}"
        types = [each for each in TYPES if each != torch.float64 or device.type != "mps"]
        for dtype in types:
            name = str(dtype).removeprefix("torch.") + place
            found += [Sample(SCAN, name, _scan(device, dtype))]
            found += [Sample(CONV, name, _conv(device, dtype))]
        found += [
            Sample(SCAN, f"routes over a grid{place}", _scan(device, routes=4)),
            Sample(SCAN, f"low-rank step{place}", _scan(device, rank=3)),
            Sample(SCAN, f"initial state{place}", _scan(device, state=True)),
            Sample(SCAN, f"lengths{place}", _scan(device, lengths=True)),
            Sample(SCAN, f"local window{place}", _scan(device, window=8)),
            Sample(SCAN, f"64 states{place}", _scan(device, states=64)),
            Sample(CONV, f"routes over a grid{place}", _conv(device, routes=4)),
            Sample(CONV, f"12 taps{place}", _conv(device, taps=12)),
        ]
    return found


def _random(shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(0)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    made = {name: 0.5 * torch.randn(shape, generator=g) for name, shape in shapes.items()}
    return {name: x.to(dtype if name in STREAMS else wide) for name, x in made.items()}


def _scan(
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    *,
    routes: int = 1,
    rank: int = 0,
    state: bool = False,
    lengths: bool = False,
    window: int = 0,
    states: int = STATES,
) -> ScanInputs:
    length, k, d = SIDE * SIDE, routes, CHANNELS
    shapes: dict[str, tuple[int, ...]] = {
        "u": (2, length, d),
        "delta": (2, k, length, rank or d),
        "A": (k, d, states),
        "B": (2, k, length, states),
        "C": (2, k, length, states),
        "D": (k, d),
        "delta_bias": (k, d),
        "z": (2, length, d),
    }
    shapes |= {"delta_weight": (k, d, rank)} if rank else {}
    shapes |= {"initial_state": (2, k, d, states)} if state else {}
    made = {name: x.to(device) for name, x in _random(shapes, dtype).items()}
    call = ScanInputs(
        made["u"],
        made["delta"],
        -made["A"].abs(),
        made["B"],
        made["C"],
        made["D"],
        made["delta_bias"],
        made.get("delta_weight"),
        cross2d(SIDE, SIDE).table_on(device) if routes > 1 else None,
        made["z"],
        made.get("initial_state"),
        softplus=True,
        merge=True,
        lengths=torch.tensor([length, length // 3], device=device) if lengths else None,
        local_window=window,
    )
    return check_scan(call)


def _conv(
    device: torch.device, dtype: torch.dtype = torch.float32, *, routes: int = 1, taps: int = TAPS
) -> ConvInputs:
    shapes: dict[str, tuple[int, ...]] = {
        "x": (2, SIDE * SIDE, CHANNELS),
        "weight": (routes, CHANNELS, taps),
        "bias": (routes, CHANNELS),
    }
    made = {name: x.to(device) for name, x in _random(shapes, dtype).items()}
    table = cross2d(SIDE, SIDE).table_on(device) if routes > 1 else None
    return check_conv(ConvInputs(made["x"], made["weight"], made["bias"], table, True))


def choices() -> list[Choice]:
    """Which backend takes each sample on this machine, and why the others do not."""
    found = []
    for operator, name, call in samples():
        answers = operator.answers(call)
        refusals = {backend: why for backend, why in answers.items() if why is not None}
        try:
            backend = operator.choose(call).name
        except BackendRefusedError:
            backend = ""
        found.append(Choice(operator.name, name, backend, refusals))
    return found


def self_test(seconds: float = 2.0) -> list[Verdict]:
    """Compare each sample's backend with the float64 reference, value and gradients.

    Args:
        seconds: No further sample is begun so long after the first, which loads libraries.
    """
    verdicts: list[Verdict] = []
    end = float("inf")
    for operator, name, call in samples():
        if time.monotonic() > end:
            break
        try:
            backend = operator.choose(call).name
            error, problem = _compare(operator, call), ""
            allowed = ALLOWED[_stream(call).dtype]
            if not error <= allowed:
                problem = f"off by {error:.1e} of the largest number; {allowed:.0e} is allowed"
        # any failure is the finding
        except Exception as failure:
            backend, error, problem = "", float("nan"), f"{type(failure).__name__}: {failure}"
        verdicts.append(Verdict(operator.name, name, backend, error, problem))
        end = min(end, time.monotonic() + seconds)
    return verdicts


def _stream(call: Any) -> Tensor:
    stream: Tensor = call.u if isinstance(call, ScanInputs) else call.x
    return stream


def _compare(operator: Operator[Any], call: Any) -> float:
    """The largest error of values and gradients against the reference in float64."""
    reference = next(each for each in operator.backends if each.name == "reference")
    ours = _values_and_gradients(operator, call, None)
    true = _values_and_gradients(reference.run, call, torch.float64)
    worst = 0.0
    for mine, other in zip(ours, true, strict=True):
        scale = float(other.abs().max()) or 1.0
        worst = max(worst, float((mine.double() - other).abs().max()) / scale)
    return worst


def _values_and_gradients(run: Any, call: Any, dtype: torch.dtype | None) -> list[Tensor]:
    """Outputs, and gradients of all floating inputs, on the CPU where the type is given."""
    values = dict(vars(call))
    leaves = {n: x for n, x in values.items() if isinstance(x, Tensor) and x.is_floating_point()}
    if dtype is not None:
        values = {n: x.cpu() if isinstance(x, Tensor) else x for n, x in values.items()}
        leaves = {n: x.cpu().to(dtype) for n, x in leaves.items()}
    leaves = {n: x.detach().clone().requires_grad_() for n, x in leaves.items()}
    outputs = run(type(call)(**(values | leaves)))
    outputs = list(outputs) if isinstance(outputs, tuple) else [outputs]
    loss = sum(y.to(torch.promote_types(y.dtype, torch.float32)).square().sum() for y in outputs)
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return [x.detach().cpu() for x in (*outputs, *gradients)]
