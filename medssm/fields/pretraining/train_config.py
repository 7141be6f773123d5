"""What a user may say about a masked pre-training, and the ranges of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medssm.core.errors import UsageError
from medssm.training.config import TrainerConfig
from medssm.training.optimizers import OptimizerConfig
from medssm.training.schedules import ScheduleConfig


@dataclass(frozen=True)
class TrainConfig:
    """What a user may say about a masked pre-training.

    Args:
        network: Name and arguments.
        optimizer: The optimiser.
        schedule: The learning rate over the run.
        trainer: The course.
        crop: Voxels of a crop along (x, y, z); two numbers take planes along the third axis.
        crops_per_volume: Crops in a row of one volume before the next is opened.
        mask_ratio: Hidden share of the cells.
        flips: Chance of a flip along each axis.
        window_hu: What is mapped to 0..1 in CT; other volumes take their own percentiles.
        skip_constant: Leave constant cells out of the loss; the published code counts them.
        batch_size: Crops a step.
        held_back: Crops that each validation looks at, at most one a volume.
        pictures: Of how many of them each validation draws the reconstruction.
        seed: Of everything random.
        run: Name of the run; None takes the network's file in conf/.
        init: Weights to start from: a model folder, .safetensors or the authors' checkpoint.
        variant: What the network is called in the default name of the run.
    """

    network: Mapping[str, Any]
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    crop: tuple[int, ...] = (96, 96, 96)
    crops_per_volume: int = 4
    mask_ratio: float = 0.75
    flips: tuple[float, ...] = (0.2, 0.2, 0.1)
    window_hu: tuple[float, float] = (-175.0, 250.0)
    skip_constant: bool = True
    batch_size: int = 4
    held_back: int = 64
    pictures: int = 3
    seed: int = 0
    run: str | None = None
    init: str | None = None
    variant: str | None = None

    def __post_init__(self) -> None:
        _least(self)
        if len(self.crop) not in (2, 3) or min(self.crop) < 1:
            raise UsageError(f"crop={list(self.crop)}: expected two or three sizes in voxels.")
        if not 0 < self.mask_ratio < 1:
            raise UsageError(f"mask_ratio={self.mask_ratio}: expected above 0 and below 1.")
        if not all(0 <= chance <= 1 for chance in self.flips):
            raise UsageError(f"flips={list(self.flips)}: expected chances, 0 to 1.")
        if not self.window_hu[0] < self.window_hu[1]:
            raise UsageError(f"window_hu={list(self.window_hu)}: expected the lower end first.")

    @property
    def run_name(self) -> str:
        """The model folder's name."""
        return self.run or self.variant or str(self.network["name"])


def _least(config: TrainConfig) -> None:
    least = {"crops_per_volume": 1, "batch_size": 1, "held_back": 1, "pictures": 0, "seed": 0}
    for name, bound in least.items():
        value = getattr(config, name)
        if value < bound:
            raise UsageError(f"{name}={value}: expected {bound} or more.")
