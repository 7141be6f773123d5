"""Equal wall clock in one run: our LightM-UNet, its twin without scans, stock nnU-Net.

    python -m benchmarks.equal_time FOLDER --minutes 20

Every contestant trains fold 0 on the same cases, for the same time and on all cores, in turn,
then predicts the fold's held-back cases; one program scores them all.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import stock_nnunet

ROOT = Path(__file__).resolve().parents[1]
OURS = {"ours": "lightm_unet_hybrid", "ours without state space": "lightm_unet_hybrid_no_ssm"}


def main() -> int:
    """Run the contest and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="plain folder with images/ and labels/")
    parser.add_argument("--name", default="Dataset004_Hippocampus")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="*", default=[*OURS, "stock nnU-Net 3d_fullres"])
    chosen = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="medssm-contest-"))
    medssm(home, "import", "folder", str(chosen.source), "--name", chosen.name)
    rows = [_contest(name, home, chosen) for name in chosen.only]
    result = {
        "what": f"{chosen.name}, fold 0, {chosen.minutes:g} minutes of training each",
        "machine": machine(chosen.threads),
        "rows": rows,
    }
    file = ROOT / "benchmarks" / "results" / f"equal_time_{chosen.name.lower()}.json"
    file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for row in rows:
        print(row)
    print(f"wrote {file.relative_to(ROOT)}")
    return 0


def _contest(name: str, home: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    started = time.monotonic()
    if name in OURS:
        run = name.replace(" ", "_")
        medssm(
            home, "train", chosen.name, f"network={OURS[name]}", f"run={run}",
            f"trainer.max_time={chosen.minutes * 60:.0f}s", f"trainer.threads={chosen.threads}",
        )  # fmt: skip
        fold = home / "results" / chosen.name / run / "fold_0"
        validation = fold / "validation"
        steps = json.loads((fold / "status.json").read_text())["step"]
    else:
        stock_nnunet.prepare(home, chosen.name, chosen.threads)
        started = time.monotonic()
        validation = stock_nnunet.train(
            home, chosen.name, chosen.minutes * 60, chosen.threads, None
        )
        steps = stock_nnunet.steps_done(validation)
    seconds = time.monotonic() - started
    scores = json.loads(
        medssm(
            home, "evaluate", str(validation), "-r", str(home / "raw" / chosen.name),
            "-o", str(home / f"scores_{name.replace(' ', '_')}"), "--json",
        )
    )  # fmt: skip
    return {
        "name": name,
        "steps": steps,
        "seconds_with_validation": round(seconds),
        "cases": scores["cases"],
        **{key: round(scores["mean"][key]["mean"], 4) for key in ("Dice", "HD95_mm", "NSD")},
        "dice_interval": [round(scores["mean"]["Dice"][k], 4) for k in ("low", "high")],
        "load": os.getloadavg()[0],
    }


def medssm(home: Path, *words: str) -> str:
    """Run our command line in a home of its own; what it writes to stdout."""
    command = [sys.executable, "-m", "medssm.cli", *words, "--home", str(home)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def machine(threads: int) -> dict[str, Any]:
    """Say on what the figures were taken."""
    from medssm.training.log_files import processor_name

    return {"processor": processor_name(), "threads": threads}


if __name__ == "__main__":
    sys.exit(main())
