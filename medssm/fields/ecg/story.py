"""The story of a study in calls: each stage makes sure that the one before it is done."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medssm.core.errors import UsageError
from medssm.core.signature import make
from medssm.fields.ecg.train_config import TrainConfig
from medssm.runs.compose import chosen_file, compose
from medssm.runs.field import StudyRequest
from medssm.training.devices import chosen_accelerator

# keys of the composition that are no field of TrainConfig
_OTHER_KEYS = frozenset({"plan", "planner", "preprocess", "dataset"})
# stands in while the plan is not made
_NO_PLAN = {"num_leads": 12, "num_classes": 26, "length": 1000}


def train_study(request: StudyRequest) -> Path:
    """Plan, preprocess and train as far as it is not done; returns the model folder."""
    from medssm.fields.ecg.preprocess import ensure_preprocessed
    from medssm.fields.ecg.train import split_of, train

    # a slip in a key is answered before minutes of preprocessing
    first = train_config(request.overrides, _NO_PLAN)
    store, workspace = ensure_preprocessed(request)
    records = len(split_of(store, first.fold).train)
    config = train_config(request.overrides, store.plan.facts(), records)
    return train(config, store, workspace, request.overrides)


def train_config(
    overrides: Sequence[str], facts: Mapping[str, Any], records: int | None = None
) -> TrainConfig:
    """The typed configuration of a training.

    Args:
        overrides: key=value words.
        facts: What the plan says.
        records: How many an epoch shows, where the user does not say how many steps it has.

    Raises:
        UsageError: A key or a value that does not fit.
    """
    content = compose("ecg", overrides, facts)
    network = content.get("network")
    if not isinstance(network, Mapping) or "name" not in network:
        raise UsageError(
            f"network={network!r}: a study needs a network with a name. Take network=FILE, e.g. "
            "ecg_vim_tiny, ecg_vim_base, ecg_cnn or xresnet1d101."
        )
    wanted = {key: value for key, value in content.items() if key not in _OTHER_KEYS}
    wanted.setdefault("variant", _variant(overrides, network))
    trainer = dict(wanted.get("trainer") or {})
    if records is not None and "steps_per_epoch" not in trainer:
        size = wanted.get("batch_size", TrainConfig.batch_size)
        trainer["steps_per_epoch"] = max(1, -(-records // int(size)))
    config: TrainConfig = make(TrainConfig, wanted | {"trainer": trainer}, "train")
    return _for_this_machine(config, trainer)


def _for_this_machine(config: TrainConfig, asked: Mapping[str, Any]) -> TrainConfig:
    """On a CPU, what is faster for narrow signals: float32, and samples made between the steps."""
    if chosen_accelerator(config.trainer) != "cpu":
        return config
    wishes: dict[str, Any] = {"precision": "32-true", "workers": 0}
    wishes = {name: value for name, value in wishes.items() if name not in asked}
    return replace(config, trainer=replace(config.trainer, **wishes))


def _variant(overrides: Sequence[str], network: Mapping[str, Any]) -> str:
    """The file in conf/network that was chosen, and the mixer where that was changed."""
    file = chosen_file("ecg", overrides, "network")
    if file is None:
        return str(network["name"])
    unchanged = compose("ecg", [f"network={file}"], _NO_PLAN)["network"]
    mixer = (network.get("mixer") or {}).get("name")
    changed = mixer is not None and mixer != (unchanged.get("mixer") or {}).get("name")
    return f"{file}_{mixer}" if changed else file
