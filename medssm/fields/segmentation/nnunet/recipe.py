"""Our optimiser and schedule as they travel in a plans file, for our trainer inside of nnU-Net."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch.optim import Optimizer

from medssm.core.signature import make
from medssm.fields.segmentation.model_folder import plain
from medssm.training.optimizers import OptimizerConfig, set_rates
from medssm.training.schedules import ScheduleConfig, learning_rate_share

# the key in nnU-Net's JSON; nnU-Net itself passes over it
RECIPE = "medssm_recipe"


@dataclass(frozen=True)
class Recipe:
    """What our trainer reads of a plans file.

    Args:
        optimizer: The optimiser.
        schedule: The learning rate over the run.
        max_epochs: Epochs; None keeps nnU-Net's 1000.
        steps_per_epoch: Steps of one; None keeps nnU-Net's 250.
        clip_norm: Largest gradient norm; 0 leaves gradients as they are.
        max_bad_steps: Steps with non-finite gradients in a row before the run is given up.
        threads: CPU threads; None takes the cores that the process may use.
    """

    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    max_epochs: int | None = None
    steps_per_epoch: int | None = None
    clip_norm: float = 12.0
    max_bad_steps: int = 20
    threads: int | None = None

    def plain(self) -> dict[str, Any]:
        """The recipe as JSON holds it."""
        return {name: plain(value) for name, value in vars(self).items()}


def recipe_of(plans: Mapping[str, Any]) -> Recipe:
    """The recipe of a plans file; the defaults where it holds none.

    Raises:
        UsageError: A value that does not fit.
    """
    recipe: Recipe = make(Recipe, plans.get(RECIPE) or {}, RECIPE)
    return recipe


class RateSchedule:
    """Learning rate and weight decay of every step, behind the ``step`` that nnU-Net calls.

    Args:
        optimizer: As `build_optimizer` made it.
        recipe: Optimiser and schedule.
        epochs: Of the run.
        steps: Of an epoch.
    """

    def __init__(self, optimizer: Optimizer, recipe: Recipe, epochs: int, steps: int) -> None:
        self.optimizer, self.recipe = optimizer, recipe
        self.epochs, self.steps, self.done = epochs, steps, 0

    def step(self, epoch: int) -> None:
        """Go to the beginning of an epoch."""
        self.done = epoch * self.steps
        self._set()

    def advance(self) -> None:
        """Set the numbers of the next step."""
        self._set()
        self.done += 1

    def _set(self) -> None:
        progress = self.done / (self.epochs * self.steps)
        share = learning_rate_share(self.recipe.schedule, self.done, progress)
        set_rates(self.optimizer, self.recipe.optimizer, share, progress)
