"""Stock nnU-Net under a time budget: its own commands, and a trainer that watches the clock."""

import os
import subprocess
import sys
from pathlib import Path

# the one thing stock nnU-Net cannot do is stop at a time; everything else of it stays as it is
CLOCK_TRAINER = '''
import os
import time

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class TimeIsUp(Exception):
    pass


class nnUNetTrainerClock(nnUNetTrainer):
    """The stock trainer; stops when the budget in seconds is spent."""

    def run_training(self):
        self.seconds = float(os.environ["MEDSSM_BENCH_SECONDS"])
        epochs = os.environ.get("MEDSSM_BENCH_EPOCHS")
        self.num_epochs = int(epochs) if epochs else self.num_epochs
        self.steps = 0
        self.started = time.monotonic()
        try:
            super().run_training()
        except TimeIsUp:
            self.print_to_log_file(f"time is up after {self.steps} steps")
            self.on_train_end()

    def train_step(self, batch):
        if time.monotonic() - self.started > self.seconds:
            raise TimeIsUp
        self.steps += 1
        return super().train_step(batch)
'''


def environment(home: Path, threads: int) -> dict[str, str]:
    """The variables that stock nnU-Net asks for."""
    return {
        **os.environ,
        "nnUNet_raw": str(home / "raw"),
        "nnUNet_preprocessed": str(home / "stock_preprocessed"),
        "nnUNet_results": str(home / "stock_results"),
        "nnUNet_extTrainer": str(home / "stock_trainer"),
        "nnUNet_n_proc_DA": "2",
        "OMP_NUM_THREADS": str(threads),
    }


def prepare(home: Path, dataset: str, threads: int) -> None:
    """Plan and preprocess with stock nnU-Net (not part of the budget)."""
    folder = home / "stock_trainer"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nnUNetTrainerClock.py").write_text(CLOCK_TRAINER, encoding="utf-8")
    number = str(int(dataset[7:10]))
    command = ["nnUNetv2_plan_and_preprocess", "-d", number, "-c", "3d_fullres", "-np", "4"]
    _run(command, environment(home, threads), home / "stock_plan.log")


def train(home: Path, dataset: str, seconds: float, threads: int, epochs: int | None) -> Path:
    """Train fold 0 for the budget, then its own full validation.

    Args:
        home: Folder with raw/.
        dataset: DatasetNNN_Name.
        seconds: Wall clock of the training.
        threads: Cores it may use.
        epochs: Plan the schedule for so many epochs; None leaves the stock 1000.

    Returns:
        The folder with the predictions of the validation cases.
    """
    variables = environment(home, threads) | {"MEDSSM_BENCH_SECONDS": str(seconds)}
    if epochs:
        variables["MEDSSM_BENCH_EPOCHS"] = str(epochs)
        variables["nnUNet_results"] += "_annealed"
    number = str(int(dataset[7:10]))
    command = ["nnUNetv2_train", number, "3d_fullres", "0", "-tr", "nnUNetTrainerClock"]
    _run([*command, "-device", "cpu"], variables, home / f"stock_train_{epochs or 1000}.log")
    model = f"{dataset}/nnUNetTrainerClock__nnUNetPlans__3d_fullres/fold_0/validation"
    return Path(variables["nnUNet_results"]) / model


def steps_done(validation: Path) -> int:
    """How many steps the trainer wrote into its log."""
    for log in sorted(validation.parent.glob("training_log_*.txt"), reverse=True):
        for line in log.read_text(encoding="utf-8").splitlines():
            if "time is up after" in line:
                return int(line.split("time is up after")[1].split()[0])
    return 0


def _run(command: list[str], variables: dict[str, str], log: Path) -> None:
    program = Path(sys.executable).parent / command[0]
    with log.open("w", encoding="utf-8") as stream:
        subprocess.run(
            [str(program), *command[1:]], env=variables, stdout=stream, stderr=stream, check=True
        )
