"""The course of a run: what happens at each step and at the end of each epoch."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from medssm.core.log import detail, say, seconds_in_words, warn
from medssm.training.checkpoints import (
    BEST,
    LATEST,
    WEIGHTS_BEST,
    CheckpointFiles,
    link,
    write_weights,
)
from medssm.training.clock import Clock
from medssm.training.config import TrainerConfig
from medssm.training.ema import WeightAverage
from medssm.training.interruption import Interruption
from medssm.training.log_files import MetricsFile
from medssm.training.optimizers import set_rates
from medssm.training.order import STREAM_DROPOUT, words_of
from medssm.training.ranks import highest_of_ranks, mean_over_ranks
from medssm.training.schedules import learning_rate_share
from medssm.training.task import Task

_SPEAK_EVERY_S = 30.0
# weight of the past in the smoothed score that decides which weights are best (nnU-Net's)
_SCORE_MEMORY = 0.9
# why a run ends; of several processes' reasons the last named holds for all
_REASONS = ("", "patience", "steps", "time", "signal")


@dataclass
class State:
    """Counters of a run; everything here goes into the checkpoint.

    Args:
        step: Optimiser steps done.
        epoch: Epochs done.
        best: Highest smoothed score, and at which epoch.
        smooth: The smoothed score.
        highest: Highest score of a single validation.
        stale: Validations since then; a smoothed score would creep up on a plateau for long.
        progress: Share of the run that was done before the present step.
    """

    step: int = 0
    epoch: int = 0
    best: float = float("-inf")
    best_epoch: int = -1
    smooth: float | None = None
    highest: float = float("-inf")
    stale: int = 0
    progress: float = 0.0
    ended_by: str = ""
    saved_at: float = field(default_factory=time.monotonic)


class Course(Callback):
    """Sets rates, averages weights, validates, saves and stops.

    Args:
        config: The course as the user wished it.
        seed: Of everything random.
        folder: The fold's folder.
        clock: Counts steps and seconds.
        files: Writes checkpoints.
        facts: Plain data that every checkpoint carries (network, data hash, versions).
    """

    def __init__(
        self,
        config: TrainerConfig,
        seed: int,
        folder: Path,
        *,
        clock: Clock,
        files: CheckpointFiles,
        facts: dict[str, Any],
    ) -> None:
        super().__init__()
        self.config, self.seed, self.folder = config, seed, folder
        self.clock, self.files, self.facts = clock, files, facts
        self.state = State()
        self.metrics = MetricsFile(folder / "metrics.csv")
        self.stop = Interruption()
        self.average: WeightAverage | None = None
        self.resumed: dict[str, Any] | None = None
        self.is_first_process = True
        self._spoken = self._epoch_began = time.monotonic()
        self._steps_here = 0
        self._seconds_here = 0.0
        self._step_began = 0.0

    # -- the run ---------------------------------------------------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: Task) -> None:
        """Take signals after Lightning took them, and put a resumed run where it was."""
        self.stop.install()
        self.is_first_process = trainer.is_global_zero
        self.average = WeightAverage(pl_module.network, self.config.ema_decay)
        if self.resumed is not None:
            self._restore(trainer, pl_module, self.resumed)
        self.metrics.keep_until(self.state.epoch)
        self.clock.started = time.monotonic()
        self._epoch_began = self._spoken = time.monotonic()

    def _restore(self, trainer: Trainer, task: Task, checkpoint: dict[str, Any]) -> None:
        assert self.average is not None
        ranks = checkpoint.get("ranks", trainer.world_size)
        if ranks != trainer.world_size:
            warn(
                "begun on %d processes and resumed on %d: the batches from here on are not those "
                "of an uninterrupted run.", ranks, trainer.world_size,
            )  # fmt: skip
        trainer.optimizers[0].load_state_dict(checkpoint["optimizer"])
        if checkpoint.get("scaler"):
            trainer.precision_plugin.load_state_dict(checkpoint["scaler"])
        if checkpoint["ema"]["average"]:
            self.average.load_state_dict(checkpoint["ema"], task.device)
        task.load_counters(checkpoint["counters"])

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Task, batch: Any, batch_idx: int
    ) -> None:
        """Set the learning rate and the random state of a step."""
        del batch
        if batch_idx % self.config.accumulate == 0:
            self._step_began = time.monotonic()
            self._set_rate(trainer, pl_module)
            pl_module.frozen = self.config.frozen_in(self.state.epoch)
        # counted within the step: the batches of a resumed run are numbered anew
        part = batch_idx % self.config.accumulate
        words = words_of(self.seed, STREAM_DROPOUT, self.state.step, part, trainer.global_rank)
        torch.manual_seed(words[0])

    def _set_rate(self, trainer: Trainer, task: Task) -> None:
        learning = task.learning
        self.state.progress = trainer.strategy.broadcast(
            self.clock.progress(self.state.step, self.clock.elapsed_s)
        )
        share = learning_rate_share(learning.schedule, self.state.step, self.state.progress)
        set_rates(trainer.optimizers[0], learning.optimizer, share, self.state.progress)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Task, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After an optimiser step: average, count, and at an epoch's end look around."""
        del outputs, batch
        if (batch_idx + 1) % self.config.accumulate:
            return
        assert self.average is not None
        if not pl_module.step_was_bad:
            self.average.update()
        self.state.step += 1
        self._steps_here += 1
        self._seconds_here += time.monotonic() - self._step_began
        self._speak(trainer, pl_module)
        if self.state.step % self.config.steps_per_epoch == 0:
            self._end_epoch(trainer, pl_module)
        self._maybe_stop(trainer, pl_module)

    # -- at the end of an epoch ------------------------------------------------------------------

    def _end_epoch(self, trainer: Trainer, task: Task) -> None:
        assert self.average is not None
        epoch = self.state.epoch
        row: dict[str, Any] = {"epoch": epoch, "step": self.state.step}
        task.sums = mean_over_ranks(trainer, task.sums)
        row |= {f"train_{name}": round(value, 6) for name, value in task.take_means().items()}
        row["skipped_steps"] = task.bad_steps
        row["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        scores: dict[str, float] = {}
        if trainer.is_global_zero and (epoch + 1) % self.config.validate_every == 0:
            with self.average.in_place():
                scores = task.quick_validation()
        row |= {name: round(value, 5) for name, value in scores.items()}
        row["seconds"] = round(time.monotonic() - self._epoch_began, 2)
        self.state.epoch += 1
        self._epoch_began = time.monotonic()
        improved = self._judge(scores.get(task.monitor)) if trainer.is_global_zero else False
        if trainer.is_global_zero:
            self._write(trainer, row, improved)
        if self._should_save():
            self.save(trainer, task, improved)

    def _judge(self, score: float | None) -> bool:
        if score is None:
            return False
        state = self.state
        past = score if state.smooth is None else state.smooth
        state.smooth = _SCORE_MEMORY * past + (1 - _SCORE_MEMORY) * score
        state.stale = 0 if score > state.highest else state.stale + 1
        state.highest = max(state.highest, score)
        if state.smooth > state.best:
            state.best, state.best_epoch = state.smooth, state.epoch
            return True
        return False

    def _write(self, trainer: Trainer, row: dict[str, Any], improved: bool) -> None:
        self.metrics.add(row)
        self.metrics.draw(self.folder / "curves.png", at_once=bool(self._reason()))
        for logger in trainer.loggers:
            logger.log_metrics(
                {key: value for key, value in row.items() if key != "epoch"}, step=self.state.step
            )
        numbers = ", ".join(f"{k} {v:.4g}" for k, v in row.items() if k not in ("epoch", "step"))
        detail("epoch %d: %s%s", row["epoch"], numbers, " (best so far)" if improved else "")

    def _should_save(self) -> bool:
        if time.monotonic() - self.state.saved_at < self.config.save_every_s:
            return False
        self.state.saved_at = time.monotonic()
        return True

    # -- saving ----------------------------------------------------------------------------------

    def checkpoint(self, trainer: Trainer, task: Task) -> dict[str, Any]:
        """Everything that a resumed run needs, as plain data."""
        assert self.average is not None
        state = {key: value for key, value in vars(self.state).items() if key != "saved_at"}
        return {
            **self.facts,
            "network_weights": task.network.state_dict(),
            "ema": self.average.state_dict(),
            "optimizer": trainer.optimizers[0].state_dict(),
            "scaler": trainer.precision_plugin.state_dict(),
            "counters": task.counters(),
            "state": state,
            "elapsed_s": self.clock.elapsed_s,
            "seed": self.seed,
            "ranks": trainer.world_size,
        }

    def save(self, trainer: Trainer, task: Task, improved: bool = False) -> None:
        """Write the latest checkpoint, and give it its second name where it is the best."""
        if not trainer.is_global_zero:
            return
        assert self.average is not None
        self.files.save_checkpoint(self.checkpoint(trainer, task), self.folder / LATEST)
        if improved:
            link(self.folder / LATEST, self.folder / BEST)
            write_weights(self.folder / WEIGHTS_BEST, self.average.weights())

    # -- stopping and speaking -------------------------------------------------------------------

    def _maybe_stop(self, trainer: Trainer, task: Task) -> None:
        # a signal may reach any of the processes
        reason = _REASONS[highest_of_ranks(trainer, _REASONS.index(self._reason()))]
        if not reason:
            return
        if reason == "patience" and trainer.is_global_zero and not trainer.should_stop:
            say("Stopping early at step %d: %d validation(s) without progress.",
                self.state.step, self.state.stale)  # fmt: skip
        self.state.ended_by = reason
        if reason == "signal":
            task.sums = mean_over_ranks(trainer, task.sums)
            self.save(trainer, task)
        trainer.should_stop = True

    def _reason(self) -> str:
        patience = self.config.patience
        if self.stop.requested:
            return "signal"
        if self.clock.training_s is not None and self.clock.elapsed_s >= self.clock.training_s:
            return "time"
        if self.state.step >= self.clock.planned_steps:
            return "steps"
        if patience is not None and self.state.stale >= patience:
            return "patience"
        return ""

    def _speak(self, trainer: Trainer, task: Task) -> None:
        first = self._steps_here in (3, 20)
        if not trainer.is_global_zero or task.batches_summed == 0:
            return
        if not first and time.monotonic() - self._spoken < _SPEAK_EVERY_S:
            return
        self._spoken = time.monotonic()
        step_s = self._seconds_here / self._steps_here
        left = self.clock.left_s(self.clock.planned_steps - self.state.step, step_s)
        loss = float(task.sums["loss"]) / task.batches_summed
        dice = self.metrics.rows[-1].get("dice") if self.metrics.rows else None
        say(
            "train  step %d  epoch %d  loss %.3f%s  %.2f s a step  %s gone, %s left",
            self.state.step, self.state.epoch, loss,
            f"  dice {float(dice):.3f}" if dice not in (None, "") else "",
            step_s, seconds_in_words(self.clock.elapsed_s), seconds_in_words(left),
        )  # fmt: skip


def restored_state(checkpoint: dict[str, Any]) -> State:
    """The counters of a checkpoint."""
    return State(**checkpoint["state"])
