"""The story of a study in calls: each stage makes sure that the one before it is done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medssm.core.errors import BadDataError, UsageError
from medssm.core.signature import make
from medssm.data.manifest import Manifest, read_manifest
from medssm.fields.segmentation.plan import PlanConfig, plan
from medssm.fields.segmentation.plan_file import DEFAULT_PLANS, Plan, read_plan
from medssm.fields.segmentation.preprocess import PreprocessConfig, preprocess
from medssm.fields.segmentation.store import accept_store
from medssm.runs.budget import with_budget
from medssm.runs.compose import chosen_file, compose
from medssm.runs.workspace import Workspace, open_workspace
from medssm.training.pretrained import with_pretrained

# keys of the composition that are no field of TrainConfig
_OTHER_KEYS = frozenset({"plan", "planner", "preprocess", "budget", "experiment", "dataset"})
# stands in while the plan is not made; the planner fills in the sizes of the data
_NO_PLAN = {"spatial_dims": 3, "num_channels": 1, "num_outputs": 2}
_SIZES = ("spatial_dims", "in_channels", "out_channels")


@dataclass(frozen=True)
class Study:
    """A data set and what the user wished for it.

    Args:
        workspace: Where everything lies.
        overrides: key=value words, the budget among them.
        skip_bad: Leave out cases with errors.
        force: Do stages again that stand.
    """

    workspace: Workspace
    overrides: tuple[str, ...]
    skip_bad: bool = False
    force: bool = False


def open_study(
    dataset: str, home: Path, overrides: Sequence[str], skip_bad: bool = False, force: bool = False
) -> Study:
    """Find the data set (or import a plain folder) and choose the budget of this machine."""
    words, _ = with_budget(overrides)
    return Study(open_workspace(dataset, home), tuple(words), skip_bad, force)


def ensure_plan(study: Study) -> tuple[Plan, Manifest | None]:
    """The plan, made now if it is missing or older than what it depends on.

    Returns:
        The plan, and the data set where its raw images are at hand.
    """
    content = _composed(study.overrides, _NO_PLAN)
    config = make(PlanConfig, _mapping(content, "planner"), "planner")
    config = replace(config, skip_bad=study.skip_bad or config.skip_bad, force=study.force)
    workspace = study.workspace
    if not workspace.has_raw:
        return _stock_plan(workspace, config), None
    network = {key: value for key, value in content["network"].items() if key not in _SIZES}
    manifest = read_manifest(workspace.raw_folder)
    return plan(config, network, manifest, workspace), manifest


def _stock_plan(workspace: Workspace, config: PlanConfig) -> Plan:
    """A plan of a folder that somebody else preprocessed."""
    names = [config.plans_name, "nnUNetPlans", "nnUNetResEncUNetMPlans"]
    found = [name for name in names if workspace.plans_file(name).is_file()]
    others = sorted(path.stem for path in workspace.preprocessed.glob("*Plans*.json"))
    if not found and not others:
        raise BadDataError(f"{workspace.preprocessed}: holds no plans JSON.")
    return read_plan(workspace.plans_file((found or others)[0]), config.configuration)


def ensure_preprocessed(study: Study) -> Plan:
    """The plan, its store filled."""
    made, manifest = ensure_plan(study)
    if manifest is None or (made.plans_name != DEFAULT_PLANS and "medssm" not in made.plans):
        # a store that stock nnU-Net filled is used as it is, once it is seen to be whole
        accept_store(made, study.workspace)
        return made
    content = _composed(study.overrides, made.facts())
    config = make(PreprocessConfig, _mapping(content, "preprocess"), "preprocess")
    config = replace(config, skip_bad=study.skip_bad or config.skip_bad, force=study.force)
    preprocess(config, made, manifest, study.workspace)
    return made


def train_study(study: Study) -> Path:
    """Plan, preprocess and train as far as it is not done; returns the model folder."""
    from medssm.fields.segmentation.train import TrainConfig, train

    # a slip in a key is answered before minutes of preprocessing
    train_config(study.overrides, _NO_PLAN, TrainConfig)
    made = ensure_preprocessed(study)
    config = train_config(study.overrides, made.facts(), TrainConfig)
    return train(config, made, study.workspace, study.overrides)


def train_config(overrides: Sequence[str], facts: Mapping[str, Any], kind: Any) -> Any:
    """The typed configuration of a training."""
    content = _composed(overrides, facts)
    wanted = {key: value for key, value in content.items() if key not in _OTHER_KEYS}
    wanted.setdefault("variant", _variant(overrides, content["network"]))
    return make(kind, wanted, "train")


def _variant(overrides: Sequence[str], network: Mapping[str, Any]) -> str | None:
    """The file in conf/network that was chosen, and the mixer where that was changed."""
    file = chosen_file("segmentation", overrides, "network")
    if file is None:
        return None
    unchanged = _composed([f"network={file}"], _NO_PLAN)["network"]
    if network["name"] != unchanged["name"]:
        return None
    mixer = (network.get("mixer") or {}).get("name")
    changed = mixer is not None and mixer != (unchanged.get("mixer") or {}).get("name")
    return f"{file}_{mixer}" if changed else file


def _composed(overrides: Sequence[str], facts: Mapping[str, Any]) -> dict[str, Any]:
    content = compose("segmentation", overrides, facts)
    network = content.get("network")
    if isinstance(network, Mapping) and content.get("init") is not None:
        content["network"] = network = with_pretrained(network, Path(str(content["init"])))
    if not isinstance(network, Mapping) or "name" not in network:
        raise UsageError(
            f"network={network!r}: a study needs a network with a name. Take network=FILE; "
            "`medssm show networks` lists them."
        )
    return content


def _mapping(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key) or {}
    if not isinstance(value, Mapping):
        raise UsageError(f"{key}={value!r}: expected keys with values, e.g. {key}.workers=4.")
    return dict(value)
