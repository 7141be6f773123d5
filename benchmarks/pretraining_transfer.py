"""Masked pre-training and transfer to five labels: `python -m benchmarks.pretraining_transfer`.

    python -m benchmarks.pretraining_transfer FOLDER --home HOME --threads 2

FOLDER holds images/ and labels/ of the hippocampus task. The design was written before the runs:
docs/decisions/0004-transfer-from-pretraining.md. Finished pre-trainings and runs are kept.
"""

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from benchmarks.equal_time import machine
from medssm.core.files import read_json, write_json
from medssm.core.log import configure, say
from medssm.data.volume_store import VolumeStore
from medssm.fields.pretraining.archive import import_archive
from medssm.fields.pretraining.canonical import Frame, to_canonical
from medssm.fields.pretraining.store import open_store
from medssm.fields.pretraining.story import train_study
from medssm.losses import LOSSES
from medssm.metrics.statistics import bootstrap, compare
from medssm.networks import NETWORKS
from medssm.runs.field import ImportRequest, StudyRequest
from medssm.runs.workspace import open_workspace
from medssm.training.config import TrainerConfig
from medssm.training.engine import Run, fit
from medssm.training.optimizers import OptimizerConfig
from medssm.training.order import STREAM_SAMPLES, SampleKey, seeded, words_of
from medssm.training.pretrained import ENCODER_FACTS, with_pretrained
from medssm.training.schedules import ScheduleConfig
from medssm.training.task import Learning, Task
from medssm.training.warm_start import transfer

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "pretraining_transfer.json"
CROP = (32, 48, 32)
WORDS = (
    "archive.modality=auto", "preprocess.spacing_mm=null", "preprocess.val_share=0.2",
    "network=mamba_mim_small", "crop=[32,48,32]", "crops_per_volume=1", "batch_size=4",
    "optimizer.lr=0.005", "schedule.warmup_steps=40", "schedule.hold=0.3",
    "trainer.max_epochs=24", "trainer.steps_per_epoch=50",
)  # fmt: skip
FILLERS = ("toki", "learned")
ARMS = ("scratch", *FILLERS)
CASES, STEPS, BATCH, SEEDS = 5, 80, 2, 6


class FewLabels(Dataset[dict[str, Tensor]]):
    """Crops of the labelled cases: crop i is a function of (seed, i)."""

    def __init__(self, cases: list[tuple[np.ndarray, np.ndarray]], seed: int) -> None:
        self.cases, self.seed = cases, seed

    def __getitem__(self, key: SampleKey) -> dict[str, Tensor]:
        with seeded(self.seed, STREAM_SAMPLES, key.epoch, key.number) as rng:
            image, label = self.cases[rng.integers(len(self.cases))]
            image, label = _cut(image, label, rng)
            if rng.random() < 0.5:
                image, label = image[::-1], label[::-1]
            image = image * rng.uniform(0.9, 1.1) + rng.uniform(-0.1, 0.1)
        return {
            "image": torch.from_numpy(np.ascontiguousarray(image, np.float32))[None],
            "target": torch.from_numpy(np.ascontiguousarray(label, np.int16))[None],
        }


def _cut(
    image: np.ndarray, label: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A random crop, zeros where the volume is smaller."""
    missing = [max(0, edge - size) for size, edge in zip(image.shape, CROP, strict=True)]
    pad = [(more // 2, more - more // 2) for more in missing]
    image, label = np.pad(image, pad), np.pad(label, pad)
    starts = [rng.integers(size - edge + 1) for size, edge in zip(image.shape, CROP, strict=True)]
    at = tuple(slice(a, a + edge) for a, edge in zip(starts, CROP, strict=True))
    return image[at], label[at]


class FineTuning(Task):
    """Dice with cross-entropy on crops."""

    def __init__(self, network: nn.Module, learning: Learning) -> None:
        super().__init__(network, learning)
        self.loss = LOSSES.build("dice_ce")

    def losses(self, batch: Any) -> dict[str, Tensor]:
        """The loss of a batch."""
        return {"loss": self.loss(self.network(batch["image"]), batch["target"])}


def main() -> int:
    """Pre-train, fine-tune every arm with every seed, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder with images/ and labels/")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--share", default="0/1", help="i/n does the seeds with s %% n == i")
    parser.add_argument("--arms", nargs="*", default=[*ARMS], choices=ARMS)
    chosen = parser.parse_args()
    configure()
    torch.set_num_threads(chosen.threads)
    # the network of the scratch arm is that of the pre-trained ones
    wanted = [filler for filler in FILLERS if filler in chosen.arms or filler == "toki"]
    models = {filler: _pretrained(filler, chosen) for filler in wanted}
    workspace = open_workspace(_dataset(chosen), chosen.home)
    store = open_store(workspace)
    files = _files(workspace.preprocessed, store)
    part, parts = map(int, chosen.share.split("/"))
    for seed in range(chosen.seeds):
        if seed % parts == part:
            for arm in chosen.arms:
                _run(arm, seed, models, store, files, chosen)
    _write(models, chosen)
    return 0


def _dataset(chosen: argparse.Namespace) -> str:
    request = ImportRequest("archive", chosen.source / "images", chosen.home, None)
    return str(import_archive(request).facts["dataset"])


def _pretrained(filler: str, chosen: argparse.Namespace) -> Path:
    words = (*WORDS, f"trainer.threads={chosen.threads}", f"run={filler}")
    if filler != "toki":
        words = (*words, f"network.filler={filler}")
    return train_study(StudyRequest(_dataset(chosen), chosen.home, words))


def _files(folder: Path, store: VolumeStore) -> dict[str, str]:
    """The file name of every volume, which only the site's private table knows."""
    with (folder / "private" / "files.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return {row["volume"]: row["path"] for row in rows if row["volume"] in store.volumes}


def _case(
    name: str, store: VolumeStore, files: dict[str, str], source: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Image in 0..1 and label map on the store's axes."""
    image = store.windowed(name, (0, 0, 0), store.volumes[name].shape)
    label: Any = nibabel.load(source / "labels" / files[name])
    frame = to_canonical(Frame(np.asarray(label.dataobj), np.asarray(label.affine, dtype=float)))
    if frame.voxels.shape != image.shape:
        raise SystemExit(f"{files[name]}: label {frame.voxels.shape}, image {image.shape}")
    return image, frame.voxels.astype(np.int16)


def _run(
    arm: str, seed: int, models: dict[str, Path], store: VolumeStore, files: dict[str, str],
    chosen: argparse.Namespace,
) -> None:  # fmt: skip
    folder = chosen.home / "transfer" / f"{arm}_{seed}"
    done = folder / "scores.json"
    if done.is_file():
        return
    names = np.array(store.ids("train"))
    picked = np.random.default_rng(words_of(seed, 7)).choice(names, CASES, replace=False)
    cases = [_case(name, store, files, chosen.source) for name in sorted(picked)]
    network, moved = _network(arm, seed, models)
    learning = Learning(
        OptimizerConfig(lr=2e-3, weight_decay=1e-2), ScheduleConfig(warmup_steps=10)
    )
    config = TrainerConfig(
        max_epochs=1, steps_per_epoch=STEPS, precision="32-true", accelerator="cpu", workers=0,
        threads=chosen.threads, resume=False,
    )  # fmt: skip
    began = time.perf_counter()
    task = FineTuning(network, learning)
    fit(task, FewLabels(cases, seed), config, Run(folder, seed, BATCH, {"arm": arm, "seed": seed}))
    seconds = time.perf_counter() - began
    scores = {
        files[name]: _dice(task.network, *_case(name, store, files, chosen.source))
        for name in store.ids("val")
    }
    mean = float(np.mean(list(scores.values())))
    say("%s seed %d: Dice %.4f in %.0f s", arm, seed, mean, seconds)
    write_json(
        done,
        {"arm": arm, "seed": seed, "dice": mean, "cases": scores, "seconds": round(seconds, 1),
         "labelled": sorted(files[name] for name in picked), "transfer": moved},
    )  # fmt: skip


def _network(
    arm: str, seed: int, models: dict[str, Path]
) -> tuple[nn.Module, dict[str, Any] | None]:
    """The network of an arm: start values of the seed, then the encoder where one moves."""
    source = models["toki" if arm == "scratch" else arm]
    sizes = {"name": "hybrid_mamba", "in_channels": 1, "out_channels": 3, "pad": True}
    torch.manual_seed(words_of(seed)[0])
    network: nn.Module = NETWORKS.build(**with_pretrained(sizes, source))
    if arm == "scratch":
        return network, None
    moved = transfer(network, source)
    expected = set(read_json(source / ENCODER_FACTS)["tensors"])
    assert set(moved.moved.values()) == expected, "a tensor of the encoder did not move"
    assert not moved.left
    return network, {"moved": len(moved.moved), "new": len(moved.new), "left_over": 0}


@torch.no_grad()
def _dice(network: nn.Module, image: np.ndarray, label: np.ndarray) -> float:
    """Mean Dice of both parts over a whole volume."""
    network.eval()
    guess = network(torch.from_numpy(image)[None, None])[0].argmax(0).numpy()
    network.train()
    return float(
        np.mean(
            [
                2 * ((guess == k) & (label == k)).sum() / ((guess == k).sum() + (label == k).sum())
                for k in (1, 2)
            ]
        )
    )


def _write(models: dict[str, Path], chosen: argparse.Namespace) -> None:
    runs = [read_json(f) for f in sorted((chosen.home / "transfer").glob("*/scores.json"))]
    dice = {
        arm: {run["seed"]: run["dice"] for run in runs if run["arm"] == arm} for arm in ARMS
    }  # fmt: skip
    shared = list(range(chosen.seeds))
    whole = [arm for arm in ARMS if set(shared) <= set(dice[arm])]
    say("arms with all %d seeds: %s", chosen.seeds, ", ".join(whole) or "none")
    if not {"scratch", "toki"} <= set(whole):
        return
    pairs = {}
    for first, second in (("toki", "scratch"), ("learned", "scratch"), ("toki", "learned")):
        if not {first, second} <= set(whole):
            continue
        found = compare([dice[first][s] for s in shared], [dice[second][s] for s in shared])
        pairs[f"{first} - {second}"] = {
            **vars(found.difference), "p_wilcoxon": found.p_value, "wins": found.wins,
            "losses": found.losses,
        }  # fmt: skip
    gate = pairs["toki - scratch"]
    result = {
        "what": "hippocampus, 5 labelled cases, design in docs/decisions/0004",
        "machine": machine(chosen.threads),
        "pretraining": {
            filler: read_json(model / "fold_0" / "validation.json")
            for filler, model in models.items()
        },
        "dice": {arm: vars(bootstrap([dice[arm][s] for s in shared])) for arm in whole},
        "arms_not_finished": [arm for arm in ARMS if arm not in whole],
        "differences": pairs,
        "not_worse_than_scratch": bool(gate["high"] >= 0),
        "runs": [{k: v for k, v in run.items() if k != "cases"} for run in runs],
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    say("wrote %s", RESULT.relative_to(ROOT))


if __name__ == "__main__":
    raise SystemExit(main())
