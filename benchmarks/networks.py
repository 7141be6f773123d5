"""Every Mamba U-Net and its twin without scans on one data set, for the same time: one table.

    python -m benchmarks.networks FOLDER --minutes 4

Fold 0, planes (configuration 2d) and volumes (3d_fullres), in turn on the same cores. Minutes
include the final validation of the held-back cases.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.equal_time import machine, medssm

ROOT = Path(__file__).resolve().parents[1]
TWINS = {
    "lightm_unet": "lightm_unet_no_ssm",
    "lightm_unet_hybrid": "lightm_unet_hybrid_no_ssm",
    "vm_unet": "vm_unet_no_ssm",
    "mhs_vm_4h": "mhs_vm_no_ssm",
    "msvm_unet_tiny": "msvm_unet_tiny_no_ssm",
}
# planes are many and small; mirrored copies would take the larger part of the minutes to validate
CONFIGURATIONS = {
    "2d": ("batch_size=8", "augmentation.mirror=false"),
    "3d_fullres": ("batch_size=2", "augmentation.mirror=false"),
}
# its heads start all but closed as published, and open too slowly for minutes
ALSO = {"mhs_vm_4h": ("mixer@network.mixer=multi_head_scan",)}


def main() -> int:
    """Run the contest and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="plain folder with images/ and labels/")
    parser.add_argument("--name", default="Dataset004_Hippocampus")
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="*", default=list(TWINS))
    parser.add_argument("--configurations", nargs="*", default=list(CONFIGURATIONS))
    chosen = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="medssm-networks-"))
    medssm(home, "import", "folder", str(chosen.source), "--name", chosen.name)
    file = ROOT / "benchmarks" / "results" / f"networks_{chosen.name.lower()}.json"
    kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for configuration in chosen.configurations:
        for name in chosen.only:
            for network in (name, TWINS[name]):
                row = _row(network, configuration, home, chosen)
                print(row, flush=True)
                result = {
                    "what": f"{chosen.name}, fold 0, {chosen.minutes:g} minutes each,"
                    " validation included",
                    "command": f"python -m benchmarks.networks FOLDER --minutes {chosen.minutes:g}"
                    f" --threads {chosen.threads}",
                    "machine": machine(chosen.threads),
                }
                # what was measured under other conditions goes; a part can be measured again
                fits = all(kept.get(key) == result[key] for key in ("what", "command"))
                rows = [
                    each
                    for each in (kept["rows"] if fits else [])
                    if (each["network"], each["configuration"]) != (network, configuration)
                ]
                kept = {**result, "rows": [*rows, row]}
                file.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {file.relative_to(ROOT)}")
    return 0


def _row(
    network: str, configuration: str, home: Path, chosen: argparse.Namespace
) -> dict[str, Any]:
    run = f"{network}_{configuration}"
    peak, failed = _train(network, configuration, run, home, chosen)
    row: dict[str, Any] = {"network": network, "configuration": configuration}
    if failed:
        return {**row, "failed": failed}
    folder = home / "results" / chosen.name / run
    status = json.loads((folder / "fold_0" / "status.json").read_text())
    scores = json.loads(
        medssm(
            home, "evaluate", str(folder / "fold_0" / "validation"),
            "-r", str(home / "raw" / chosen.name), "-o", str(home / f"scores_{run}"), "--json",
        )
    )  # fmt: skip
    dice = scores["mean"]["Dice"]
    return {
        **row,
        **_costs(folder),
        "steps": status["step"],
        "seconds_a_step": round(status["seconds"] / max(1, status["step"]), 3),
        "peak_GiB": round(peak / 2**20, 2),
        "cases": scores["cases"],
        "dice": round(dice["mean"], 4),
        "dice_interval": [round(dice[k], 4) for k in ("low", "high")],
        "load": round(os.getloadavg()[0], 1),
    }


def _train(
    network: str, configuration: str, run: str, home: Path, chosen: argparse.Namespace
) -> tuple[int, str]:
    """Train in a process of its own; its peak resident memory in KiB, and why it failed."""
    command = [
        sys.executable, "-m", "medssm.cli", "train", chosen.name, "--home", str(home),
        f"network={network}", f"planner.configuration={configuration}", f"run={run}",
        f"trainer.max_time={chosen.minutes * 60:.0f}s", f"trainer.threads={chosen.threads}",
        *CONFIGURATIONS[configuration], *ALSO.get(network, ()),
    ]  # fmt: skip
    log = home / f"{run}.log"
    with log.open("w", encoding="utf-8") as stream:
        child = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    lines = log.read_text(encoding="utf-8").splitlines() or [""]
    return usage.ru_maxrss, f"exit {child.returncode}: {lines[-1]}" if child.returncode else ""


def _costs(folder: Path) -> dict[str, Any]:
    """Parameters and true operations of one case of the patch that was trained."""
    from medssm.networks import NETWORKS
    from medssm.networks.cost import cost

    model = json.loads((folder / "model.json").read_text())
    counted = cost(
        NETWORKS.build(**model["network"]),
        (1, model["network"]["in_channels"], *model["patch_size"]),
    )
    return {
        "patch": model["patch_size"],
        "parameters_M": round(counted.parameters / 1e6, 3),
        "GMACs": round(counted.macs / 1e9, 3),
        "scan_GFLOPs": round(counted.scan_flops / 1e9, 3),
    }


if __name__ == "__main__":
    sys.exit(main())
