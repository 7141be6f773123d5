"""The story of a pre-training in calls: each stage makes sure that the one before it is done."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medssm.core.errors import UsageError
from medssm.core.signature import make
from medssm.fields.pretraining.train_config import TrainConfig
from medssm.runs.compose import chosen_file, compose
from medssm.runs.field import StudyRequest

# keys of the composition that are no field of TrainConfig
_OTHER_KEYS = frozenset({"plan", "archive", "preprocess", "dataset", "home"})


def train_study(request: StudyRequest) -> Path:
    """Plan, preprocess and pre-train as far as it is not done; returns the model folder."""
    from medssm.fields.pretraining.archive import ensure_store
    from medssm.fields.pretraining.train import train

    # a slip in a key is answered before hours of preprocessing
    config = train_config(request.overrides)
    workspace = ensure_store(request)
    return train(config, workspace, request.overrides)


def train_config(overrides: Sequence[str]) -> TrainConfig:
    """The typed configuration of a pre-training.

    Raises:
        UsageError: A key or a value that does not fit.
    """
    facts = {"spatial_dims": _rank(overrides), "num_channels": 1, "num_outputs": 1}
    content = compose("pretraining", overrides, facts)
    network = content.get("network")
    if not isinstance(network, Mapping) or "name" not in network:
        raise UsageError(
            f"network={network!r}: a pre-training needs a network with a name. Take "
            "network=mamba_mim or network=mamba_mim_small."
        )
    wanted = {key: value for key, value in content.items() if key not in _OTHER_KEYS}
    wanted.setdefault("variant", chosen_file("pretraining", overrides, "network"))
    config: TrainConfig = make(TrainConfig, wanted, "train")
    return config


def _rank(overrides: Sequence[str]) -> int:
    """The axes of a crop, which are the network's."""
    crop: Any = compose("pretraining", overrides, {"spatial_dims": 3, "num_channels": 1}).get(
        "crop"
    )
    return len(crop) if isinstance(crop, list) else 3
