"""Whole calls on a driver that stands for a GPU: every launch compiles, and no thread spills."""

import importlib.util
import os
from pathlib import Path

import pytest
import torch

from medssm.ops.conv import inputs as conv_inputs
from medssm.ops.conv import triton_backend as conv_backend
from medssm.ops.scan import inputs, triton_backend, triton_gradients, triton_launch
from tests.support.scans import orders, scan_tensors

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("triton") is None
        or os.environ.get("TRITON_INTERPRET", "0") != "0"
        or torch.cuda.is_available(),
        reason="triton is not installed, or interprets, or has a device",
    ),
]


class Driver:
    """What Triton asks of a driver before it compiles."""

    def __init__(self, target):
        self.target = target

    def get_current_target(self):
        return self.target

    def get_active_torch_device(self):
        return torch.device("cpu")

    def get_current_device(self):
        return 0

    def get_current_stream(self, device=None):
        return 0


@pytest.fixture(params=[80, 90])
def launched(request, monkeypatch):
    """The launches of calls on CPU tensors: kernel name and bytes that a thread spills."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    from benchmarks.aot import machine_code, number

    found = []

    def compile_only(kernel, programs, arguments, **options):
        chosen = {name: arguments[name] for name in kernel.arg_names}
        options = triton_launch.OPTIONS | options
        made = kernel.run(grid=(programs,), warmup=True, **chosen, **options)
        usage, _ = machine_code(made.asm["cubin"], Path(triton.__file__).parent)
        found.append((kernel.__name__, number(r"STACK:(\d+)", usage)))

    monkeypatch.setattr(driver, "_active", Driver(GPUTarget("cuda", request.param, 32)))
    monkeypatch.setattr(triton_launch, "run", compile_only)
    monkeypatch.setattr(triton_gradients, "run", compile_only)
    monkeypatch.setattr(conv_backend, "launch", compile_only)
    return found


def call(dtype, routes=None, merge=True, lengths=None, window=0, **sizes):
    halves = ("u", "delta", "B", "C", "z")
    t = scan_tensors(**sizes, dtype=torch.float32)
    t = {n: (x.to(dtype) if n in halves else x).requires_grad_() for n, x in t.items()}
    checked = inputs.check(
        inputs.ScanInputs(
            t["u"], t["delta"], t["A"], t["B"], t["C"], t["D"], t["delta_bias"], None, routes,
            t["z"], t["initial_state"], True, merge, lengths, window,
        )
    )  # fmt: skip
    out, last = triton_backend.run(checked)
    (out.float().sum() + last.sum()).backward()


def test_a_split_scan_in_half_precision(launched):
    call(torch.bfloat16, b=1, k=1, length=600, d=64, n=16)
    names = [name for name, _ in launched]
    assert names == [
        *("chunk_states", "carry", "replay", "chunk_adjoints", "carry", "gradients"),
        "gate_gradients",
    ]
    assert all(spilled == 0 for _, spilled in launched)


@pytest.mark.parametrize("d", [64, 33])
def test_opposite_routes_and_one_alone(launched, d):
    first, second = orders(2, 600)
    routes = torch.stack((first, second, first.flip(0)))
    call(torch.float16, routes=routes, b=1, k=3, length=600, d=d, n=3)
    assert [name for name, _ in launched].count("replay") == 2
    assert all(spilled == 0 for _, spilled in launched)


def test_sizes_of_one_are_constants_to_the_compiler(launched):
    call(torch.float32, b=1, k=1, length=1, d=1, n=1)
    assert [name for name, _ in launched] == ["replay", "gradients", "gate_gradients"]
    assert all(spilled == 0 for _, spilled in launched)


def test_windows_and_lengths(launched):
    lengths = torch.tensor([3, 300])
    call(torch.bfloat16, lengths=lengths, window=8, b=2, k=2, length=300, d=96, n=16)
    assert [name for name, _ in launched].count("gradients") == 4
    assert all(spilled == 0 for _, spilled in launched)


@pytest.mark.parametrize("taps", [4, 8])
def test_the_convolution(launched, taps):
    x, weight, bias = torch.zeros(2, 50, 70), torch.zeros(2, 70, taps), torch.zeros(2, 70)
    checked = conv_inputs.check(
        conv_inputs.ConvInputs(x.requires_grad_(), weight, bias, orders(2, 50), True)
    )
    conv_backend.run(checked).sum().backward()
    assert launched == [("convolve", 0), ("convolve_gradients", 0)]
