"""Networks over bags on MUSK1 and Elephant, 10 folds a seed, by the commands of a user.

    python -m benchmarks.mil FOLDER                     ABMIL, SRMamba, and one with shuffled labels
    python -m benchmarks.mil FOLDER --models all        the other mixers in the same table

FOLDER holds musk1.csv and elephant.csv. Features are standardised on the training folds, epochs
are fixed and nothing is chosen on a test fold. Each seed runs in a process of one thread.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.equal_time import machine

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "benchmarks" / "results" / "mil.json"
DATA = {"Dataset601_Musk1": "musk1.csv", "Dataset602_Elephant": "elephant.csv"}
STUDY = ("standardise=true", "planner.folds=10", "planner.validation=false")
# Ilse et al.'s widths on MUSK
ABMIL = (
    "network.widths=[256,128,64]", "network.attention_width=64", "network.dropout=0.5",
    "optimizer.lr=0.0005", "optimizer.weight_decay=0.005", "batch_size=8", "trainer.max_epochs=40",
)  # fmt: skip
MAMBA = (
    "network.width=64", "network.attention_width=64", "network.depth=1", "shuffle_tiles=true",
    "optimizer.lr=0.001", "optimizer.weight_decay=0.005", "batch_size=16", "trainer.max_epochs=20",
)  # fmt: skip
MODELS: dict[str, tuple[str, ...]] = {
    "ABMIL": ("network=abmil", *ABMIL),
    "SRMamba": ("network=mamba_mil", *MAMBA),
    "ABMIL, labels shuffled": ("network=abmil", "shuffle_labels=true", *ABMIL),
    "SRMamba, labels shuffled": ("network=mamba_mil", "shuffle_labels=true", *MAMBA),
    "gated ABMIL": ("network=abmil_gated", *ABMIL),
    "SRMamba, official start": ("network=mamba_mil", "network.init=official", *MAMBA),
    "Mamba": ("network=mamba_mil_mamba", *MAMBA),
    "BiMamba": ("network=mamba_mil_bimamba", *MAMBA),
    "LBMamba": ("network=mamba_mil_lbmamba", *MAMBA),
    "LBMamba, two layers": ("network=mamba_mil_lbmamba", *MAMBA, "network.depth=2"),
    "SR-LBMamba": ("network=mamba_mil_sr_lbmamba", *MAMBA),
}
ACCEPTANCE = tuple(MODELS)[:4]
# least mean accuracy over the seeds (PATHOLOGY section 8); shuffled labels stay within a band
LEAST = {("Dataset601_Musk1", "ABMIL"): 0.82, ("Dataset601_Musk1", "SRMamba"): 0.82,
         ("Dataset602_Elephant", "ABMIL"): 0.79,
         ("Dataset602_Elephant", "SRMamba"): 0.81}  # fmt: skip
BAND = (0.35, 0.65)


def main() -> int:
    """Run the models that were asked for, add them to the table; 1 where a threshold is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder with musk1.csv and elephant.csv")
    parser.add_argument("--models", nargs="*", default=list(ACCEPTANCE), help="names, or all")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--home", type=Path, help="of a run that was stopped; it goes on there")
    chosen = parser.parse_args()
    names = list(MODELS) if chosen.models == ["all"] else chosen.models
    home = chosen.home or Path(tempfile.mkdtemp(prefix="medssm-mil-"))
    started = time.monotonic()
    with ThreadPoolExecutor(len(chosen.seeds)) as pool:
        parts = list(pool.map(lambda seed: one_seed(chosen.source, home, seed, names),
                              chosen.seeds))  # fmt: skip
    seconds = time.monotonic() - started
    before = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {"rows": {}}
    rows: dict[str, Any] = before["rows"]
    for data in DATA:
        for name in names:
            rows.setdefault(data, {})[name] = row_of(
                chosen.seeds, [part[data, name] for part in parts]
            )
    for data, table in rows.items():
        _compare(table)
        for name, row in table.items():
            print(
                f"{data:20} {name:26} {row['accuracy']} mean {row['mean']:.3f} "
                f"AUC {row['auc']:.3f} {row['seconds']} s  {row.get('against_abmil', '')}"
            )
    run = {"models": names, "seeds": chosen.seeds, "seconds": round(seconds, 1)}
    result = {
        "what": "accuracy of all bags of 10 folds, one number a seed; AUC is the mean of the seeds",
        "machine": machine(len(chosen.seeds)),
        "runs": [*before.get("runs", []), run],
        "rows": rows,
    }
    FILE.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{seconds:.0f} s in all; wrote {FILE.relative_to(ROOT)}")
    return 1 if missed(rows) else 0


def one_seed(
    source: Path, home: Path, seed: int, names: Sequence[str]
) -> dict[tuple[str, str], dict[str, Any]]:
    """All models of one seed, one after another."""
    place = home / f"seed_{seed}"
    found = {}
    for data, file in DATA.items():
        if not (place / "raw" / data / "dataset.json").is_file():
            _medssm(place, "import", "bags", str(source / file), "--name", data)
    for name in names:
        run = "".join(each if each.isalnum() else "_" for each in name)
        for data in DATA:
            _medssm(place, "train", data, *MODELS[name], *STUDY, f"seed={seed}",
                    f"planner.seed={seed}", f"run={run}")  # fmt: skip
            model = place / "results" / data / run
            found[data, name] = outcome(model)
            print(seed, data, name, {k: v for k, v in found[data, name].items() if k != "right"},
                  flush=True)  # fmt: skip
    return found


def outcome(model: Path) -> dict[str, Any]:
    """What a model folder says: scores of all test bags, seconds of training over all resumes."""
    scores = json.loads((model / "cross_validation.json").read_text())["measures"]
    folds = [json.loads(each.read_text()) for each in model.glob("fold_*/status.json")]
    return {
        "accuracy": scores["accuracy"]["pooled"],
        "auc": scores["auc"]["pooled"],
        "seconds": round(sum(each["seconds"] for each in folds), 1),
        "right": _right(model),
    }


def _right(model: Path) -> str:
    """Which test bags were classified right, 1 or 0 by the sorted names of the bags."""
    right = {}
    for file in sorted(model.glob("fold_*/test.csv")):
        with file.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                right[row["bag"]] = float(row["predicted"]) == float(row["label"])
    return "".join(str(int(right[bag])) for bag in sorted(right))


def row_of(numbers: Sequence[int], seeds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One row of the table from its seeds."""
    accuracy = [round(each["accuracy"], 4) for each in seeds]
    return {
        "seeds": list(numbers),
        "accuracy": accuracy,
        "mean": round(float(np.mean(accuracy)), 4),
        "auc": round(float(np.mean([each["auc"] for each in seeds])), 4),
        "seconds": [each["seconds"] for each in seeds],
        "right": [each["right"] for each in seeds],
    }


def _compare(table: dict[str, dict[str, Any]]) -> None:
    """The difference to ABMIL with its paired standard error over bags and seeds."""
    base = table.get("ABMIL")
    for name, row in table.items():
        if base is None or name == "ABMIL":
            continue
        both = [seed for seed in row["seeds"] if seed in base["seeds"]]
        mine, theirs = (_cells(each, both) for each in (row, base))
        gains = mine - theirs
        if len(gains):
            error = gains.std(ddof=1) / np.sqrt(len(gains))
            row["against_abmil"] = f"{gains.mean():+.4f} ± {error:.4f}"


def _cells(row: dict[str, Any], seeds: Sequence[int]) -> np.ndarray:
    """Right or wrong, bag by bag, seed after seed."""
    return np.array(
        [int(cell) for seed in seeds for cell in row["right"][row["seeds"].index(seed)]]
    )


def missed(rows: dict[str, Any]) -> list[str]:
    """Thresholds that were missed, in words."""
    low, high = BAND
    found = [
        f"{data}: {name} has {rows[data][name]['mean']:.3f}, expected {least} or more"
        for (data, name), least in LEAST.items()
        if name in rows.get(data, {}) and rows[data][name]["mean"] < least
    ]
    found += [
        f"{data}: {name} has {row['accuracy']}, expected {low} to {high}"
        for data, table in rows.items()
        for name, row in table.items()
        if "shuffled" in name and not all(low <= each <= high for each in row["accuracy"])
    ]
    for line in found:
        print(f"MISSED {line}")
    return found


def _medssm(home: Path, *words: str) -> None:
    command = [sys.executable, "-m", "medssm.cli", *words, "--home", str(home), "-q"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
