"""What a user may say about the training of a network on electrocardiograms."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medssm.core.errors import UsageError
from medssm.fields.ecg.calibration import CalibrationConfig
from medssm.losses.multilabel import MultilabelConfig
from medssm.training.config import TrainerConfig
from medssm.training.optimizers import OptimizerConfig
from medssm.training.schedules import ScheduleConfig


@dataclass(frozen=True)
class AugmentConfig:
    """What happens to a window before the network sees it in training.

    Nothing turns time round, swaps leads or turns them over: each would change the diagnosis. The
    defaults are strong: milder ones (a tenth of gain, no mask, no stretch) learn the synthetic
    records as well, and carry the rates over to real ones less well.

    Args:
        gain: Largest change of a lead's size, as a share.
        lead_dropout: Chance that a lead is taken away.
        lead_sets: Chance that all leads outside of a reduced set (6, 4, 3, 2) are taken away.
        wander_mv: Largest size of a wander of the baseline.
        mains_mv: Largest size of 50 or 60 Hz.
        noise_mv: Largest deviation of white noise.
        mask_s: Longest stretch of time set to zero.
        stretch: Largest change of speed, as a share; above 5 % rates would leave their class.
        mixup: Parameter of the beta distribution that mixes two records; 0 mixes none.
        mixed: Share of the records that are mixed.
    """

    gain: float = 0.4
    lead_dropout: float = 0.1
    lead_sets: float = 0.0
    wander_mv: float = 0.2
    mains_mv: float = 0.03
    noise_mv: float = 0.05
    mask_s: float = 1.0
    stretch: float = 0.04
    mixup: float = 0.0
    mixed: float = 0.5

    def __post_init__(self) -> None:
        for name, least, most in _RANGES:
            value = getattr(self, name)
            if not least <= value <= most:
                raise UsageError(f"augment.{name}={value}: expected {least:g} to {most:g}.")


_RANGES = (
    ("gain", 0, 0.9), ("lead_dropout", 0, 0.9), ("lead_sets", 0, 1), ("wander_mv", 0, 5),
    ("mains_mv", 0, 5), ("noise_mv", 0, 5), ("mask_s", 0, 60), ("stretch", 0, 0.05),
    ("mixup", 0, 10), ("mixed", 0, 1),
)  # fmt: skip


@dataclass(frozen=True)
class TrainConfig:
    """What a user may say about a training.

    Args:
        network: Name and arguments (`ECG_NETWORKS`).
        loss: Over the classes.
        optimizer: The optimiser.
        schedule: The learning rate over the run.
        augment: What happens to windows.
        trainer: The course; an epoch shows every record once unless steps_per_epoch says else.
        calibration: What happens after the last step.
        fold: Which of the plan's splits.
        seed: Of everything random.
        run: Name of the run; None is the name of the network's file.
        init: Weights to start from: a model folder, .safetensors or checkpoint.
        batch_size: Windows a step.
        variant: What the network is called in the default name of the run.
    """

    network: Mapping[str, Any]
    loss: MultilabelConfig = field(default_factory=MultilabelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    fold: int = 0
    seed: int = 0
    run: str | None = None
    init: str | None = None
    batch_size: int = 32
    variant: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 2), ("seed", 0), ("fold", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name}={getattr(self, name)}: expected {least} or more.")

    @property
    def run_name(self) -> str:
        """The model folder's name."""
        return self.run or self.variant or str(self.network["name"])
