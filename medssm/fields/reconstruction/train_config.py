"""What a user may say about a training of reconstruction."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from medssm.core.errors import UsageError, nearest
from medssm.fields.reconstruction.preparation import MapsName
from medssm.fields.reconstruction.simulation import SimulationConfig
from medssm.mri.coils import GAUSSIAN_SIGMA
from medssm.mri.undersampling import MASKS
from medssm.training.config import TrainerConfig
from medssm.training.optimizers import OptimizerConfig
from medssm.training.schedules import ScheduleConfig

SupervisionName = Literal["auto", "measured", "simulated", "self"]


@dataclass(frozen=True)
class SamplingConfig:
    """Which masks are drawn for fully sampled slices.

    Args:
        masks: Names; one is drawn for every sample.
        accelerations: All samples over those taken; one is drawn, its centre fraction with it.
        center_fractions: Part of the columns (or of the area) that is fully sampled; from 1 on
            a number of columns.
        by_file: One mask a file for ever, drawn from the letters of its name as DIRECT does;
            else a new one for every sample of the training. Prediction always draws by file.
        file: A mask of one's own instead: .npy of booleans, (H, W) or (W,).
    """

    masks: tuple[str, ...] = ("equispaced_fraction",)
    accelerations: tuple[float, ...] = (4.0,)
    center_fractions: tuple[float, ...] = (0.08,)
    by_file: bool = False
    file: str | None = None

    def __post_init__(self) -> None:
        for name in self.masks:
            if name not in MASKS:
                raise UsageError(f"sampling.masks: there is no {name!r}; {nearest(name, MASKS)}")
        if not self.masks or not self.accelerations:
            raise UsageError("sampling: expected one mask and one acceleration, or more.")
        if min(self.accelerations) < 1 or min(self.center_fractions, default=-1.0) < 0:
            raise UsageError(
                f"sampling.accelerations={list(self.accelerations)}, center_fractions="
                f"{list(self.center_fractions)}: expected 1 or more, and 0 or more."
            )
        if len(self.center_fractions) not in (1, len(self.accelerations)):
            raise UsageError(
                f"sampling: {len(self.accelerations)} accelerations with "
                f"{len(self.center_fractions)} centre fractions; they go in pairs."
            )
        if self.file is not None and not Path(self.file).is_file():
            raise UsageError(f"sampling.file={self.file}: there is no such file.")

    @property
    def of_columns(self) -> bool:
        """Whether every mask takes whole columns."""
        single = {"gaussian2d", "poisson", "radial", "spiral"}
        return self.file is None and not single & set(self.masks)


@dataclass(frozen=True)
class SplitConfig:
    """How acquired samples are divided where the whole is not known (SSDU).

    Args:
        hidden: Share of the samples outside the centre that a step hides and is judged by.
        kind: "uniform" hides any, "gaussian" rather those near the middle, "half" all samples on
            one side of the middle line at a time.
        held_back: Share that no step sees, twice: the error on one draw stops the run, and chooses
            the weight in predict; that on the other is predict's figure (with the same seed).

    Source:
        Yaman et al., "Self-supervised learning of physics-guided reconstruction", 2020; that the
        centre always stays in the input is RECON section 9.
    """

    hidden: float = 0.3
    kind: Literal["uniform", "gaussian", "half"] = "uniform"
    held_back: float = 0.1

    def __post_init__(self) -> None:
        for name in ("hidden", "held_back"):
            if not 0 < getattr(self, name) < 1:
                raise UsageError(f"split.{name}={getattr(self, name)}: expected between 0 and 1.")


@dataclass(frozen=True)
class TrainConfig:
    """What a user may say about a training.

    Args:
        network: Name and arguments.
        loss: ``terms`` of measures and weights; the published L1 + (1 - SSIM) when not given.
        optimizer: The optimiser.
        schedule: The learning rate over the run.
        trainer: The course.
        sampling: Which masks are drawn.
        simulation: What simulated slices are like.
        split: How acquired samples are divided in self-supervision.
        supervision: "measured" learns from fully sampled slices, "simulated" from slices made of
            images and phantoms, "self" from the acquired samples of undersampled ones; "auto"
            takes what the plan says.
        sigma: Width of the Gaussian of the sensitivity estimate; None leaves it out.
        maps: Sensitivities as published ("centre") or ESPIRiT's; the model remembers.
        fold: Which fold is held back.
        seed: Of everything random.
        run: Name of the run.
        init: Weights to start from: a model folder, .safetensors or checkpoint.
        batch_size: Slices a step.
        held_back: Slices that the quick validation looks at.
    """

    network: Mapping[str, Any]
    loss: Mapping[str, Any] | None = None
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    supervision: SupervisionName = "auto"
    sigma: float | None = GAUSSIAN_SIGMA
    maps: MapsName = "centre"
    fold: int = 0
    seed: int = 0
    run: str | None = None
    init: str | None = None
    batch_size: int = 1
    held_back: int = 8

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("seed", 0), ("held_back", 0), ("fold", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name}={getattr(self, name)}: expected {least} or more.")

    def run_name(self, supervision: str) -> str:
        """The model folder's name."""
        unit = self.network.get("unit") or "convgru"
        unit = unit if isinstance(unit, str) else unit["name"]
        return self.run or f"{self.network['name']}_{unit}__{supervision}"
