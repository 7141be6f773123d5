"""Train: from a store of volumes to a pre-trained encoder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medssm.core.errors import BadDataError
from medssm.core.files import digest, read_json, write_json
from medssm.core.log import say
from medssm.data.volume_store import VolumeStore
from medssm.fields.pretraining.model_folder import (
    FOLD,
    plain,
    write_config,
    write_encoder,
    write_model,
)
from medssm.fields.pretraining.samples import CropSamples, grid_of, held_back_crops
from medssm.fields.pretraining.store import open_store
from medssm.fields.pretraining.task import PretrainingTask
from medssm.fields.pretraining.train_config import TrainConfig
from medssm.networks import PRETRAINING_NETWORKS
from medssm.runs.manifest_of_run import write_manifest
from medssm.runs.workspace import Workspace
from medssm.training.devices import settle
from medssm.training.engine import Run, fit, refuse_other_settings
from medssm.training.order import words_of
from medssm.training.task import Learning
from medssm.training.warm_start import load_initial_weights

__all__ = ["TrainConfig", "train"]

VALIDATION = "validation.json"


def train(config: TrainConfig, workspace: Workspace, asked: Sequence[str] = ()) -> Path:
    """Pre-train an encoder, or go on with it.

    Args:
        config: What to do.
        workspace: Where store and results lie.
        asked: The key=value words behind `config`, for the record of the run.

    Returns:
        The model folder.

    Raises:
        BadDataError: The store is missing or has nothing to learn from.
        InterruptedRunError: Stopped on request; the same command goes on.
        UsageError: The model folder holds a run of other settings, or the crop does not fit.
    """
    store = open_store(workspace)
    names = store.ids("train")
    if not names:
        raise BadDataError(f"{store.folder}: no volume of the split 'train' to learn from.")
    settle(config.trainer)
    network = build_network(config)
    grid = grid_of(config.crop, network.divisors)  # type: ignore[arg-type]
    model = workspace.model_folder(config.run_name)
    folder = model / FOLD
    facts = _facts(config, store)
    if config.trainer.resume:
        refuse_other_settings(folder, facts)
    write_model(config, workspace, store)
    write_config(folder, config)
    write_manifest(folder, workspace.dataset, asked, {"corpus": store.corpus_hash})
    if config.init is not None:
        say("%s", load_initial_weights(network, Path(config.init)))
    held_back = held_back_crops(store, store.ids("val"), config, grid)
    task = PretrainingTask(
        network,
        Learning(
            config.optimizer, config.schedule, config.trainer.clip_norm,
            config.trainer.max_bad_steps,
        ),
        grid, held_back, config.skip_constant, folder, config.pictures,
    )  # fmt: skip
    _tell(config, store, network, grid)
    samples = CropSamples(store, names, config, grid)
    outcome = fit(task, samples, config.trainer, Run(folder, config.seed, config.batch_size, facts))
    scores = task.quick_validation()
    seen = outcome.steps * config.batch_size * config.trainer.accumulate
    seconds = max(outcome.seconds, 1e-9)
    write_json(
        folder / VALIDATION,
        {
            "held_back_crops": len(held_back),
            **scores,
            "steps": outcome.steps,
            "seconds": round(outcome.seconds, 2),
            "crops_per_second": round(seen / seconds, 3),
        },
    )
    write_encoder(model, task.network, config)
    write_json(folder / "status.json", read_json(folder / "status.json") | {"state": "complete"})
    return model


def build_network(config: TrainConfig) -> nn.Module:
    """The network with the start values of the seed, whatever ran before in the process."""
    state = torch.random.get_rng_state()
    torch.manual_seed(words_of(config.seed)[0])
    try:
        network: nn.Module = PRETRAINING_NETWORKS.build(**config.network)
    finally:
        torch.random.set_rng_state(state)
    return network


def _tell(config: TrainConfig, store: VolumeStore, network: nn.Module, grid: Sequence[int]) -> None:
    sizes = {name: each.numel() for name, each in network.named_parameters()}
    encoder = sum(size for name, size in sizes.items() if name.startswith("encoder."))
    parameters = sum(sizes.values())
    say(
        "%s: %d volumes to learn from and %d held back; %.2f M parameters, %.2f M of them the "
        "encoder's; crop %s, %d cells, %.0f %% hidden, batch %d.", config.run_name,
        len(store.ids("train")), len(store.ids("val")), parameters / 1e6, encoder / 1e6,
        "x".join(map(str, config.crop)), torch.Size(grid).numel(), 100 * config.mask_ratio,
        config.batch_size,
    )  # fmt: skip


def _facts(config: TrainConfig, store: VolumeStore) -> dict[str, Any]:
    """What makes two runs the same run."""
    names = (
        "network", "optimizer", "schedule", "crop", "crops_per_volume", "mask_ratio", "flips",
        "window_hu", "skip_constant", "batch_size", "seed", "init",
    )  # fmt: skip
    told = {name: plain(getattr(config, name)) for name in names}
    return {**told, "ema_decay": config.trainer.ema_decay, "corpus": digest(store.corpus_hash)}
