"""The files of a model folder beside the weights, and what keeps two different runs out of one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import medssm
from medssm.core.errors import UsageError
from medssm.core.files import read_json, write_json, write_text
from medssm.fields.segmentation.dataset_of_model import RAW_FOLDER
from medssm.fields.segmentation.plan_file import Plan
from medssm.runs.workspace import Workspace
from medssm.training.checkpoints import CheckpointFiles

# the folds of a model folder are averaged, so they must agree in these
_SHARED = ("network", "configuration", "plans_name", "patch_size")


def model_content(
    network: Mapping[str, Any], plan: Plan, workspace: Workspace, mirror: bool
) -> dict[str, Any]:
    """What model.json says: all that a prediction needs beside plan and weights."""
    return {
        "format": 1,
        "field": "segmentation",
        "dataset": workspace.dataset,
        RAW_FOLDER: str(workspace.raw_folder.absolute()) if workspace.has_raw else None,
        "network": plain(network),
        "configuration": plan.configuration,
        "plans_name": plan.plans_name,
        "patch_size": list(plan.patch_size),
        "mirror_axes": list(range(plan.spatial_dims)) if mirror else [],
        "medssm_version": medssm.__version__,
    }


def refuse_other_folds(folder: Path, content: Mapping[str, Any], fold: int | str) -> None:
    """Keep a model folder to one network and one plan.

    Raises:
        UsageError: Another fold in the folder was trained with other ones.
    """
    file = folder / "model.json"
    if not file.is_file():
        return
    before = read_json(file)
    differs = [name for name in _SHARED if before.get(name) != content[name]]
    others = [
        path.name
        for path in sorted(folder.glob("fold_*"))
        if path.name != f"fold_{fold}" and CheckpointFiles(path).last() is not None
    ]
    if differs and others:
        raise UsageError(
            f"{folder}: {', '.join(others)} was trained with another {' and '.join(differs)}; the "
            "folds of a model folder must agree. Give this run its own name with run=NAME."
        )


def write_model(folder: Path, content: Mapping[str, Any], plan: Plan, workspace: Workspace) -> None:
    """Write model.json with the plan and the data set's own files beside it."""
    write_json(folder / "plans.json", plan.plans)
    write_json(folder / "dataset.json", plan.dataset)
    for name in ("dataset_fingerprint.json", "splits_final.json"):
        file = workspace.preprocessed / name
        if file.is_file():
            write_json(folder / name, read_json(file))
    write_json(folder / "model.json", content)


def write_config(folder: Path, config: Any) -> None:
    """Write config.yaml: every value of a typed configuration, defaults included."""
    import yaml

    text = yaml.safe_dump(plain(vars(config)), sort_keys=False, allow_unicode=True)
    write_text(folder / "config.yaml", text)


def plain(value: Any) -> Any:
    """Data classes, mappings and sequences as dicts and lists."""
    if hasattr(value, "__dataclass_fields__"):
        return plain(vars(value))
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value
