"""How far a run has come, by its steps or, under a time limit, by the clock."""

import time
from dataclasses import dataclass, field


@dataclass
class Clock:
    """Counts the seconds of a run over all its resumes.

    Args:
        planned_steps: Optimiser steps of the whole run.
        max_time_s: Time limit of the whole run, or None.
        reserve_s: What the limit must still hold when the last step is done (validation, files).
        before_s: Seconds spent by earlier parts of the same run.
        started: Monotonic time at which this part began.
    """

    planned_steps: int
    max_time_s: float | None = None
    reserve_s: float = 0.0
    before_s: float = 0.0
    started: float = field(default_factory=time.monotonic)

    @property
    def elapsed_s(self) -> float:
        """Seconds of the run so far."""
        return self.before_s + time.monotonic() - self.started

    @property
    def training_s(self) -> float | None:
        """Seconds in which the last step must be done, or None without a limit."""
        if self.max_time_s is None:
            return None
        # a reserve that eats the limit would leave nothing to validate
        return max(0.3 * self.max_time_s, self.max_time_s - self.reserve_s)

    def progress(self, step: int, elapsed_s: float) -> float:
        """How far the run is before a step, 0 to 1; without a limit by steps alone."""
        share = step / self.planned_steps
        if self.training_s is not None:
            share = max(share, elapsed_s / self.training_s)
        return min(1.0, share)

    def left_s(self, steps_left: int, step_s: float) -> float:
        """Seconds until the run is done, final validation included."""
        by_steps = steps_left * step_s
        if self.training_s is not None:
            by_steps = min(by_steps, max(0.0, self.training_s - self.elapsed_s))
        return by_steps + self.reserve_s
