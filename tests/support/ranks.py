"""A toy training on two processes as a program: python -m tests.support.ranks FOLDER [PLACE FATE].

Each rank notes the samples that it used and, at every epoch's end, the hash of its weights. At a
PLACE of the stream the rank that meets it does as FATE says: term, kill or nan.
"""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from medssm.core.errors import MedssmError
from medssm.training.config import TrainerConfig
from medssm.training.engine import Run, fit
from medssm.training.order import SampleKey, seeded
from medssm.training.task import Learning, Task

RANK = int(os.environ.get("LOCAL_RANK", "0"))
BATCH = 2
CONFIG = TrainerConfig(
    max_epochs=3, steps_per_epoch=4, ema_decay=0.9, workers=0, accelerator="cpu",
    precision="32-true", devices=2, threads=1, accumulate=2,
)  # fmt: skip


class Noted(Dataset[dict[str, Tensor]]):
    """Sample i of epoch e, noted when it is cut."""

    def __init__(self, folder: Path, place: int | None, fate: str) -> None:
        self.file, self.place, self.fate = folder / f"samples_{RANK}.jsonl", place, fate

    def __getitem__(self, key: SampleKey) -> dict[str, Tensor]:
        with self.file.open("a") as stream:
            stream.write(json.dumps([key.epoch, key.number]) + "\n")
        place = key.epoch * 100 + key.number
        if place == self.place and self.fate in ("term", "kill"):
            os.kill(os.getpid(), signal.SIGTERM if self.fate == "term" else signal.SIGKILL)
        with seeded(0, 1, *key) as rng:
            x = torch.from_numpy(rng.normal(size=4).astype(np.float32))
        return {"x": x * float("nan") if place == self.place and self.fate == "nan" else x}


class Toy(Task):
    """Learns to give back its input; notes the hash of its weights after each epoch."""

    monitor = "dice"

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        layers = [nn.Linear(4, 8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 4)]
        super().__init__(nn.Sequential(*layers), Learning(max_bad_steps=3))
        self.file = folder / f"weights_{RANK}.jsonl"

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mean square error."""
        return {"loss": (self.network(batch["x"]) - batch["x"]).square().mean()}

    def take_means(self) -> dict[str, float]:
        """Note the weights, then as ever."""
        flat = torch.cat([each.detach().flatten() for each in self.network.parameters()])
        with self.file.open("a") as stream:
            stream.write(json.dumps(hashlib.sha256(flat.numpy().tobytes()).hexdigest()) + "\n")
        return super().take_means()

    def quick_validation(self) -> dict[str, float]:
        """A number of the weights."""
        with torch.no_grad():
            return {"dice": -float(self.losses({"x": torch.ones(2, 4)})["loss"])}


def main() -> int:
    """Train; the exit code is that of the error class."""
    folder = Path(sys.argv[1])
    place = int(sys.argv[2]) if len(sys.argv) > 2 else None
    folder.mkdir(parents=True, exist_ok=True)
    try:
        fit(
            Toy(folder), Noted(folder, place, sys.argv[-1]), CONFIG,
            Run(folder, 7, BATCH, {"name": "toy"}),
        )  # fmt: skip
    except MedssmError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return error.exit_code
    # only the first process of a finished training comes here
    sys.stdout.write(f"rank {RANK} goes on; {sorted(_left_behind())}\n")
    return 0


def _left_behind() -> set[str]:
    return {"LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT"} & set(os.environ)


if __name__ == "__main__":
    sys.exit(main())
