"""YAML only chooses: it composes, fits the typed configurations and restates no default."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml

from medssm.core.resources import conf_folder
from medssm.core.signature import make, parameters_of
from medssm.fields.segmentation.plan import PlanConfig
from medssm.fields.segmentation.train import AugmentationConfig, TrainConfig
from medssm.layers.mixers import MIXERS
from medssm.losses import LOSSES
from medssm.networks import TABLES, table_of
from medssm.runs.compose import compose, groups
from medssm.training.config import TrainerConfig
from medssm.training.optimizers import OptimizerConfig
from medssm.training.schedules import ScheduleConfig

FACTS = {"spatial_dims": 3, "num_channels": 1, "num_outputs": 3}
FACTS |= {"num_leads": 12, "num_classes": 4, "length": 1000}
FILES = sorted(conf_folder().rglob("*.yaml"))
CHOICES = [(group, name) for group, names in groups().items() for name in names]
OTHER = {"plan", "planner", "preprocess", "budget", "experiment"}


def _schema(group: str, content: dict[str, Any]) -> Any:
    if group == "network":
        return table_of(content["name"]).load(content["name"])
    tables = {"mixer": MIXERS, "loss": LOSSES}
    if group in tables:
        return tables[group].load(content["name"])
    return {
        "optimizer": OptimizerConfig,
        "schedule": ScheduleConfig,
        "augmentation": AugmentationConfig,
    }.get(group)


def _restated(schema: Any, content: dict[str, Any]) -> list[str]:
    parameters = parameters_of(schema)
    return [
        key
        for key, value in content.items()
        if key != "name"
        and key in parameters
        and parameters[key].default is not inspect.Parameter.empty
        and parameters[key].default == value
    ]


def _field(group: str, name: str) -> str:
    """Whose primary file composes a choice: that of the field with the network."""
    if group != "network":
        return "segmentation"
    content = yaml.safe_load((conf_folder() / group / f"{name}.yaml").read_text())
    return next(field for field, table in TABLES.items() if content["name"] in table)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_files_are_short_and_name_no_callable(file: Path):
    text = file.read_text(encoding="utf-8")
    assert "_target_" not in text
    assert len(text.splitlines()) <= 30


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_choice_composes_and_fits_the_typed_configurations(group, name):
    if group == "mixer":
        assert name in MIXERS
        return
    if _field(group, name) != "segmentation":
        # the other fields hold their choices against their own configurations
        return
    content = compose("segmentation", [f"{group}={name}"], FACTS)
    make(PlanConfig, content.get("planner") or {}, "planner")
    if (group, name) != ("loss", "dice_bce"):
        make(TrainConfig, {k: v for k, v in content.items() if k not in OTHER}, "train")


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_no_choice_restates_a_default(group, name):
    content = yaml.safe_load((conf_folder() / group / f"{name}.yaml").read_text()) or {}
    schema = _schema(group, content)
    if schema is not None:
        assert _restated(schema, content) == []
    for key, part in (("planner", PlanConfig), ("trainer", TrainerConfig)):
        assert _restated(part, content.get(key) or {}) == []


@pytest.mark.parametrize("name", groups()["network"])
def test_every_network_file_builds(name):
    network = compose(_field("network", name), [f"network={name}"], FACTS)["network"]
    assert table_of(network["name"]).build(**network)
