"""A trained model of nnU-Net, its results folder or exported zip, as a model folder of ours."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import medssm
from medssm.core.archives import is_archive, put_in_place, refuse_occupied, staged
from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import read_json, sha256, write_json
from medssm.core.inert import file_name
from medssm.core.log import say, warn
from medssm.fields.segmentation.nnunet.architecture import (
    Architecture,
    architecture_of,
    build,
    fill,
)
from medssm.fields.segmentation.plan_file import Plan, read_plan
from medssm.networks.keymaps import read_checkpoint_file
from medssm.runs.workspace import DATASET_NAME
from medssm.training.checkpoints import WEIGHTS, WEIGHTS_BEST, write_weights

# what nnUNetv2_export_model_to_zip packs; of these only .json and .pth are opened
SUFFIXES = (
    ".json", ".pth", ".png", ".pdf", ".txt", ".pkl", ".csv", ".nii.gz", ".nii", ".nrrd", ".mha",
    ".tif", ".tiff", ".bmp",
)  # fmt: skip
_CHECKPOINTS = {"checkpoint_final.pth": WEIGHTS, "checkpoint_best.pth": WEIGHTS_BEST}


@dataclass(frozen=True)
class ImportedModel:
    """A model folder that an import made.

    Args:
        folder: The model folder.
        network: Name and arguments.
        configuration: Such as "3d_fullres".
        trainer: The class that trained it.
        folds: Which folds have weights.
        checkpoints: sha256 of every checkpoint that was read, by its name below the source.
    """

    folder: Path
    network: Mapping[str, Any]
    configuration: str
    trainer: str
    folds: tuple[str, ...]
    checkpoints: Mapping[str, str]


def import_models(
    source: Path, home: Path, name: str | None = None, *, trust: bool = False, force: bool = False
) -> list[ImportedModel]:
    """Bring trained models of nnU-Net under HOME/results; predictions are those of stock nnU-Net.

    Args:
        source: A folder TRAINER__PLANS__CONFIGURATION, one above it, or a zip as
            nnUNetv2_export_model_to_zip writes it; it is left as it is.
        home: The home folder.
        name: What to call the model folder; None keeps TRAINER__PLANS__CONFIGURATION.
        trust: Whether checkpoints that hold more than tensors are read all the same, in a process
            of their own that admits arrays and containers only.
        force: Whether model folders that are there make way.

    Raises:
        BadDataError: There is no model, or one that cannot be used; nothing of it is left.
        UsageError: The name does not fit, or is taken.
    """
    with _opened(source, home) as folder:
        found = _models_below(folder)
        if not found:
            raise BadDataError(
                f"{source}: no model of nnU-Net in it. Expected plans.json, dataset.json and "
                "fold_K/checkpoint_final.pth in a folder TRAINER__PLANS__CONFIGURATION."
            )
        if name is not None and (len(found) > 1 or Path(name).name != name):
            told = ", ".join(each.name for each in found)
            raise UsageError(
                f"--name {name!r}: expected one name without folders, for one model; found {told}."
            )
        return [_import(each, home, name or each.name, trust, force) for each in found]


@contextmanager
def _opened(source: Path, home: Path) -> Iterator[Path]:
    if source.is_dir():
        yield source
    elif is_archive(source):
        with staged(source, home / "results", suffixes=SUFFIXES) as folder:
            yield folder
    else:
        raise BadDataError(f"{source}: neither a folder nor a zip. Expected a model of nnU-Net.")


def _models_below(folder: Path) -> list[Path]:
    """The models in a folder, at most two levels down; those of a cascade's second stage left out.

    Raises:
        BadDataError: There are second stages only.
    """
    levels = (folder, *folder.glob("*"), *folder.glob("*/*"))
    found = sorted(
        each
        for each in levels
        if (each / "plans.json").is_file() and any(each.glob("fold_*/checkpoint_*.pth"))
    )
    cascades = [each for each in found if "cascade" in each.name]
    usable = [each for each in found if each not in cascades]
    if cascades and not usable:
        raise BadDataError(
            f"{cascades[0]}: the second stage of a cascade, which needs the labels of the first. "
            "medssm does not predict with cascades; take 3d_fullres, or 3d_lowres alone."
        )
    for each in cascades:
        warn("%s is left out: medssm does not predict with the second stage of a cascade.", each)
    return usable


def _import(folder: Path, home: Path, name: str, trust: bool, force: bool) -> ImportedModel:
    target = home / "results" / _dataset_name(folder) / file_name(name, "the name", folder)
    refuse_occupied(target, force)
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent, prefix=".medssm-import-") as place:
        made = Path(place) / name
        plans, dataset = (read_json(folder / each) for each in ("plans.json", "dataset.json"))
        write_json(made / "plans.json", plans)
        write_json(made / "dataset.json", dataset)
        imported = _fill_folder(folder, made, target, trust)
        put_in_place(made, target, force)
    return imported


def _fill_folder(folder: Path, made: Path, target: Path, trust: bool) -> ImportedModel:
    """Read the folds one after the other; the first says configuration and mirrored axes."""
    plan: Plan | None = None
    architecture: Architecture | None = None
    facts: dict[str, Any] = {}
    hashes: dict[str, str] = {}
    for file in _checkpoints(folder):
        content = read_checkpoint_file(file, trust=trust)
        told = _told(content, file)
        if plan is None or architecture is None:
            facts = told
            plan = _plan(made, told["configuration"], folder)
            architecture = architecture_of(plan, folder / "plans.json")
        if told != facts:
            raise BadDataError(f"{file}: {told}; expected {facts}, as in the first fold.")
        network = build(architecture, folder / "plans.json")
        fill(network, architecture, content["network_weights"], file)
        fold = file_name(file.parent.name, "the fold", folder)
        write_weights(made / fold / _CHECKPOINTS[file.name], network.state_dict())
        hashes[f"{fold}/{file.name}"] = sha256(file)
        say("%s: %d tensors", file, len(network.state_dict()))
    assert plan is not None
    assert architecture is not None
    folds = sorted({key.split("/")[0].removeprefix("fold_") for key in hashes})
    write_json(
        made / "model.json",
        {
            "format": 1,
            "field": "segmentation",
            "dataset": target.parent.name,
            "network": dict(architecture.network),
            "configuration": plan.configuration,
            "plans_name": plan.plans_name,
            "patch_size": list(plan.patch_size),
            "mirror_axes": facts["mirror_axes"],
            # as stock nnU-Net adds windows up, for its very labels
            "sums": "float16",
            "imported": {"trainer": facts["trainer"], "checkpoints": hashes},
            "medssm_version": medssm.__version__,
        },
    )
    return ImportedModel(
        target, architecture.network, plan.configuration, facts["trainer"], tuple(folds), hashes
    )


def _checkpoints(folder: Path) -> list[Path]:
    """The final and best checkpoints of all folds."""
    found = [
        fold / name
        for fold in sorted(folder.glob("fold_*"))
        for name in _CHECKPOINTS
        if (fold / name).is_file()
    ]
    if not any(each.name == "checkpoint_final.pth" for each in found):
        if not found:
            raise BadDataError(
                f"{folder}: no fold has checkpoint_final.pth or checkpoint_best.pth. Its training "
                "has not ended; let nnU-Net finish it."
            )
        warn("%s: no final checkpoint; predict with checkpoint=best.", folder)
    return found


def _told(content: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """What a checkpoint says beside its weights."""
    init = content.get("init_args")
    configuration = init.get("configuration") if isinstance(init, Mapping) else None
    if not isinstance(content.get("network_weights"), Mapping) or not isinstance(
        configuration, str
    ):
        raise BadDataError(
            f"{file}: no checkpoint of nnU-Net v2 (network_weights or init_args.configuration is "
            "missing). Models of nnU-Net v1 have to be trained again."
        )
    axes = content.get("inference_allowed_mirroring_axes") or ()
    return {
        "configuration": configuration,
        "trainer": str(content.get("trainer_name", "unknown")),
        "mirror_axes": [int(axis) for axis in axes],
    }


def _plan(made: Path, configuration: str, folder: Path) -> Plan:
    content = read_json(made / "plans.json")
    known = content.get("configurations") if isinstance(content, Mapping) else None
    told = known.get(configuration) if isinstance(known, Mapping) else None
    if isinstance(told, Mapping) and ("cascade" in configuration or told.get("previous_stage")):
        raise BadDataError(
            f"{folder}: {configuration} is the second stage of a cascade, which needs the labels "
            "of the first. medssm does not predict with cascades; take 3d_fullres."
        )
    plan = read_plan(made / "plans.json", configuration)
    if plan.settings.get("preprocessor_name", "DefaultPreprocessor") != "DefaultPreprocessor":
        raise BadDataError(
            f"{folder}: {configuration} is preprocessed by {plan.settings['preprocessor_name']!r}. "
            "Expected DefaultPreprocessor, the only one that medssm has."
        )
    return plan


def _dataset_name(folder: Path) -> str:
    """DatasetNNN_Name, from the folder above or from the plan."""
    named = read_json(folder / "plans.json")
    told = named.get("dataset_name") if isinstance(named, Mapping) else None
    for name in (folder.absolute().parent.name, told):
        if isinstance(name, str) and DATASET_NAME.match(name) and "\n" not in name:
            return name
    raise BadDataError(
        f"{folder}: plans.json says the data set is {told!r}. Expected DatasetNNN_Name there, or "
        "as the name of the folder above."
    )
