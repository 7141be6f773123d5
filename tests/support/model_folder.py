"""A model folder that was never trained: a tiny network of random weights for every fold."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from medssm.fields.segmentation.model_folder import model_content, write_model
from medssm.fields.segmentation.plan_file import Plan
from medssm.networks import NETWORKS
from medssm.runs.workspace import Workspace


def tiny_network(plan: Plan) -> dict[str, Any]:
    """Name and arguments of a network that answers in milliseconds."""
    return {
        "name": "unet", "spatial_dims": plan.spatial_dims, "in_channels": plan.num_channels,
        "out_channels": plan.labels.num_outputs, "channels": [4, 8], "strides": [2],
        "residual_units": 0,
    }  # fmt: skip


def fold_network(plan: Plan, fold: int | str) -> nn.Module:
    """The network of a fold; each fold has weights of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(sum(map(ord, str(fold))))
        network: nn.Module = NETWORKS.build(**tiny_network(plan))
    return network.eval()


def make_model_folder(
    plan: Plan, workspace: Workspace, folds: tuple[int | str, ...] = (0, 1), run: str = "random"
) -> Path:
    """Write a model folder under the workspace's home."""
    folder = workspace.model_folder(run)
    write_model(folder, model_content(tiny_network(plan), plan, workspace, True), plan, workspace)
    for fold in folds:
        place = workspace.fold_folder(run, fold)
        place.mkdir(parents=True)
        save_file(fold_network(plan, fold).state_dict(), place / "weights.safetensors")
    return folder
