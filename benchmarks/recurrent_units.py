"""`python -m benchmarks.recurrent_units`: the recurrent units at equal parameters and equal time.

Each unit trains the small network for `--minutes` on `--threads` threads on simulated strips of
phantoms, then sees 32 strips that were held back; widths are chosen so that parameters differ by
less than 10 %. It writes `results/recurrent_units.json`.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.__main__ import _machine, busy_cores
from benchmarks.reconstruction_acceptance import medssm
from medssm.fields.reconstruction.demo import make_scans
from medssm.networks import RECONSTRUCTION_NETWORKS
from medssm.runs.compose import compose

RESULTS = Path(__file__).resolve().parent / "results" / "recurrent_units.json"
WIDTHS = {"convgru": 16, "vss": 18, "step_scan": 18, "slice_scan": 15}


def main() -> None:
    """Train every unit and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    busy, rows = busy_cores(), dict[str, Any]()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        make_scans(home / "scans", 1, seed=5, size=(64, 64), slices=1)
        medssm(home, "import", "kspace", str(home / "scans"), "--name", "Dataset001_Units")
        for unit, width in WIDTHS.items():
            words = [f"network.unit={unit}", f"network.hidden_channels={width}"]
            network = compose("reconstruction", words)["network"]
            built = RECONSTRUCTION_NETWORKS.build(**network)
            facts = medssm(
                home, "train", "1", f"run={unit}", *words, "supervision=simulated",
                "simulation.phantoms=1.0", "held_back=32", "trainer.validate_every=100",
                f"trainer.max_time={chosen.minutes}min", f"trainer.threads={chosen.threads}",
                "optimizer.lr=0.003",
            )  # fmt: skip
            status = Path(facts["model"]) / "fold_0" / "status.json"
            content = json.loads(status.read_text(encoding="utf-8"))
            rows[unit] = {
                "hidden_channels": width,
                "parameters": sum(each.numel() for each in built.parameters()),
                "steps": content["step"],
                "seconds_a_step": round(content["seconds"] / max(1, content["step"]), 3),
                **{key: round(value, 4) for key, value in facts["folds"]["fold_0"].items()},
            }
            print(unit, rows[unit], flush=True)
    result = {"machine": _machine(busy), "minutes": chosen.minutes, "threads": chosen.threads,
              "figures": rows}  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
