"""`python -m benchmarks.reconstruction_acceptance FOLDER`: RECON section 12 by our commands.

FOLDER holds the tutorial slice (8 coils, 230 x 180, 8.04x Poisson disc). Two trainings of at most
`--minutes` each on `--threads` threads:

- equispaced: simulated coils around phantoms and the slice's classical reconstruction; tried on
  simulated whole slices that were held back, and on a whole slice made of the real head, its
  measured sensitivities and its noise, beside classical methods tuned by an oracle;
- tutorial: a tenth of its samples outside the centre is taken out of the file before anything sees
  it; the error on them is the figure, of the network alone and behind least squares;
- tuned: the network of "tutorial" goes on learning from that file's own samples (SSDU), of which a
  tenth again is held back to stop by; the same figure;
- calibration: the factor of the uncertainty of "equispaced", fitted on six other phantoms, on the
  slices that "equispaced" is tried on.

A training that is complete under HOME is not done again.

It writes `results/reconstruction_acceptance.json`.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.__main__ import _machine, busy_cores
from medssm.fields.reconstruction.baselines import espirit_maps, reconstruct
from medssm.fields.reconstruction.demo import make_scans
from medssm.fields.reconstruction.self_samples import kept_back
from medssm.fields.reconstruction.simulation import to_kspace
from medssm.mri.undersampling import Mask, find_acs

RESULTS = Path(__file__).resolve().parent / "results" / "reconstruction_acceptance.json"
SLICE = "brain_8coil_230x180.npy"
SIZE, CENTRE = (230, 180), 14
NOISE = 0.0125  # of each part, as the rim of the tutorial's k-space has it
KEPT = ("fastmri.whole.psnr", "fastmri.whole.ssim", "fastmri.foreground.ssim")


def main() -> None:
    """Train, try and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--home", type=Path, required=True, help="where data and models go")
    parser.add_argument("--withheld", type=Path, help="where the slice without them lies, or goes")
    parser.add_argument("--start", type=Path, help="a model folder that the second one starts from")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "parts", nargs="*", help="equispaced, tutorial, tuned, calibration; all when none"
    )
    chosen = parser.parse_intermixed_args()
    result = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    parts = {each.__name__: each for each in (equispaced, tutorial, tuned, calibration)}
    for part in chosen.parts or parts:
        busy = busy_cores()
        figures = parts[part](chosen)
        result[part] = {"machine": _machine(busy), "minutes": chosen.minutes,
                        "threads": chosen.threads, "figures": figures}  # fmt: skip
        RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def medssm(home: Path, *words: str) -> dict[str, Any]:
    """One of our commands, its facts."""
    command = [sys.executable, "-m", "medssm.cli", *words, "--json"]
    if words[0] in ("import", "plan", "preprocess", "train"):
        command += ["--home", str(home)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {done.stdout[-800:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer.get("facts", answer)


def trained(chosen: argparse.Namespace, dataset: str, run: str, *words: str) -> tuple[Path, Any]:
    """Train under the limits; gives the model and how it went."""
    facts = medssm(
        chosen.home, "train", dataset, f"run={run}", f"trainer.max_time={chosen.minutes}min",
        f"trainer.threads={chosen.threads}", *words,
    )  # fmt: skip
    model = Path(facts["model"])
    status = json.loads((model / "fold_0" / "status.json").read_text(encoding="utf-8"))
    return model, {
        "seconds": status["seconds"],
        "steps": status["step"],
        "held_back_strips": facts["folds"]["fold_0"],
    }


def dataset_of(chosen: argparse.Namespace, source: Path) -> str:
    """Import a folder and turn what is undersampled into images."""
    name = str(medssm(chosen.home, "import", "kspace", str(source))["dataset"])
    medssm(chosen.home, "preprocess", name)
    return name


def equispaced(chosen: argparse.Namespace) -> dict[str, Any]:
    """Fourfold, 14 centre columns."""
    model, course = _equispaced(chosen)
    held_back = _tried_on(chosen)
    found: dict[str, Any] = {"training": course}
    for kind in ("phantoms", "head"):
        output = chosen.home / "predictions" / kind
        medssm(chosen.home, "predict", str(model), "-i", str(held_back / kind), "-o", str(output),
               "uncertainty=masks")  # fmt: skip
        scores = medssm(chosen.home, "evaluate", str(output), "tune=oracle_psnr",
                        "baselines=[zero_filled,cg_sense,l1_wavelet]")  # fmt: skip
        found[kind] = {
            method: {name: round(values[name]["mean"], 4) for name in KEPT}
            for method, values in scores["mean"].items()
        }
        found[f"{kind}_calibration"] = scores.get("calibration")
    return found


def _equispaced(chosen: argparse.Namespace) -> tuple[Path, Any]:
    dataset = dataset_of(chosen, chosen.folder)
    return trained(chosen, dataset, "equispaced4x", f"sampling.center_fractions=[{CENTRE}]")


def _tried_on(chosen: argparse.Namespace) -> Path:
    held_back: Path = chosen.home / "held_back"
    make_scans(held_back / "phantoms", 4, seed=999, size=SIZE, slices=1)
    whole_of_the_head(chosen.folder / SLICE, held_back / "head")
    return held_back


def calibration(chosen: argparse.Namespace) -> dict[str, Any]:
    """Coverage of two stated deviations before and after the factor of other phantoms."""
    model, _ = _equispaced(chosen)
    held_back = _tried_on(chosen)
    make_scans(held_back / "calibration", 6, seed=777, size=SIZE, slices=1)
    output = chosen.home / "predictions" / "calibration"
    words = ("uncertainty=masks", "calibrated=false")
    medssm(chosen.home, "predict", str(model), "-i", str(held_back / "calibration"), "-o",
           str(output), *words)  # fmt: skip
    fitted = medssm(chosen.home, "evaluate", str(output), "calibrate=true")
    factor = {key: value for key, value in fitted["calibration_factor"].items() if key != "file"}
    found: dict[str, Any] = {"fitted": factor}
    for kind in ("phantoms", "head"):
        for name, more in (("before", words), ("after", words[:1])):
            output = chosen.home / "predictions" / f"{kind}_{name}"
            medssm(chosen.home, "predict", str(model), "-i", str(held_back / kind), "-o",
                   str(output), *more)  # fmt: skip
            found[f"{kind}_{name}"] = medssm(chosen.home, "evaluate", str(output))["calibration"]
    return found


def whole_of_the_head(file: Path, folder: Path) -> None:
    """A fully sampled slice: the real head as the wavelets see it, its coils, its noise."""
    kspace = np.load(file)
    mask = np.abs(kspace).sum(0) > 0
    acs = find_acs(torch.from_numpy(mask)).numpy()
    maps = espirit_maps(kspace, acs)
    image = reconstruct("l1_wavelet", kspace, mask, maps, acs=acs)
    noise = np.random.default_rng(123).standard_normal((2, *maps.shape))
    whole = to_kspace(maps * image) + NOISE * (noise[0] + 1j * noise[1])
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "head.npy", whole.astype(np.complex64))


def tutorial(chosen: argparse.Namespace) -> dict[str, Any]:
    """The withheld samples of the tutorial slice."""
    dataset, count = _without_withheld(chosen)
    model, course = _poisson(chosen, dataset)
    return {"training": course, "withheld": count, **_judged(chosen, model, "tutorial")}


def tuned(chosen: argparse.Namespace) -> dict[str, Any]:
    """The same of a network that has learned from the slice's other samples."""
    dataset, count = _without_withheld(chosen)
    start, _ = _poisson(chosen, dataset)
    model, course = trained(
        chosen, dataset, "tuned8x", f"init={start}", "supervision=self", "maps=espirit",
        "optimizer.lr=0.003", "schedule.warmup_steps=10", "trainer.steps_per_epoch=20",
        "trainer.workers=0",
    )  # fmt: skip
    found = _judged(chosen, model, "tuned", "checkpoint=best")
    return {"training": course, "withheld": count, **found}


def _without_withheld(chosen: argparse.Namespace) -> tuple[str, int]:
    """The data set of the slice without the samples that judge, and how many those are."""
    kspace = np.load(chosen.folder / SLICE)
    sampled = torch.from_numpy(np.abs(kspace).sum(0) > 0)
    hidden = kept_back(Mask(sampled, find_acs(sampled)), 0.1, 0)
    seen = kspace.copy()
    seen[:, hidden.numpy()] = 0
    source = chosen.withheld or chosen.home / "without_withheld"
    source.mkdir(parents=True, exist_ok=True)
    file = source / "brain_without_withheld.npy"
    if not file.is_file():
        np.save(file, seen)
    if not np.array_equal(np.load(file), seen):
        raise RuntimeError(f"{file} is not the slice without the withheld samples")
    return dataset_of(chosen, source), int(hidden.sum())


def _poisson(chosen: argparse.Namespace, dataset: str) -> tuple[Path, Any]:
    masks = ("sampling.masks=[poisson]", "sampling.accelerations=[8,9]",
             "sampling.center_fractions=[0.0139]", "simulation.size=[128,100]",
             "simulation.zoom=[0.85,1.5]")  # fmt: skip
    start = [f"init={chosen.start}"] if chosen.start else []
    return trained(chosen, dataset, "poisson8x", *masks, *start)


def _judged(
    chosen: argparse.Namespace, model: Path, name: str, *words: str
) -> dict[str, dict[str, float]]:
    """Errors on the withheld samples, of the network alone and behind least squares."""
    found = {}
    for title, more in (("network alone", ("consistency=soft",)), ("network", ())):
        output = chosen.home / "predictions" / f"{name}_{title.replace(' ', '_')}"
        medssm(chosen.home, "predict", str(model), "-i", str(chosen.folder), "-o", str(output),
               *words, *more)  # fmt: skip
        scores = medssm(chosen.home, "evaluate", str(output), "baselines=[cg_sense,l1_wavelet]")
        found[title] = {
            method: round(_mean(value), 4) for method, value in scores["withheld_error"].items()
        }
    return found


def _mean(value: Any) -> float:
    return float(value["mean"] if isinstance(value, dict) else value)


if __name__ == "__main__":
    main()
