"""`python -m benchmarks.reconstruction_cost`: time a slice and peak memory of the published sizes.

A forward pass and a training step of every size at the matrices it was published for, each in a
process of its own that may take the memory that is free and no more: a row says where that is not
enough. With `--gpu` on an NVIDIA GPU. DIRECT publishes scores of these networks and no
times, so ours stand alone.
"""

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.__main__ import _machine, busy_cores
from benchmarks.timing import extra_megabytes, in_a_child
from medssm.core.memory import free_bytes
from medssm.losses.reconstruction import ReconstructionLoss
from medssm.mri.coils import normalise_maps, rss
from medssm.mri.fourier import ifft2
from medssm.networks import RECONSTRUCTION_NETWORKS
from medssm.runs.compose import compose

RESULTS = Path(__file__).resolve().parent / "results"
CALGARY, FASTMRI, SMALL = (12, 218, 170), (16, 320, 320), (8, 230, 180)
_LONG = 20.0  # seconds from which on a first call, which also warms up, is not repeated
CASES = {
    "recurrent_varnet": SMALL,
    "recurrent_varnet_vss": SMALL,
    "recurrent_varnet_step_scan": SMALL,
    "recurrent_varnet_slice_scan": SMALL,
    "recurrent_varnet_cc359": CALGARY,
    "recurrent_varnet_cc359_shared": CALGARY,
    "recurrent_varnet_cc359_ablation": CALGARY,
    "recurrent_varnet_cc359_zoo": CALGARY,
    "recurrent_varnet_fastmri": FASTMRI,
    "recurrent_varnet_fastmri_ablation": FASTMRI,
}


def main() -> None:
    """Measure all sizes and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--modes", default="forward,step,step_saving_memory")
    parser.add_argument("names", nargs="*", help="sizes; all when none")
    chosen = parser.parse_args()
    file = RESULTS / f"reconstruction_cost_{'gpu' if chosen.gpu else 'cpu'}.json"
    result = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"figures": {}}
    busy = busy_cores()
    device = "cuda" if chosen.gpu else "cpu"
    for name in chosen.names or CASES:
        rows: dict[str, Any] = {}
        for mode in chosen.modes.split(","):
            try:
                rows[mode] = in_a_child(
                    "reconstruction_cost", "one", name, mode, chosen.threads, device
                )
            except RuntimeError as error:  # most often memory; the other sizes are still measured
                rows[mode] = None
                print(error, flush=True)
        where = {"gpu": torch.cuda.get_device_name()} if chosen.gpu else {"threads": chosen.threads}
        machine = _machine(busy) | where
        taken = ("date", "commit", "busy_cores_before", *where)
        rows["taken"] = {each: machine[each] for each in taken}
        result["figures"].setdefault(name, {}).update(rows)
        print(name, rows, flush=True)
        result["machine"] = machine
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def one(name: str, mode: str, threads: int, device: str) -> dict[str, Any]:
    """One size in one mode: the better of two calls, and the peak memory of the first."""
    torch.set_num_threads(threads)
    arguments = compose("reconstruction", [f"network={name}"])["network"]
    saving = mode == "step_saving_memory"
    network = RECONSTRUCTION_NETWORKS.build(**{**arguments, "save_memory": saving}).to(device)
    call = _call(network, CASES[name], mode, device)
    if device == "cuda":
        return _on_gpu(network, call, CASES[name])
    most = int(0.9 * (free_bytes() or 0))
    if most:
        # beyond it the system would end this process, or another one
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    began = time.perf_counter()
    try:
        extra = extra_megabytes(call)
    except RuntimeError as error:
        if "allocate memory" not in str(error):
            raise
        return {**_shape(network, CASES[name]), "more_than_mb": most // 10**6}
    seconds = time.perf_counter() - began
    if seconds < _LONG:
        seconds = min(_seconds(call) for _ in range(2))
    return {**_shape(network, CASES[name]), "seconds": round(seconds, 3), "extra_mb": round(extra)}


def _shape(network: torch.nn.Module, shape: tuple[int, int, int]) -> dict[str, Any]:
    parameters = sum(each.numel() for each in network.parameters())
    return {"coils_h_w": list(shape), "parameters": parameters}


def _call(network: torch.nn.Module, shape: tuple[int, int, int], mode: str, device: str) -> Any:
    torch.manual_seed(0)
    masked = torch.randn(1, *shape, 2, device=device)
    maps = normalise_maps(torch.randn(1, *shape, 2, device=device))
    mask = torch.rand(1, 1, 1, shape[2], 1, device=device).expand(1, 1, shape[1], -1, 1) < 0.25
    masked = masked * mask
    centred, loss = bool(network.centred), ReconstructionLoss()
    target = torch.rand(1, *shape[1:], device=device)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.0)

    def forward() -> None:
        with torch.no_grad():
            rss(ifft2(network(masked, mask, maps), centred))

    def step() -> None:
        loss(rss(ifft2(network(masked, mask, maps), centred)), target).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return forward if mode == "forward" else step


def _seconds(call: Any) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _on_gpu(network: torch.nn.Module, call: Any, shape: tuple[int, int, int]) -> dict[str, Any]:
    call()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()

    def waited() -> None:
        call()
        torch.cuda.synchronize()

    seconds = min(_seconds(waited) for _ in range(5))
    extra = (torch.cuda.max_memory_allocated() - before) / 1e6
    return {**_shape(network, shape), "seconds": round(seconds, 4), "extra_mb": round(extra)}


if __name__ == "__main__":
    main()
