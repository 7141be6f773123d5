"""Equal wall clock on synthetic electrocardiograms: ECG-Mamba, its CNN control, xresnet1d101.

    flock LOCK taskset -c 2,3 python -m benchmarks.ecg_equal_time --seconds 240 --threads 2

Every contestant trains by our commands on the same 1000 records for the same time, in turn, and
reads out the same 500 unseen ones. The records are synthetic: the table compares how fast networks
learn an easy task, it does not say which one helps a patient.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.equal_time import ROOT, machine, medssm
from medssm.data.ecg.synthetic import make_synthetic_records

FILE = ROOT / "benchmarks" / "results" / "ecg_equal_time.json"
CONTESTANTS = ("ecg_vim_tiny", "ecg_cnn", "xresnet1d101")
SHOWN = ("SB", "STach", "AF", "LBBB|CLBBB", "RBBB|CRBBB")
# epochs that none of them reaches: the clock ends the run, and the schedule anneals to it
EPOCHS = 10_000


def main() -> int:
    """Run the contest and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=240)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--unseen", type=int, default=500)
    parser.add_argument("--only", nargs="*", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--output", type=Path, default=FILE)
    parser.add_argument("--home", type=Path, help="keep data and models here")
    chosen = parser.parse_args()
    home = chosen.home or Path(tempfile.mkdtemp(prefix="medssm-ecg-contest-"))
    make_synthetic_records(home / "train", chosen.records, 1, "section11")
    make_synthetic_records(home / "unseen", chosen.unseen, 2, "section11")
    name = "Dataset998_SyntheticECG"
    medssm(home, "import", "ecg", str(home / "train"), "--name", name)
    medssm(home, "preprocess", name)
    rows = [_contest(each, name, home, chosen) for each in chosen.only]
    result = {
        "what": f"{chosen.records} synthetic records, 17 classes, 100 Hz x 10 s, "
        f"{chosen.seconds} s of training each; scores on {chosen.unseen} unseen ones",
        "machine": machine(chosen.threads),
        "rows": rows,
    }
    chosen.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for row in rows:
        print(row)
    return 0


def _contest(network: str, dataset: str, home: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    started, load = time.monotonic(), os.getloadavg()[0]
    answer = json.loads(
        medssm(
            home, "train", dataset, f"network={network}", f"run={network}", "--json",
            f"trainer.max_time={chosen.seconds}s", f"trainer.max_epochs={EPOCHS}",
            f"trainer.threads={chosen.threads}", "trainer.workers=0",
        )
    )  # fmt: skip
    seconds = time.monotonic() - started
    model = home / "results" / dataset / network
    status = json.loads((model / "fold_0" / "status.json").read_text())
    output = home / "predictions" / network
    medssm(home, "predict", str(model), "-i", str(home / "unseen"), "-o", str(output), "pages=none")
    scores = json.loads(
        medssm(home, "evaluate", str(output), "-r", str(home / "unseen"), "--json", "draws=100")
    )
    return {
        "network": network,
        "held_back": answer.get("folds", {}).get("fold_0"),
        "steps": status["step"],
        "epochs": status["epoch"],
        "seconds_with_calibration": round(seconds),
        "load_before": round(load, 1),
        **{key: round(value, 4) for key, value in scores["scores"].items() if value is not None},
        "challenge_at_half": round(scores["challenge_at_half"], 4),
        "intervals": scores["intervals"],
        "auroc_by_class": _by_class(output, SHOWN),
    }


def _by_class(output: Path, names: tuple[str, ...]) -> dict[str, str]:
    lines = (output / "evaluation" / "per_class.csv").read_text().splitlines()
    place = lines[0].split(",").index("auroc")
    rows = {line.split(",")[0]: line.split(",")[place] for line in lines[1:]}
    return {name: rows[name] for name in names if name in rows}


if __name__ == "__main__":
    sys.exit(main())
