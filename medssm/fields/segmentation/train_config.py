"""What a user may say about a training, and the ranges of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medssm.core.errors import UsageError
from medssm.fields.segmentation.plan_file import Plan
from medssm.training.config import TrainerConfig
from medssm.training.optimizers import OptimizerConfig
from medssm.training.schedules import ScheduleConfig

_AUGMENTATIONS = ("nnunet", "isic", "transunet", "msvm", "none")


@dataclass(frozen=True)
class AugmentationConfig:
    """What happens to a patch before the network sees it.

    Args:
        name: nnU-Net's transforms, those of VM-UNet on ISIC, of TransUNet or of
            MSVM-UNet (planes only), or none.
        mirror: Whether nnU-Net's transforms mirror; prediction then mirrors as well.
        oversample: Share of a batch that is centred on foreground.
    """

    name: str = "nnunet"
    mirror: bool = True
    oversample: float = 0.33

    def __post_init__(self) -> None:
        if self.name not in _AUGMENTATIONS:
            raise UsageError(
                f"augmentation.name={self.name!r}: expected one of {', '.join(_AUGMENTATIONS)}."
            )
        if not 0 <= self.oversample <= 1:
            raise UsageError(f"augmentation.oversample={self.oversample}: expected 0 to 1.")


@dataclass(frozen=True)
class TrainConfig:
    """What a user may say about a training.

    Args:
        network: Name and arguments.
        loss: Name and arguments; None takes Dice with cross-entropy, binary for regions.
        optimizer: The optimiser.
        schedule: The learning rate over the run.
        augmentation: What happens to patches.
        trainer: The course.
        fold: Which fold is held back, or "all" for none.
        seed: Of everything random.
        run: Name of the run; None is VARIANT__PLANS__CONFIGURATION.
        init: Weights to start from: a model folder, .safetensors or checkpoint. A pre-training
            also gives its encoder's arguments to a network of the same name.
        scratch: Take the arguments that init gives, but start from the seed: the arm to compare
            with.
        batch_size: Patches a step; None takes the plan's.
        patch_size: Voxels of a patch; None takes the plan's.
        validate: Whether to predict the held-back cases at the end.
        variant: What the network is called in the default name of the run, e.g. its file in
            conf/network; None takes its name and its mixer.
    """

    network: Mapping[str, Any]
    loss: Mapping[str, Any] | None = None
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    fold: int | str = 0
    seed: int = 0
    run: str | None = None
    init: str | None = None
    scratch: bool = False
    batch_size: int | None = None
    patch_size: tuple[int, ...] | None = None
    validate: bool = True
    variant: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name}={value}: expected {least} or more.")
        if self.scratch and self.init is None:
            raise UsageError("scratch=true: say with init=PRETRAINED whose network to build.")
        if self.patch_size is not None and min(self.patch_size, default=0) < 1:
            raise UsageError(f"patch_size={list(self.patch_size)}: expected 1 or more each.")

    def run_name(self, plan: Plan) -> str:
        """The model folder's name."""
        mixer = (self.network.get("mixer") or {}).get("name")
        # a twin with another mixer is another model
        network = f"{self.network['name']}_{mixer}" if mixer else self.network["name"]
        network = f"{self.variant or network}{'__scratch' if self.scratch else ''}"
        return self.run or f"{network}__{plan.plans_name}__{plan.configuration}"
