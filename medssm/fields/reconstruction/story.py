"""The story of a study in calls: each stage makes sure that the one before it is done."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medssm.core.errors import UsageError
from medssm.core.signature import make
from medssm.fields.reconstruction.plan import ensure_plan
from medssm.fields.reconstruction.train_config import TrainConfig
from medssm.runs.compose import compose
from medssm.runs.field import StudyRequest

# keys of the composition that are no field of TrainConfig
_OTHER_KEYS = frozenset({"plan", "planner", "preprocess", "dataset", "home"})


def train_config(overrides: Sequence[str], facts: Mapping[str, Any] | None = None) -> TrainConfig:
    """The typed configuration of a training.

    Raises:
        UsageError: A key or value that does not fit.
    """
    content = compose("reconstruction", overrides, facts or {})
    network = content.get("network")
    if not isinstance(network, Mapping) or "name" not in network:
        raise UsageError(f"network={network!r}: expected a network with a name.")
    wanted = {key: value for key, value in content.items() if key not in _OTHER_KEYS}
    for group in ("loss",):
        if wanted.get(group) == {}:
            del wanted[group]
    made: TrainConfig = make(TrainConfig, wanted, "train")
    return made


def train_study(request: StudyRequest) -> Path:
    """Plan, preprocess where it is needed, and train; returns the model folder."""
    # a slip in a key is answered before minutes of preprocessing
    train_config(request.overrides)
    workspace, plan = ensure_plan(request)
    config = train_config(request.overrides)
    from medssm.fields.reconstruction.train import Study, supervision_of, train

    images: list[Path] = []
    if supervision_of(config, plan) == "simulated" and config.simulation.phantoms < 1:
        from medssm.fields.reconstruction.preprocess import ensure_images

        images = ensure_images(workspace, plan, request)
    return train(config, Study(plan, workspace, images, request.overrides))
