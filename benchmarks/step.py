"""Whole training steps of the networks on CPU, and the parts in which their time goes."""

import time
from collections.abc import Callable
from typing import Any

import torch

from medssm.networks import NETWORKS
from medssm.training.devices import keep_freed_memory

PATCH, BATCH = (40, 56, 40), 2
_HYBRID = {"init_filters": 16, "convolutions": "full", "norm": "instance", "scan_from_level": 2}
RELEASED = "lightm_unet, 16 filters, as released"
CASES: dict[str, dict[str, Any]] = {
    RELEASED: {"name": "lightm_unet", "init_filters": 16},
    "the same without state space": {
        "name": "lightm_unet", "init_filters": 16, "mixer": {"name": "none"},
    },
    "lightm_unet_hybrid": {"name": "lightm_unet", **_HYBRID},
    "its twin without state space": {"name": "lightm_unet", **_HYBRID, "mixer": {"name": "none"}},
    "MONAI U-Net": {"name": "unet"},
}  # fmt: skip
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# part of a step -> words in the names of the operators that belong to it, the first match wins
PARTS = {
    "scan": ("scan_cpu", "direct"),  # Direct: the scan as an autograd function, past the dispatcher
    "causal convolution": ("conv_cpu",),
    "convolution": ("convolution", "conv_depthwise", "mkldnn"),
    "matrix products": ("mm", "linear"),
    "norms": ("norm",),
    "interpolation": ("upsample",),
    "optimiser": ("adam", "foreach", "fused"),
}


def measure(threads: int = 4, repeats: int = 6) -> list[dict[str, Any]]:
    """Best wall and CPU seconds of a step of each network, float32 and under bfloat16 autocast."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    rows = []
    for name in CASES:
        for precision in PRECISIONS:
            step = _step(name, precision)
            wall, cpu = float("inf"), float("inf")
            for _ in range(repeats):
                start = time.perf_counter(), time.process_time()
                step()
                wall = min(wall, time.perf_counter() - start[0])
                cpu = min(cpu, time.process_time() - start[1])
            rows.append({"network": name, "precision": precision, "threads": threads,
                         "step_s": round(wall, 3), "cpu_s": round(cpu, 3)})  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def profile(threads: int = 4, steps: int = 3) -> dict[str, Any]:
    """Share of the CPU time of a step of the released LightM-UNet by part, and its operators."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    step = _step(RELEASED, "float32")
    step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as record:
        for _ in range(steps):
            step()
    events = {
        event.key: event.self_cpu_time_total / 1000 / steps
        for event in record.key_averages()
        if event.self_cpu_time_total
    }
    total = sum(events.values())
    parts: dict[str, float] = {}
    for name, each in events.items():
        part = _part_of(name)
        parts[part] = parts.get(part, 0.0) + each
    return {
        "network": RELEASED,
        "threads": threads,
        # the time of the thread that calls: what others compute meanwhile is inside
        "step_ms": round(total, 1),
        "percent": {
            name: round(100 * each / total, 1)
            for name, each in sorted(parts.items(), key=lambda item: -item[1])
        },
        "operators_ms": {
            name: round(each, 1)
            for name, each in sorted(events.items(), key=lambda item: -item[1])[:15]
        },
    }


def _part_of(operator: str) -> str:
    name = operator.lower()
    for part, words in PARTS.items():
        if any(word in name for word in words):
            return part
    return "element-wise and copies"


def _step(name: str, precision: str) -> Callable[[], None]:
    torch.manual_seed(0)
    network = NETWORKS.build(**CASES[name], spatial_dims=3, in_channels=1, out_channels=3)
    optimizer = torch.optim.AdamW(network.parameters())
    x = torch.randn(BATCH, 1, *PATCH)
    dtype = PRECISIONS[precision]

    def run() -> None:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            loss = network(x).float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return run
