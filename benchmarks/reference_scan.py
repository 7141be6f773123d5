"""Training steps of the four networks against the same network with the reference scan, on CPU.

    python -m benchmarks.reference_scan --threads 4

Both run in one process and take turns; the reference is the loop of the equations, and the losses
of both are compared before the first turn. `prefer("reference")` takes the reference of the causal
convolution too, which LightM-UNet has.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.equal_time import machine
from benchmarks.timing import in_a_child, side_by_side

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "benchmarks" / "results" / "reference_scan.json"
# network -> edge of the square; LightM-UNet scans every pixel, 16 times the steps of the others'
# longest scans, and the reference keeps all of them for its gradients
SIZES = {
    "vm_unet": 224, "mhs_vm": 224, "msvm_unet": 224, "lightm_unet": 96, "hybrid_mamba": 224,
    "segmamba": 96,
}  # fmt: skip


def main() -> int:
    """Measure each network in a process of its own and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="*", choices=SIZES, default=list(SIZES))
    chosen = parser.parse_args()
    command = f"python -m benchmarks.reference_scan --threads {chosen.threads}"
    kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    # what was measured with other threads goes; a part can be measured again
    rows = kept["rows"] if kept.get("command") == command else []
    rows = [row for row in rows if row["network"] not in chosen.only]
    for name in chosen.only:
        load = round(os.getloadavg()[0], 1)
        row = in_a_child("reference_scan", "measure", name, SIZES[name], chosen.threads)
        rows.append({**row, "load_before": load})
        print(rows[-1], flush=True)
    result = {
        "what": "one training step (forward, backward, AdamW), batch 1, float32, best of its turns",
        "command": command,
        "machine": machine(chosen.threads),
        "rows": rows,
    }
    FILE.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {FILE.relative_to(ROOT)}")
    return 0


def measure(name: str, size: int, threads: int, seconds: float = 20.0) -> dict[str, Any]:
    """Best times of a step with the native scan and with the reference.

    Args:
        name: The network, of its default size.
        size: Edge of the picture.
        threads: CPU threads.
        seconds: What each contestant may use.

    Raises:
        RuntimeError: The losses of both differ.
    """
    import torch

    from medssm.networks import NETWORKS
    from medssm.ops.backends import prefer
    from medssm.training.devices import keep_freed_memory

    torch.set_num_threads(threads)
    keep_freed_memory()
    torch.manual_seed(0)
    channels = 1
    network = NETWORKS.build(name, spatial_dims=2, in_channels=channels, out_channels=9)
    optimizer = torch.optim.AdamW(network.parameters())
    picture = torch.randn(1, channels, size, size)

    def loss() -> torch.Tensor:
        return network(picture).float().square().mean()

    def step(backend: str) -> None:
        with prefer(backend):
            loss().backward()
        optimizer.step()
        optimizer.zero_grad()

    network.eval()
    found = {}
    for backend in ("cpu", "reference"):
        with torch.no_grad(), prefer(backend):
            found[backend] = float(loss())
    if abs(found["cpu"] - found["reference"]) > 1e-3 * abs(found["reference"]):
        raise RuntimeError(f"{name}: the losses differ, {found}")
    network.train()
    times = side_by_side({each: lambda each=each: step(each) for each in found}, seconds)  # type: ignore[misc]
    native, reference = times["cpu"], times["reference"]
    return {
        "network": name,
        "input": [1, channels, size, size],
        "native_ms": round(native.wall_ms, 1),
        "reference_ms": round(reference.wall_ms, 1),
        "times_faster": round(reference.wall_ms / native.wall_ms, 1),
        "native_cpu_ms": round(native.cpu_ms, 1),
        "reference_cpu_ms": round(reference.cpu_ms, 1),
        "loss": found,
    }


if __name__ == "__main__":
    sys.exit(main())
