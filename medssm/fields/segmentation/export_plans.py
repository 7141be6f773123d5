"""Plans with one of our networks for stock nnU-Net, from our plan of a data set or from its own."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medssm.core.errors import BadDataError, UsageError, nearest
from medssm.core.files import write_json
from medssm.core.signature import make
from medssm.fields.segmentation.nnunet.our_plans import (
    Fitted,
    OurNetwork,
    own_arguments,
    with_network,
)
from medssm.fields.segmentation.nnunet.planner import MemoryModel
from medssm.fields.segmentation.nnunet.recipe import RECIPE
from medssm.fields.segmentation.nnunet.trainers import FOLDER, TRAINER
from medssm.fields.segmentation.plan import PlanConfig
from medssm.fields.segmentation.plan_file import DEFAULT_PLANS, OURS, Plan, read_plan
from medssm.fields.segmentation.plan_wishes import Wishes, read_wishes
from medssm.networks import NETWORKS
from medssm.networks.nnunet import supervision_strides
from medssm.runs.answer import Answer
from medssm.runs.field import ExportRequest
from medssm.runs.workspace import open_workspace


def export_plans(request: ExportRequest) -> Answer:
    """Write plans with our network where stock nnU-Net looks for them.

    Args:
        request: Its model is a data set (folder, name or number) or a plans JSON.

    Raises:
        UsageError: No network is named for a stock plan, or a word that nothing reads.
        BadDataError: There is no plan.
    """
    source = find_plans(request.model, request.home)
    wishes = read_wishes(request.overrides)
    plan = read_plan(source)
    name, network = _network(wishes, plan, source)
    plans_name = wishes.plans_name or f"{name}Plans"
    target = source.with_name(f"{plans_name}.json")
    if target == source:
        raise UsageError(
            f"{source}: is what the plans are made from; take another plans_name=NAME."
        )
    if target.exists() and not request.force:
        raise UsageError(f"{target}: is there already; take plans_name=NAME or --force.")
    configurations = _configurations(wishes, plan, source)
    ours = _measured(network, wishes, plan, configurations)
    plans, fitted = with_network(plan, ours, plans_name, configurations)
    write_json(target, {**plans, RECIPE: wishes.recipe.plain()})
    return _answer(target, network, plans, fitted, plan)


def find_plans(source: Path, home: Path) -> Path:
    """The plans JSON of a file, a folder, or a data set under the home folder.

    Raises:
        BadDataError: There is none, or several and none of a known name.
    """
    if source.suffix == ".json" and source.name != "dataset.json":
        return source
    workspace = open_workspace(str(source), home)
    folder = workspace.preprocessed
    for name in (DEFAULT_PLANS, "nnUNetPlans"):
        if (folder / f"{name}.json").is_file():
            return folder / f"{name}.json"
    found = sorted(folder.glob("*[pP]lans*.json"))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(file.name for file in found)
        raise BadDataError(f"{folder}: holds the plans {names}; name one of these files.")
    raise BadDataError(
        f"{folder}: holds no plans JSON. Make one with: medssm plan {workspace.dataset}"
    )


def _network(wishes: Wishes, plan: Plan, source: Path) -> tuple[str, dict[str, Any]]:
    """A name for the plans, and the network's name and arguments."""
    network = wishes.network or (plan.plans.get(OURS) or {}).get("network")
    if not isinstance(network, Mapping) or "name" not in network:
        raise UsageError(
            f"{source}: is a plan of nnU-Net's own; say which network takes the place of its own, "
            "e.g. network=lightm_unet. `medssm show networks` lists them."
        )
    return str(network["name"]), own_arguments(network)


def _configurations(wishes: Wishes, plan: Plan, source: Path) -> list[str]:
    known = list(plan.plans["configurations"])
    wanted = list(wishes.configurations or known)
    for name in wanted:
        if name not in known:
            raise UsageError(f"{source}: no configuration {name!r}; {nearest(name, known)}")
        settings = plan.plans["configurations"][name]
        for key in ("inherits_from", "previous_stage"):
            parent = settings.get(key)
            if parent and parent not in wanted:
                raise UsageError(f"configurations: {name} needs {parent} as well ({key}).")
    return wanted


def _measured(
    network: Mapping[str, Any], wishes: Wishes, plan: Plan, configurations: Sequence[str]
) -> OurNetwork:
    """Memory and outputs of the network, for every number of axes that is planned."""
    from medssm.fields.segmentation.memory import memory_model

    ours = plan.plans.get(OURS) or {}
    models: dict[int, MemoryModel] = {}
    strides = {}
    channels, outputs = plan.num_channels, plan.labels.num_outputs
    for dims in {replace(plan, configuration=name).spatial_dims for name in configurations}:
        sizes = {"spatial_dims": dims, "in_channels": channels, "out_channels": outputs}
        net = NETWORKS.build(**{**network, **sizes})
        strides[dims] = supervision_strides(net, dims, channels)
        recorded = (ours.get("memory") or {}).get(str(dims))
        standing = None
        if recorded:
            recorded = {**recorded, "divisors": tuple(recorded.get("divisors", ()))}
            standing = make(MemoryModel, recorded, "memory")
        if standing and not wishes.network and not wishes.limits:
            models[dims] = standing
            continue
        limits = wishes.limits or _limits(standing, dims)
        models[dims] = memory_model(network, dims, channels, outputs, limits)
    precision = wishes.trainer.precision
    return OurNetwork(network, precision, models, strides, wishes.batch_size)


def _limits(standing: MemoryModel | None, spatial_dims: int) -> PlanConfig:
    """What our own plan was made for, or nnU-Net's default."""
    if standing is None:
        return PlanConfig()
    voxels = {f"max_voxels_{spatial_dims}d": standing.max_voxels}
    return PlanConfig(memory_gb=standing.target_bytes / 2**30, **voxels)  # type: ignore[arg-type]


def _answer(
    target: Path,
    network: Mapping[str, Any],
    plans: Mapping[str, Any],
    fitted: Sequence[Fitted],
    plan: Plan,
) -> Answer:
    folder = target.parent.absolute()
    facts = {
        "plans": str(target),
        "network": dict(network),
        "configurations": {each.configuration: vars(each) for each in fitted},
        "nnUNet_extTrainer": str(FOLDER),
        "trainer": TRAINER,
    }
    lines = [each.line() for each in fitted]
    first = next((name for name in ("3d_fullres", "2d") if name in plans["configurations"]), None)
    first = first or fitted[0].configuration
    lines += _missing(folder, plans, fitted, plan)
    command = f"nnUNetv2_train {folder.name} {first} 0 -p {plans['plans_name']}"
    lines += [
        f"export nnUNet_preprocessed={shlex.quote(str(folder.parent))}",
        "export nnUNet_results=RESULTS",
        command,
        "with our optimiser, schedule and number format:",
        f"export nnUNet_extTrainer={shlex.quote(str(FOLDER))}",
        f"{command} -tr {TRAINER}",
    ]
    return Answer(facts, lines, [target])


def _missing(
    folder: Path, plans: Mapping[str, Any], fitted: Sequence[Fitted], plan: Plan
) -> list[str]:
    """What has to be preprocessed or renamed before nnU-Net can train."""
    lines = []
    for each in fitted:
        store = (
            folder / replace(plan, plans=plans, configuration=each.configuration).data_identifier
        )
        if not store.is_dir():
            lines.append(
                f"{each.configuration} is not preprocessed: nnUNetv2_preprocess -d {folder.name} "
                f"-plans_name {plans['plans_name']} -c {each.configuration}"
            )
    if plans.get("dataset_name") != folder.name:
        lines.append(
            f"the plans are of {plans.get('dataset_name')}, the folder is {folder.name}: nnU-Net "
            "needs both alike"
        )
    return lines
