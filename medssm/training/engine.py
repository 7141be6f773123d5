"""One engine for every field: Lightning's loop over a stream of samples, resumed to the bit."""

import logging
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader, Dataset

from medssm.core.errors import BadDataError, InterruptedRunError, UsageError, nearest
from medssm.core.files import digest, remove_temporaries, write_json
from medssm.core.log import say, seconds_in_words
from medssm.training.checkpoints import FINAL, LATEST, WEIGHTS, CheckpointFiles, link, write_weights
from medssm.training.clock import Clock
from medssm.training.config import TrainerConfig
from medssm.training.course import Course, restored_state
from medssm.training.devices import chosen_accelerator, chosen_precision, settle
from medssm.training.ema import WeightAverage
from medssm.training.log_files import write_environment
from medssm.training.order import BatchOrder, Share, quiet_worker
from medssm.training.ranks import several
from medssm.training.requeue import requeue
from medssm.training.task import Task


@dataclass(frozen=True)
class Run:
    """Where a training happens and what makes it repeatable.

    Args:
        folder: The fold's folder.
        seed: Of everything random.
        batch_size: Samples of one device and step.
        facts: Plain data that identifies the run; a checkpoint of other facts is refused.
        reserve_s: What a time limit must keep for after the last step.
    """

    folder: Path
    seed: int
    batch_size: int
    facts: Mapping[str, Any]
    reserve_s: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """How a training ended; the task carries the averaged weights."""

    steps: int
    epochs: int
    seconds: float
    ended_by: str


def fit(task: Task, samples: Dataset[Any], config: TrainerConfig, run: Run) -> Outcome:
    """Train a task, from its last checkpoint if there is one.

    Args:
        task: Network, loss and validation.
        samples: Indexed by (epoch, index); a pure function of it.
        config: The course.
        run: Place, seed and batch.

    Returns:
        How it ended. The network then carries the averaged weights, if they were kept.

    Raises:
        InterruptedRunError: A signal asked to stop; the same command goes on from there.
        SystemExit: This is not the first process of a training on several devices; it is done.
        UsageError: The folder holds a run of other settings.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    remove_temporaries(run.folder)
    accelerator = chosen_accelerator(config)
    precision = chosen_precision(config, accelerator)
    settle(config)
    _check_frozen(task, config)
    course = _course(config, run)
    _resume(course, task, config, run)
    if course.state.ended_by in ("", "signal"):
        course.state.ended_by = ""
        say(
            "Training on %s, %s, %d threads; %s.", accelerator.upper(), precision,
            torch.get_num_threads(), _planned(config),
        )  # fmt: skip
        write_environment(run.folder / "environment.json")
        _loop(task, samples, config, run, course, (accelerator, precision))
    return _finish(task, course, run)


def _check_frozen(task: Task, config: TrainerConfig) -> None:
    names = [name for name, _ in task.network.named_parameters()]
    for beginning in config.freeze:
        if not any(name.startswith(beginning) for name in names):
            parts = sorted({name.partition(".")[0] for name in names})
            raise UsageError(
                f"trainer.freeze={beginning!r}: no parameter of the network begins so; "
                f"{nearest(beginning, parts)}"
            )


def _course(config: TrainerConfig, run: Run) -> Course:
    clock = Clock(
        planned_steps=config.max_epochs * config.steps_per_epoch,
        max_time_s=config.max_time_s,
        reserve_s=run.reserve_s,
    )
    facts = dict(run.facts) | {"facts_hash": digest(run.facts)}
    return Course(
        config, run.seed, run.folder, clock=clock, files=CheckpointFiles(run.folder), facts=facts
    )


def refuse_other_settings(folder: Path, facts: Mapping[str, Any]) -> None:
    """Keep the folder of a run to one run.

    Raises:
        UsageError: The folder holds a run of other settings.
    """
    checkpoint = CheckpointFiles(folder).last()
    if checkpoint is not None and checkpoint.get("facts_hash") != digest(facts):
        raise UsageError(
            f"{folder}: holds a run of other settings (network, data, loss, optimiser or "
            "seed). Go on with those, give this run its own name with run=NAME, or start over "
            "with trainer.resume=false."
        )


def _resume(course: Course, task: Task, config: TrainerConfig, run: Run) -> None:
    checkpoint = course.files.last() if config.resume else None
    if checkpoint is None:
        return
    refuse_other_settings(run.folder, run.facts)
    try:
        task.network.load_state_dict(checkpoint["network_weights"])
        course.state = restored_state(checkpoint)
        course.clock.before_s = float(checkpoint["elapsed_s"])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise BadDataError(
            f"{run.folder}: its checkpoint does not fit this run "
            f"({type(error).__name__}: {str(error).splitlines()[0]}). Expected the one that this "
            "run wrote; put it back, or start over with trainer.resume=false."
        ) from error
    course.resumed = checkpoint
    say("Resuming at step %d, epoch %d.", course.state.step, course.state.epoch)


def _loop(
    task: Task,
    samples: Dataset[Any],
    config: TrainerConfig,
    run: Run,
    course: Course,
    device: tuple[str, str],
) -> None:
    accelerator, precision = device
    # what Lightning says of devices and itself is said by this engine already
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings(), course.stop:
        # Lightning's advice on workers, steps and loggers is answered by this engine
        warnings.filterwarnings("ignore", module=r"lightning(\.|$)")
        # torch's hint on the layout of small gradients between processes
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view")
        trainer = Trainer(
            accelerator=accelerator,
            devices=config.devices,
            strategy=config.strategy,
            precision=precision,
            max_epochs=1,
            accumulate_grad_batches=config.accumulate,
            callbacks=[course],
            logger=TensorBoardLogger(run.folder, name="", version="tensorboard"),
            default_root_dir=run.folder,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            limit_val_batches=0,
            use_distributed_sampler=False,
            log_every_n_steps=config.steps_per_epoch,
            deterministic=True if config.deterministic else None,
        )
        loader = _loader(samples, config, run, course, trainer)
        if config.channels_last:
            dims = 4 if _is_2d(task) else 5
            task.network.to(memory_format=_FORMATS[dims])
        with several(trainer):
            trainer.fit(task, train_dataloaders=loader)


_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def _is_2d(task: Task) -> bool:
    weights = [p for p in task.network.parameters() if p.ndim in _FORMATS]
    return bool(weights) and weights[0].ndim == 4


def _loader(
    samples: Dataset[Any], config: TrainerConfig, run: Run, course: Course, trainer: Trainer
) -> DataLoader[Any]:
    order = BatchOrder(
        run.batch_size,
        config.steps_per_epoch * config.accumulate,
        config.max_epochs,
        start=course.state.step * config.accumulate,
        share=Share(trainer.global_rank, trainer.world_size),
    )
    workers = config.workers
    if workers is None:
        workers = 1 if trainer.accelerator.__class__.__name__.startswith("CPU") else 6
    return DataLoader(
        samples,
        batch_sampler=order,
        num_workers=workers,
        worker_init_fn=quiet_worker,
        pin_memory=trainer.accelerator.__class__.__name__.startswith("CUDA"),
        prefetch_factor=8 if workers else None,
        # samples of different sizes say themselves how they make a batch
        collate_fn=getattr(samples, "collate", None),
    )


def _finish(task: Task, course: Course, run: Run) -> Outcome:
    state = course.state
    if not course.is_first_process:
        # started for this fit alone, and done: what follows is for the first process
        raise SystemExit(0)
    if state.ended_by == "signal":
        write_status(run.folder, "interrupted", course)
        requeue(course.stop.received)
        raise InterruptedRunError(
            f"{run.folder}: stopped on request at step {state.step}, saved; the same command goes "
            "on from there."
        )
    if task.bad_steps:
        say("%d of %d steps were skipped: gradients not finite.", task.bad_steps, state.step)
    if course.average is None:
        # the run was complete before: its averaged weights are in the checkpoint
        course.average = WeightAverage(task.network, course.config.ema_decay)
        if course.resumed and course.resumed["ema"]["average"]:
            course.average.load_state_dict(course.resumed["ema"], torch.device("cpu"))
    if course.resumed is None or course.resumed["state"]["step"] != state.step:
        _save_last(course, task)
    write_weights(run.folder / WEIGHTS, course.average.weights())
    write_status(run.folder, "trained", course)
    task.network.load_state_dict(dict(course.average.weights()))
    return Outcome(state.step, state.epoch, course.clock.elapsed_s, state.ended_by)


def _save_last(course: Course, task: Task) -> None:
    trainer = task.trainer
    course.save(trainer, task)
    link(course.folder / LATEST, course.folder / FINAL)


def write_status(folder: Path, state: str, course: Course) -> None:
    """Say in status.json how far a run is."""
    write_json(
        folder / "status.json",
        {
            "state": state,
            "step": course.state.step,
            "epoch": course.state.epoch,
            "ended_by": course.state.ended_by,
            "seconds": round(course.clock.elapsed_s, 1),
            "time": time.strftime("%Y-%m-%dT%H:%M:%S"),
        },
    )


def _planned(config: TrainerConfig) -> str:
    steps = config.max_epochs * config.steps_per_epoch
    words = f"{config.max_epochs} epochs of {config.steps_per_epoch} steps ({steps} in all)"
    if config.max_time_s is None:
        return words
    return f"{seconds_in_words(config.max_time_s)} at most, or {words}"
