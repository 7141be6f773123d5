"""The learning rate as a function of how far the run has come."""

import math
from dataclasses import dataclass
from typing import Literal

from medssm.core.errors import UsageError


@dataclass(frozen=True)
class ScheduleConfig:
    """The shape of the learning rate over a run.

    Args:
        name: ``poly`` is (1 - progress) ** power, ``cosine`` half a cosine, ``constant`` neither.
        power: Exponent of poly.
        warmup_steps: Steps over which the rate climbs from near zero.
        floor: Least share of the top rate.
        hold: Share of the run at the full rate before the fall begins.
        cycles: Periods of the cosine over the run; one half ends it at the floor.
    """

    name: Literal["poly", "cosine", "constant"] = "poly"
    power: float = 0.9
    warmup_steps: int = 0
    floor: float = 0.0
    hold: float = 0.0
    cycles: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.hold < 1:
            raise UsageError(f"schedule.hold={self.hold}: expected 0 to below 1.")
        if not self.cycles > 0:
            raise UsageError(f"schedule.cycles={self.cycles}: expected above 0.")


def learning_rate_share(config: ScheduleConfig, step: int, progress: float) -> float:
    """What part of the top learning rate a step takes.

    Args:
        config: The schedule.
        step: Optimiser steps done before this one.
        progress: How far the run has come, 0 to 1.

    Returns:
        A factor from `floor` to 1.
    """
    fall = min(1.0, max(0.0, (progress - config.hold) / (1.0 - config.hold)))
    if config.name == "poly":
        share = (1.0 - fall) ** config.power
    elif config.name == "cosine":
        share = 0.5 * (1.0 + math.cos(2.0 * math.pi * config.cycles * fall))
    else:
        share = 1.0
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    return max(config.floor, share) * warm
