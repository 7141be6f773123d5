"""Whole training steps of the networks on CPU: forward, backward, optimiser."""

import time
from typing import Any

import torch

from medssm.networks import NETWORKS
from medssm.training.devices import keep_freed_memory

PATCH, BATCH = (40, 56, 40), 2
_HYBRID = {"init_filters": 16, "convolutions": "full", "norm": "instance", "scan_from_level": 2}
CASES: dict[str, dict[str, Any]] = {
    "lightm_unet, 16 filters, as released": {"name": "lightm_unet", "init_filters": 16},
    "the same without state space": {
        "name": "lightm_unet", "init_filters": 16, "mixer": {"name": "none"},
    },
    "lightm_unet_hybrid": {"name": "lightm_unet", **_HYBRID},
    "its twin without state space": {"name": "lightm_unet", **_HYBRID, "mixer": {"name": "none"}},
    "MONAI U-Net": {"name": "unet"},
}  # fmt: skip


def measure(threads: int = 4, repeats: int = 4) -> list[dict[str, Any]]:
    """Best wall and CPU seconds of a step, float32."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    rows = []
    for name, arguments in CASES.items():
        torch.manual_seed(0)
        network = NETWORKS.build(**arguments, spatial_dims=3, in_channels=1, out_channels=3)
        optimizer = torch.optim.AdamW(network.parameters())
        x = torch.randn(BATCH, 1, *PATCH)
        wall, cpu = float("inf"), float("inf")
        for _ in range(repeats):
            start = time.perf_counter(), time.process_time()
            network(x).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            wall = min(wall, time.perf_counter() - start[0])
            cpu = min(cpu, time.process_time() - start[1])
        rows.append({"network": name, "step_s": round(wall, 3), "cpu_s": round(cpu, 3)})
    return rows
