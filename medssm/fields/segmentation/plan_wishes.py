"""What a user may say about plans for stock nnU-Net, each word read by nnU-Net or our trainer."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medssm.core.errors import UsageError, nearest
from medssm.core.signature import make
from medssm.fields.segmentation.nnunet.recipe import Recipe
from medssm.fields.segmentation.plan import PlanConfig
from medssm.runs.compose import chosen_file, compose
from medssm.training.config import TrainerConfig
from medssm.training.optimizers import OptimizerConfig
from medssm.training.schedules import ScheduleConfig

# the words that something reads: the plans, or our trainer inside of nnU-Net
_GROUPS = ("network", "mixer", "budget", "optimizer", "schedule")
_TRAINER = ("max_epochs", "steps_per_epoch", "clip_norm", "max_bad_steps", "threads", "precision")
_PLANNER = ("memory_gb", "max_voxels_2d", "max_voxels_3d")
_OWN = ("plans_name", "batch_size", "configurations")
# stands in while sizes are not asked for; nnU-Net fills them in
_FACTS = {"spatial_dims": 3, "num_channels": 1, "num_outputs": 2}
_NAME = re.compile(r"^[A-Za-z0-9]+(?:[._-]?[A-Za-z0-9])*$")


@dataclass(frozen=True)
class Wishes:
    """What a user said.

    Args:
        network: Name and arguments; None takes the network that our plan was made for.
        plans_name: Name of the new plans; None takes the network's.
        configurations: Which to take over; None takes all.
        batch_size: Patches of a step; None takes the plan's, less where memory asks for it.
        limits: Memory and largest patch; None takes those of our plan, or nnU-Net's 8 GB.
        trainer: The number format, and with optimiser and schedule what our trainer reads.
        optimizer: The same.
        schedule: The same.
    """

    network: Mapping[str, Any] | None = None
    plans_name: str | None = None
    configurations: tuple[str, ...] | None = None
    batch_size: int | None = None
    limits: PlanConfig | None = None
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"batch_size={self.batch_size}: expected 1 or more.")
        if self.plans_name is not None and not _NAME.match(self.plans_name):
            raise UsageError(
                f"plans_name={self.plans_name!r}: expected letters and digits, joined by single "
                "'_', '-' or '.', since nnU-Net splits names at '__'."
            )

    @property
    def recipe(self) -> Recipe:
        """What our trainer reads."""
        return Recipe(
            self.optimizer, self.schedule, self.trainer.max_epochs, self.trainer.steps_per_epoch,
            self.trainer.clip_norm, self.trainer.max_bad_steps, self.trainer.threads,
        )  # fmt: skip


def read_wishes(words: Sequence[str]) -> Wishes:
    """Read key=value words, defaults from the files of `conf/` that they choose.

    Raises:
        UsageError: A word that neither the plans nor our trainer reads.
    """
    for word in words:
        _check_word(word)
    keys = {word.partition("=")[0].lstrip("+~").partition("@")[0] for word in words}
    budget = () if "budget" in keys else ("budget=null",)
    content = compose("segmentation", [*budget, *words], _FACTS)
    planner = {k: v for k, v in (content.get("planner") or {}).items() if k in _PLANNER}
    trainer = {k: v for k, v in (content.get("trainer") or {}).items() if k in _TRAINER}
    named = any(key.partition(".")[0] in ("network", "mixer") for key in keys)
    wanted = {
        **{name: content[name] for name in _OWN if content.get(name) is not None},
        "network": content["network"] if named else None,
        "limits": make(PlanConfig, planner, "planner") if planner else None,
        "trainer": trainer,
        "optimizer": content.get("optimizer") or {},
        "schedule": content.get("schedule") or {},
    }
    if named and "plans_name" not in wanted:
        file = chosen_file("segmentation", [*budget, *words], "network")
        wanted["plans_name"] = f"{file or content['network']['name']}Plans"
    wishes: Wishes = make(Wishes, wanted, "export plans")
    return wishes


def _check_word(word: str) -> None:
    key = word.partition("=")[0].lstrip("+~").partition("@")[0]
    group, _, rest = key.partition(".")
    known = (
        key in _OWN
        or group in _GROUPS
        or (group == "trainer" and rest in _TRAINER)
        or (group == "planner" and rest in _PLANNER)
    )
    if not known:
        offered = [*_GROUPS, *_OWN, *(f"trainer.{each}" for each in _TRAINER)]
        offered += [f"planner.{each}" for each in _PLANNER]
        raise UsageError(f"{word!r}: nothing in nnU-Net reads it; {nearest(key, offered)}")
