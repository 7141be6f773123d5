"""What a user may say about the course of a training, independent of the field."""

import re
from dataclasses import dataclass
from typing import Literal

from medssm.core.errors import UsageError

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
_UNITS_S = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_LEAST = {
    "max_epochs": 1, "steps_per_epoch": 1, "accumulate": 1, "validate_every": 1, "devices": 1,
    "max_bad_steps": 1, "patience": 1, "threads": 1, "workers": 0, "save_every_s": 0,
    "clip_norm": 0, "freeze_epochs": 0,
}  # fmt: skip


@dataclass(frozen=True)
class TrainerConfig:
    """The course of a training.

    Args:
        max_epochs: Planned epochs; with `max_time` the earlier of both ends the run.
        steps_per_epoch: Optimiser steps an epoch.
        max_time: Wall clock of the whole run over all resumes, final validation included:
            ``DD:HH:MM:SS`` or ``28min``, ``1h30m``, ``90s``. The schedule anneals to its end.
        accelerator: Lightning's name of the device kind: auto, cpu, gpu, mps.
        devices: How many devices, or "auto" for all.
        strategy: Lightning's strategy, e.g. "auto" or "ddp".
        precision: "auto" takes bfloat16 where the GPU or the CPU computes in it, float16 on older
            GPUs, else float32.
        accumulate: Batches whose gradients are summed before one step.
        clip_norm: Largest gradient norm; 0 leaves gradients as they are.
        freeze: Beginnings of parameter names, such as "encoder.", that keep their values at first.
        freeze_epochs: For how many epochs.
        ema_decay: Decay of the averaged weights; 0 turns the average off.
        patience: Validations in a row below the best one before an early stop; None never stops.
        workers: Processes that cut and augment patches; None decides by the device.
        validate_every: Epochs between two quick validations.
        save_every_s: Least seconds between two checkpoints at the end of epochs.
        max_bad_steps: Steps with non-finite gradients in a row before the run is given up.
        deterministic: Bit-equal repetition; None means yes on CPU, no elsewhere.
        threads: CPU threads of the arithmetic; None leaves torch's choice.
        channels_last: Memory layout of the network's activations.
        resume: Continue from the last checkpoint of the run, if there is one.
    """

    max_epochs: int = 100
    steps_per_epoch: int = 250
    max_time: str | None = None
    accelerator: str = "auto"
    devices: int | Literal["auto"] = 1
    strategy: str = "auto"
    precision: Precision = "auto"
    accumulate: int = 1
    clip_norm: float = 12.0
    freeze: tuple[str, ...] = ()
    freeze_epochs: int = 10
    ema_decay: float = 0.0
    patience: int | None = None
    workers: int | None = None
    validate_every: int = 1
    save_every_s: float = 0.0
    max_bad_steps: int = 20
    deterministic: bool | None = None
    threads: int | None = None
    channels_last: bool = False
    resume: bool = True

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if isinstance(value, (int, float)) and not value >= least:
                raise UsageError(f"trainer.{name}={value}: expected {least} or more.")
        if not 0 <= self.ema_decay < 1:
            raise UsageError(f"trainer.ema_decay={self.ema_decay}: expected 0 to below 1.")
        if self.max_time is not None:
            seconds_of(self.max_time)

    def frozen_in(self, epoch: int) -> tuple[str, ...]:
        """Beginnings of the names of the parameters that keep their values in an epoch."""
        return self.freeze if epoch < self.freeze_epochs else ()

    @property
    def max_time_s(self) -> float | None:
        """The time limit in seconds."""
        return None if self.max_time is None else seconds_of(self.max_time)


def seconds_of(duration: str) -> float:
    """Read a duration.

    Args:
        duration: ``DD:HH:MM:SS``, ``HH:MM:SS``, ``MM:SS`` or numbers with units as in ``1h30m``.

    Returns:
        Seconds, above zero.

    Raises:
        UsageError: It is neither.
    """
    text = duration.strip().lower()
    if re.fullmatch(r"\d+(:\d+){1,3}", text):
        parts = [int(part) for part in text.split(":")][::-1]
        seconds = float(sum(n * unit for n, unit in zip(parts, (1, 60, 3600, 86400), strict=False)))
    else:
        pieces = re.findall(r"(\d+(?:\.\d+)?)\s*(sec|min|s|m|h|d)", text)
        if not pieces or "".join(a + b for a, b in pieces) != re.sub(r"\s", "", text):
            raise UsageError(
                f"trainer.max_time={duration!r} is no duration; write 00:00:28:00 "
                "(days:hours:minutes:seconds), 28min, 1h30m or 90s."
            )
        seconds = sum(float(number) * _UNITS_S[unit] for number, unit in pieces)
    if seconds <= 0:
        raise UsageError(f"trainer.max_time={duration!r}: expected more than zero seconds.")
    return seconds
