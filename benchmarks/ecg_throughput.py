"""Records of 10 s a second on one core: reading, preparing, networks; a day of Holter in memory.

taskset -c 2 python -m benchmarks.ecg_throughput --holter
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.equal_time import ROOT, machine
from medssm.data.ecg.classes import challenge_classes
from medssm.data.ecg.leads import LEADS
from medssm.data.ecg.read import read_record
from medssm.data.ecg.synthetic import SyntheticShape, make_synthetic_records, synthetic_signal
from medssm.fields.ecg.calibration import no_calibration
from medssm.fields.ecg.plan_file import EcgPlan
from medssm.fields.ecg.prepare import preprocess_signal
from medssm.fields.ecg.windows import Reader, WindowPlan
from medssm.networks import ECG_NETWORKS
from medssm.runs.compose import compose

FILE = ROOT / "benchmarks" / "results" / "ecg_throughput.json"
NETWORKS = {"ecg_vim_tiny": 100.0, "ecg_cnn": 100.0, "xresnet1d101": 100.0, "ecg_vim_base": 500.0}
HOLTER_HZ, BLOCK_S = 250, 600


def main() -> int:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--records", type=int, default=64)
    parser.add_argument("--holter", action="store_true", help="half a gigabyte on disk for a while")
    parser.add_argument("--model", type=Path, help="a model folder for --holter")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    with tempfile.TemporaryDirectory() as name:
        files = make_synthetic_records(Path(name), chosen.records, 0)
        rows = _rows(files)
        if chosen.holter and chosen.model:
            rows["holter"] = _holter(Path(name) / "holter", chosen.model)
    result = {
        "what": "records of 10 s, 12 leads, 500 Hz in files, a second; best of three rounds",
        "machine": machine(chosen.threads),
        "load_before": round(os.getloadavg()[0], 1),
        **rows,
    }
    FILE.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))
    return 0


def _rows(files: list[Path]) -> dict[str, Any]:
    classes = challenge_classes(2021)
    plans = {rate: EcgPlan("d", "s", "t", classes, rate_hz=rate) for rate in (100.0, 500.0)}
    signals = [read_record(file) for file in files]
    prepare = {
        f"to {rate:g} Hz": _best(
            lambda plan=plan: [preprocess_signal(each, plan) for each in signals], len(files)
        )
        for rate, plan in plans.items()
    }
    networks = {
        name: _inference(name, plans[rate], [preprocess_signal(s, plans[rate]) for s in signals])
        for name, rate in NETWORKS.items()
    }
    return {
        "reading": _best(lambda: [read_record(file) for file in files], len(files)),
        "preparing": prepare,
        "networks": networks,
    }


def _inference(name: str, plan: EcgPlan, prepared: list[Any]) -> dict[str, float]:
    network = ECG_NETWORKS.build(**compose("ecg", [f"network={name}"], plan.facts())["network"])
    none = no_calibration(len(plan.classes))
    reader = Reader([network.eval()], [none], torch.device("cpu"), batch=16)
    signals = [each.signal for each in prepared[: 16 if name == "ecg_vim_base" else None]]
    about = [(50.0, 0.0)] * len(signals)
    window = WindowPlan(plan.length)
    rate = _best(lambda: reader.records(signals, about, window), len(signals))
    return {"rate_hz": plan.rate_hz, "records_a_second": rate}


def _best(work: Callable[[], Any], count: int, rounds: int = 3) -> float:
    work()
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return round(count / min(seconds), 1)


def _holter(folder: Path, model: Path) -> dict[str, Any]:
    """Read out an hour and a day, every window; seconds and peak memory of the process."""
    found = {}
    for hours in (1, 24):
        _write_holter(folder / f"h{hours}", hours)
        code = (
            "import time; from pathlib import Path;"
            "from medssm.fields.ecg.predict import PredictConfig, predict; s = time.time();"
            f"predict(PredictConfig(Path({str(model)!r}), Path({str(folder / f'o{hours}')!r}),"
            f"Path({str(folder / f'h{hours}')!r}), windows=0, pages='none'));"
            "peak = Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0];"
            "print(time.time() - s, peak)"
        )
        answer = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
        ).stdout.split()
        found[f"{hours} h"] = {
            "seconds": round(float(answer[0]), 1),
            "peak_memory_mb": round(float(answer[1]) / 1024),
        }
    return found


def _write_holter(folder: Path, hours: int) -> None:
    """Twelve leads in format 16, rhythms in turn."""
    folder.mkdir(parents=True)
    rhythms = ("NSR", "AF", "SB", "STach")
    shape = SyntheticShape(BLOCK_S, HOLTER_HZ)
    blocks = [
        np.round(
            synthetic_signal(frozenset({each}), np.random.default_rng(index), shape) * 1000
        ).astype("<i2").T
        for index, each in enumerate(rhythms)
    ]  # fmt: skip
    count = hours * 3600 // BLOCK_S
    with (folder / "H0001.dat").open("wb") as stream:
        for index in range(count):
            stream.write(blocks[index % len(blocks)].tobytes())
    samples = count * BLOCK_S * HOLTER_HZ
    lines = [f"H0001 12 {HOLTER_HZ} {samples}"]
    lines += [f"H0001.dat 16 1000/mV 16 0 0 0 0 {lead}" for lead in LEADS]
    (folder / "H0001.hea").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
