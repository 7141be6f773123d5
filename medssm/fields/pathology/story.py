"""The story of a study of bags in calls: each stage makes sure that the one before it is done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import read_json
from medssm.core.log import say
from medssm.core.signature import make
from medssm.fields.pathology.plan import PlanConfig, find_files, inputs_digest, make_plan
from medssm.fields.pathology.plan_file import PLAN, Plan, read_plan, write_plan
from medssm.fields.pathology.store import (
    FEATURES,
    Inventory,
    read_inventory,
    take_inventory,
    write_inventory,
)
from medssm.fields.pathology.train import Trained, train
from medssm.fields.pathology.train_config import TrainConfig
from medssm.runs.compose import chosen_file, compose
from medssm.runs.datasets import source_of
from medssm.runs.field import StudyRequest
from medssm.runs.workspace import Workspace, open_workspace

# keys of the composition that are no field of TrainConfig
_OTHER_KEYS = frozenset({"plan", "planner", "preprocess", "experiment", "dataset"})
# stands in while the plan is not made; the plan and the features tell the sizes
_NO_PLAN = {"num_channels": 1, "num_outputs": 2}


@dataclass(frozen=True)
class Study:
    """A data set and what the user wished for it.

    Args:
        workspace: Where everything lies.
        overrides: key=value words.
        skip_bad: Leave out slides that fail.
        force: Do stages again that stand.
    """

    workspace: Workspace
    overrides: tuple[str, ...]
    skip_bad: bool = False
    force: bool = False


def open_study(request: StudyRequest) -> Study:
    """Find the data set.

    Raises:
        UsageError: There is none of that name.
    """
    workspace = open_workspace(request.dataset, request.home)
    return Study(workspace, tuple(request.overrides), request.skip_bad, request.force)


def ensure_plan(study: Study) -> Plan:
    """The plan, made now if it is missing or made from something else.

    Raises:
        BadDataError: The data set cannot be used as it is.
    """
    content = compose("pathology", study.overrides, _NO_PLAN)
    config = make(PlanConfig, _mapping(content, "planner"), "planner")
    about = read_json(study.workspace.raw_folder / "dataset.json")
    kind, labels = str(about.get("kind")), Path(str(about.get("labels")))
    if not labels.is_file():
        raise BadDataError(
            f"{labels}: the table of labels is not there. Import again with labels=FILE."
        )
    bags = about.get("bags")
    files = find_files(kind, Path(bags) if bags else source_of(study.workspace))
    file = study.workspace.preprocessed / PLAN
    if file.is_file() and not study.force:
        before = read_plan(file)
        if before.inputs == inputs_digest(config, labels, files):
            return before
        say("the plan is older than the data or its settings: made again.")
    plan = make_plan(config, kind, labels, files)
    write_plan(file, plan)
    return plan


def ensure_features(study: Study) -> tuple[Plan, Inventory, dict[str, str]]:
    """The plan and its features, made now from slides where that is to be done.

    Returns:
        Plan, inventory, and what failed with the reasons.

    Raises:
        BadDataError: A slide failed and was not to be left out.
    """
    plan = ensure_plan(study)
    file = study.workspace.preprocessed / FEATURES
    if plan.kind != "slides":
        files = {name: Path(each) for name, each in plan.files.items()}
        inventory = take_inventory(files, {})
        write_inventory(file, inventory)
        return plan, inventory, {}
    failed = _encode(study, plan)
    inventory = read_inventory(file)
    if failed and not study.skip_bad:
        shown = "; ".join(f"{name}: {why}" for name, why in list(failed.items())[:5])
        raise BadDataError(
            f"{len(failed)} of {len(plan.files)} slides failed ({shown}). The others are done; "
            "mend these, or go on without them with --skip-bad."
        )
    return plan, inventory, failed


def _encode(study: Study, plan: Plan) -> dict[str, str]:
    from medssm.fields.pathology.model_folder import plain
    from medssm.fields.pathology.preprocess import (
        PreprocessConfig,
        SlideInput,
        preprocess_slides,
        store_folder,
    )

    content = compose("pathology", study.overrides, _NO_PLAN)
    config = make(PreprocessConfig, _mapping(content, "preprocess"), "preprocess")
    folder = store_folder(study.workspace.preprocessed, config)
    slides = {name: SlideInput(Path(file), plan.mpp.get(name)) for name, file in plan.files.items()}
    report = preprocess_slides(config, slides, folder, study.force)
    made = {name: folder / f"{name}.h5" for name in slides if (folder / f"{name}.h5").is_file()}
    recipe = plain(config)
    inventory = take_inventory(made, recipe)
    write_inventory(study.workspace.preprocessed / FEATURES, inventory)
    return dict(report.failed)


def train_study(study: Study) -> Trained:
    """Plan, preprocess and train as far as it is not done."""
    # a slip in a key is answered before hours of encoding
    train_config(study.overrides, _NO_PLAN, None)
    plan, inventory, _ = ensure_features(study)
    outputs = len(plan.classes) if plan.task == "classification" else plan.bins
    facts = {"num_channels": inventory.width, "num_outputs": outputs}
    config = train_config(study.overrides, facts, plan)
    return train(config, plan, inventory, study.workspace, study.overrides)


def train_config(
    overrides: Sequence[str], facts: Mapping[str, Any], plan: Plan | None
) -> TrainConfig:
    """The typed configuration of a training.

    Raises:
        UsageError: A key or value that does not fit.
    """
    content = compose("pathology", overrides, facts)
    wanted = {key: value for key, value in content.items() if key not in _OTHER_KEYS}
    network = wanted.get("network")
    if not isinstance(network, Mapping) or "name" not in network:
        raise UsageError(
            f"network={network!r}: a study needs a network with a name. Take network=FILE; "
            "`medssm show bag_networks` lists them."
        )
    if "steps_per_epoch" in _mapping(content, "trainer"):
        raise UsageError(
            "trainer.steps_per_epoch follows from the bags here; set bags_per_epoch=N."
        )
    wanted["variant"] = wanted.get("variant") or _variant(overrides, network)
    config: TrainConfig = make(TrainConfig, wanted, "train")
    if plan is None or plan.task == "classification":
        return config
    network = {**network, "head": "survival"}
    if config.objective.name == "cox":
        network["out_channels"] = 1
    settled: TrainConfig = make(TrainConfig, {**wanted, "network": network}, "train")
    return settled


def _variant(overrides: Sequence[str], network: Mapping[str, Any]) -> str | None:
    """The file in conf/network that was chosen, unless its network was changed for another."""
    file = chosen_file("pathology", overrides, "network")
    if file is None:
        return None
    unchanged = compose("pathology", [f"network={file}"], _NO_PLAN)["network"]
    return file if unchanged["name"] == network["name"] else None


def _mapping(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key) or {}
    if not isinstance(value, Mapping):
        raise UsageError(f"{key}={value!r}: expected keys with values, e.g. {key}.seed=1.")
    return dict(value)
