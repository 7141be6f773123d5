"""Train: from planned k-space (or from images and phantoms) to a model folder."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import digest, read_json, write_json
from medssm.core.log import say
from medssm.core.signature import make
from medssm.fields.reconstruction.model_folder import plain, write_config, write_model
from medssm.fields.reconstruction.neighbours import check_runs, looks_along_slices, run_of
from medssm.fields.reconstruction.plan_file import SPLITS, ReconPlan
from medssm.fields.reconstruction.preparation import Preparation
from medssm.fields.reconstruction.preprocess import copy_of
from medssm.fields.reconstruction.samples import (
    MeasuredSamples,
    SimulatedSamples,
    SlicePlace,
    Stream,
)
from medssm.fields.reconstruction.self_samples import SelfSupervisedSamples
from medssm.fields.reconstruction.simulation import sources_of
from medssm.fields.reconstruction.task import ReconstructionTask
from medssm.fields.reconstruction.train_config import TrainConfig
from medssm.losses.reconstruction import ReconstructionLoss
from medssm.networks import RECONSTRUCTION_NETWORKS
from medssm.runs.manifest_of_run import write_manifest
from medssm.runs.workspace import Workspace
from medssm.training.devices import settle
from medssm.training.engine import Run, fit, refuse_other_settings
from medssm.training.order import words_of
from medssm.training.task import Learning
from medssm.training.warm_start import load_initial_weights

Samples = SimulatedSamples | MeasuredSamples | SelfSupervisedSamples


@dataclass(frozen=True)
class Study:
    """What a training works on.

    Args:
        plan: The plan of the data set.
        workspace: Where everything lies.
        images: Reconstructions to simulate from, one file a case.
        asked: The key=value words behind the configuration.
    """

    plan: ReconPlan
    workspace: Workspace
    images: Sequence[Path] = ()
    asked: Sequence[str] = ()


def supervision_of(config: TrainConfig, plan: ReconPlan) -> str:
    """What the samples are judged by, once "auto" is settled."""
    return plan.supervision if config.supervision == "auto" else config.supervision


def train(config: TrainConfig, study: Study) -> Path:
    """Train one fold, or go on with it.

    Returns:
        The model folder.

    Raises:
        BadDataError: There is nothing to learn from.
        InterruptedRunError: Stopped on request; the same command goes on.
        UsageError: A wrong setting, or the folder holds a run of other ones.
    """
    supervision = supervision_of(config, study.plan)
    preparation = _preparation(config, study.plan, supervision)
    stream = Stream(config.sampling, preparation, config.seed)
    settle(config.trainer)
    network = _network(config, preparation.centred)
    along = looks_along_slices(network)
    samples, held_back = _samples(config, study, supervision, (stream, along))
    name = config.run_name(supervision)
    model, folder = (
        study.workspace.model_folder(name),
        study.workspace.fold_folder(name, config.fold),
    )
    facts = _facts(config, study, preparation, supervision)
    if config.trainer.resume:
        refuse_other_settings(folder, facts)
    resolved = replace(config, network={**config.network, "centred": preparation.centred})
    slices = config.batch_size if along else 1
    write_model(model, resolved, preparation, supervision, (study.workspace, slices))
    write_config(folder, config)
    inputs = {"plan": study.plan.made_of, "images": digest([each.name for each in study.images])}
    write_manifest(folder, study.workspace.dataset, study.asked, inputs)
    if config.init is not None:
        say("%s", load_initial_weights(network, Path(config.init)))
    task = ReconstructionTask(
        network,
        Learning(
            config.optimizer, config.schedule, config.trainer.clip_norm,
            config.trainer.max_bad_steps,
        ),
        make(ReconstructionLoss, config.loss or {}, "loss"),
        preparation.centred,
        held_back,
    )  # fmt: skip
    say(
        "%s: fold %d, %s slices, %d held back for the quick validation; %s with %.2f M parameters.",
        name, config.fold, supervision, len(held_back), config.network["name"],
        sum(each.numel() for each in network.parameters()) / 1e6,
    )  # fmt: skip
    fit(task, samples, config.trainer, Run(folder, config.seed, config.batch_size, facts))
    scores = task.quick_validation()
    write_json(folder / "validation.json", scores)
    if scores:
        say("held back: %s", ", ".join(f"{key} {each:.4g}" for key, each in scores.items()))
    write_json(folder / "status.json", read_json(folder / "status.json") | {"state": "complete"})
    return model


def _preparation(config: TrainConfig, plan: ReconPlan, supervision: str) -> Preparation:
    # a strip has fewer samples than a slice: only the percentile of the image is the same in both
    scaling = "image" if supervision == "simulated" else plan.normalisation
    centred = True if supervision == "simulated" else plan.centred
    return Preparation(centred=centred, sigma=config.sigma, scaling=scaling, maps=config.maps)


def _samples(
    config: TrainConfig, study: Study, supervision: str, how: tuple[Stream, bool]
) -> tuple[Samples, list[Any]]:
    """Samples to learn from and those of the quick validation."""
    stream, along = how
    runs = run_of if along and config.batch_size > 1 else None
    if runs is not None and supervision == "simulated":
        raise UsageError(
            f"batch_size={config.batch_size}: the unit looks along slices, and simulated strips "
            "have no neighbours. Take batch_size=1, or supervision=measured or self."
        )
    if supervision == "simulated":
        sources = sources_of([np.load(path, mmap_mode="r") for path in study.images])
        simulated = SimulatedSamples(sources, config.simulation, stream)
        return simulated, simulated.held_back(config.held_back)
    split = _split(study, config.fold, supervision)
    if supervision == "self":
        places = _places(study, split["train"])
        if runs is not None:
            check_runs(places, config.batch_size)
        own = SelfSupervisedSamples(places, config.split, stream, config.batch_size, runs)
        return own, own.held_back(config.held_back)
    places, validation = (_places(study, split[part]) for part in ("train", "val"))
    if runs is not None:
        check_runs([*places, *validation], config.batch_size)
    measured = MeasuredSamples(places, stream, config.batch_size, runs)
    if not validation:
        return measured, []
    judged = MeasuredSamples(validation, stream, config.batch_size, runs)
    return measured, judged.held_back(config.held_back)


def _split(study: Study, fold: int, supervision: str) -> dict[str, list[str]]:
    file = study.workspace.preprocessed / SPLITS
    splits = read_json(file)
    if not 0 <= fold < len(splits):
        raise UsageError(f"fold={fold}: {file} has folds 0 to {len(splits) - 1}.")
    cases = study.plan.cases
    if supervision == "self":
        # no truth is asked for, so undersampled cases may all be learned from
        return {"train": sorted(cases), "val": []}
    split = {
        part: [name for name in names if cases[name].sampling == "full"]
        for part, names in splits[fold].items()
    }
    if not split["train"]:
        raise BadDataError(
            f"{file}: fold {fold} has no fully sampled case to learn from. Take "
            "supervision=simulated (images and phantoms) or supervision=self (acquired samples)."
        )
    return split


def _places(study: Study, cases: Sequence[str]) -> list[SlicePlace]:
    found = []
    for name in cases:
        case = study.plan.cases[name]
        copy = copy_of(study.workspace, study.plan, name)
        slices, *shape = case.shape
        coils, height, width = shape
        found += [
            SlicePlace(Path(case.path), name, index, (coils, height, width), copy)
            for index in range(slices)
        ]
    return found


def _network(config: TrainConfig, centred: bool) -> nn.Module:
    # the weights of the first step belong to the seed, not to what ran before in the process
    state = torch.random.get_rng_state()
    torch.manual_seed(words_of(config.seed)[0])
    try:
        network: nn.Module = RECONSTRUCTION_NETWORKS.build(**{**config.network, "centred": centred})
    finally:
        torch.random.set_rng_state(state)
    return network


def _facts(
    config: TrainConfig, study: Study, preparation: Preparation, supervision: str
) -> dict[str, Any]:
    """What makes two runs the same run."""
    parts = ("network", "loss", "optimizer", "schedule", "sampling", "simulation", "split")
    prepared = plain(preparation)
    if prepared["maps"] == "centre":
        # runs from before there was a choice go on
        del prepared["maps"]
    return {
        **{name: plain(getattr(config, name)) for name in parts},
        "supervision": supervision,
        "preparation": prepared,
        "batch_size": config.batch_size,
        "seed": config.seed,
        "fold": config.fold,
        "init": config.init,
        "ema_decay": config.trainer.ema_decay,
        "plan": study.plan.made_of,
    }
