"""What a user may say about the training of a network on bags."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from medssm.core.errors import UsageError
from medssm.training.config import TrainerConfig
from medssm.training.optimizers import OptimizerConfig
from medssm.training.schedules import ScheduleConfig


@dataclass(frozen=True)
class LossConfig:
    """Which loss.

    Args:
        name: "auto" is cross-entropy for classes and "nll" for survival; "hazards" is the
            cross-entropy of surviving a bin, "cox" needs batches of several patients.
        alpha: How much less the censored count in "nll" and "hazards".
        ties: Rule of "cox" for events of one time.
        smoothing: Label smoothing of cross-entropy.
    """

    name: Literal["auto", "cross_entropy", "nll", "hazards", "cox"] = "auto"
    alpha: float = 0.0
    ties: Literal["breslow", "efron"] = "efron"
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        for name in ("alpha", "smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"objective.{name}={getattr(self, name)}: expected 0 to below 1.")

    def chosen(self, task: str) -> str:
        """The loss of a task.

        Raises:
            UsageError: It belongs to the other task.
        """
        fitting = {"classification": ("cross_entropy",), "survival": ("nll", "hazards", "cox")}
        if self.name == "auto":
            return fitting[task][0]
        if self.name not in fitting[task]:
            raise UsageError(
                f"objective.name={self.name} is no loss of {task}; take one of "
                f"{', '.join(fitting[task])}."
            )
        return self.name


@dataclass(frozen=True)
class TrainConfig:
    """What a user may say about a training.

    Args:
        network: Name and arguments (`BAG_NETWORKS`).
        objective: The loss.
        optimizer: The optimiser.
        schedule: The learning rate over the run.
        trainer: The course; an epoch shows `bags_per_epoch` bags.
        fold: Which fold is held back, or "each" for one training after another.
        order: Order of the tiles, by their places; the model keeps it.
        standardise: Bring every feature to mean 0, deviation 1 over the fold's training tiles.
        sampling: "uniform" shows every bag once before any twice; "balanced" draws the classes
            (or bin and censorship of survival) alike.
        shuffle_tiles: Shuffle the tiles of a bag anew each time it is shown in training.
        instances: Tiles of a training bag at most, drawn anew each time, their order kept.
        shuffle_labels: Give training bags each other's labels: what is learned then is a leak.
        batch_size: Bags a step.
        bags_per_epoch: Bags an epoch; None shows each training bag once.
        seed: Of everything random.
        run: Name of the run; None is the name of the network's file.
        init: Weights to start from: a model folder, .safetensors or checkpoint.
        variant: What the network is called in the default name of the run.
        checkpoint: Weights that test the fold: the last, or those that validated best.
    """

    network: Mapping[str, Any]
    objective: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    fold: int | Literal["each"] = "each"
    order: Literal["file", "row", "column", "hilbert"] = "file"
    standardise: bool = False
    sampling: Literal["uniform", "balanced"] = "uniform"
    shuffle_tiles: bool = False
    instances: int | None = None
    shuffle_labels: bool = False
    batch_size: int = 1
    bags_per_epoch: int | None = None
    seed: int = 0
    run: str | None = None
    init: str | None = None
    variant: str | None = None
    checkpoint: Literal["final", "best"] = "final"

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("seed", 0), ("instances", 1),
                            ("bags_per_epoch", 1)):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name}={value}: expected {least} or more.")
        if self.objective.name == "cox" and self.batch_size < 2:
            raise UsageError(
                f"batch_size={self.batch_size}: objective.name=cox compares patients within a "
                "batch; one alone has a loss of 0. Take batch_size=32 or more."
            )

    @property
    def run_name(self) -> str:
        """The model folder's name."""
        return self.run or self.variant or str(self.network["name"])
