"""A segmentation model as a MONAI bundle, proven by MONAI before it is put in its place."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

from medssm.bundle import configs, proof
from medssm.bundle.config_parts import HOME, Recipe
from medssm.bundle.embed import embed_network
from medssm.bundle.folder import Parts, bundle_name, checked, fill, unfinished
from medssm.bundle.metadata import Facts, metadata
from medssm.bundle.readme import bundle_readme
from medssm.bundle.train_config import train
from medssm.core.errors import BadDataError, MedssmError, UsageError
from medssm.core.files import read_json, write_text
from medssm.core.log import say
from medssm.data.manifest import read_manifest
from medssm.fields.segmentation.dataset_of_model import find_raw_folder
from medssm.fields.segmentation.export_programs import AGREEMENT, ENDINGS, Programs
from medssm.fields.segmentation.inputs import find_inputs
from medssm.fields.segmentation.predict import PredictConfig, predict
from medssm.fields.segmentation.program_facts import output_names
from medssm.fields.segmentation.trained import TrainedModel
from medssm.fields.segmentation.validation_cases import validation_cases
from medssm.networks import NETWORKS

_PICTURES = "NaturalImage2DIO"
_VOLUMES = (".nii.gz", ".nii", ".mha", ".nrrd")


def write_bundle(
    model: TrainedModel,
    output: Path,
    *,
    embed: bool,
    prove: bool,
    cases: int,
    images: Path | None,
    programs: Programs | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """Write a bundle and prove it.

    Args:
        model: The model, one fold of it.
        output: The bundle's folder, or a .zip of it; one that is there makes way.
        embed: Whether the network's code goes along.
        prove: Whether MONAI predicts cases, compared with our own labels.
        cases: How many; 0 takes all.
        images: Their folder; None takes the cases that the fold held back.
        programs: Also puts models/model.pt2 and models/model.onnx inside.

    Returns:
        The figures of the proof, as data and as lines.

    Raises:
        MedssmError: The proof failed; nothing is left at `output`.
        UsageError: A model of files that MONAI does not read.
    """
    if model.file_ending not in _VOLUMES and not _of_pictures(model):
        raise UsageError(
            f"{model.folder}: was trained on {model.file_ending} volumes; a bundle takes pictures "
            f"or {', '.join(_VOLUMES)}. Take --to pt2 or --to onnx."
        )
    if prove:
        proof.check_tools()
    name = bundle_name(output)
    with unfinished(output) as folder:
        recipe = _fill(folder, model, name, embed)
        figures: dict[str, Any] = {"proven": False}
        if prove:
            say("MONAI checks the bundle and predicts with it.")
            figures = _prove(folder, model, embed, cases, images)
        if programs is not None:
            for kind in ("pt2", "onnx"):
                found = programs.write(kind, folder / "models" / f"model{ENDINGS[kind]}")
                figures |= {f"{kind}_{name}": value for name, value in found.items()}
        text = bundle_readme(name, recipe, _card(model), figures, embed)
        write_text(folder / "docs" / "README.md", text)
    return figures, [f"{name}: {value}" for name, value in figures.items()]


def _fill(folder: Path, model: TrainedModel, name: str, embed: bool) -> Recipe:
    network = dict(model.content["network"])
    arguments = {key: value for key, value in network.items() if key != "name"}
    target, travel = NETWORKS[network["name"]].replace(":", "."), HOME
    if embed:
        target, travel = embed_network(network, folder / "scripts"), "scripts"
        for file in ("inferer.py", "transforms.py", "pictures.py"):
            text = files("medssm.bundle.travel").joinpath(file).read_text(encoding="utf-8")
            write_text(folder / "scripts" / file, text)
    recipe = _recipe(model, {"_target_": target, **arguments}, travel)
    built = model.network(list(model.weights))
    facts = _facts(model, name, embed, tuple(getattr(built, "divisors", (1,))))
    configurations = {
        "inference": configs.inference(recipe),
        "evaluate": configs.evaluate(recipe),
    }
    if recipe.ignore is None:
        # no loss of MONAI leaves voxels out
        configurations["train"] = train(recipe)
    fill(folder, Parts(built, metadata(facts), configurations, facts.licence))
    return recipe


def _recipe(model: TrainedModel, network: Mapping[str, Any], travel: str) -> Recipe:
    plan, settings = model.plan, model.plan.settings
    for key, order in (("resampling_fn_data", 3), ("resampling_fn_probabilities", 1)):
        wishes = settings.get(f"{key}_kwargs", {})
        if wishes.get("order") != order or wishes.get("force_separate_z") is not None:
            raise UsageError(
                f"{model.folder}: its plan resamples by {key} with {wishes}; a bundle knows order "
                f"{order} and planes by themselves where voxels are long."
            )
    forward = plan.plans["transpose_forward"]
    pictures = _of_pictures(model)
    # MONAI gives the axes of a volume in the order opposite to the planner's
    axes = list(forward) if pictures else [len(forward) - 1 - axis for axis in forward]
    facts = plan.plans["foreground_intensity_properties_per_channel"]
    labels = plan.labels
    return Recipe(
        network=network,
        travel=travel,
        axes=axes,
        spacing_mm=plan.spacing_mm,
        patch=plan.patch_size,
        mirror_axes=model.mirror_axes,
        schemes=settings["normalization_schemes"],
        masked=settings["use_mask_for_norm"],
        intensities=[facts[key] for key in sorted(facts, key=int)],
        ending=model.file_ending,
        labels=len(labels.values) - (labels.ignore is not None),
        ignore=labels.ignore,
        files=_files_of_a_case(model),
        pictures=pictures,
        regions=(labels.regions_class_order or ()) if labels.has_regions else (),
        members=[labels.members(each) for each in labels.foreground] if labels.has_regions else (),
        batch=plan.batch_size,
    )


def _of_pictures(model: TrainedModel) -> bool:
    return model.plan.plans.get("image_reader_writer") == _PICTURES


def _files_of_a_case(model: TrainedModel) -> int:
    """One a channel; pictures may have their colours in one file, as the training's show."""
    if not _of_pictures(model):
        return model.channels
    source = find_raw_folder(model.folder)
    if source is None:
        return 1
    return len(next(iter(read_manifest(source).cases.values())).images)


def _facts(model: TrainedModel, name: str, embed: bool, divisors: tuple[int, ...]) -> Facts:
    channels, labels = list(model.dataset["channel_names"].values()), model.plan.labels
    word = str(channels[0]).upper()
    return Facts(
        name=name,
        task=f"segmentation of {', '.join(labels.foreground)}",
        description=(
            f"{model.content['network']['name']} trained by medssm on {model.content['dataset']}, "
            f"configuration {model.content['configuration']}."
        ),
        channels=[str(each) for each in channels],
        outputs=output_names(labels),
        modality="CT" if word.startswith("CT") else "MR" if word.startswith(("M", "T")) else word,
        divisors=divisors,
        regions=labels.has_regions,
        embedded=embed,
        figures=_card(model),
        licence=str(model.dataset.get("licence", "unknown: ask who made the data set")),
        references=[str(model.dataset["reference"])] if "reference" in model.dataset else [],
    )


def _card(model: TrainedModel) -> dict[str, Any]:
    """Figures of the fold's own validation, where it had one."""
    (fold,) = model.weights
    file = model.folder / f"fold_{fold}" / "validation" / "summary.json"
    if not file.is_file():
        return {}
    content = read_json(file)
    return {
        "mean_dice": round(float(content["foreground_mean"]["Dice"]), 4),
        "cases": len(content["metric_per_case"]),
    }


def _prove(
    folder: Path, model: TrainedModel, embed: bool, cases: int, images: Path | None
) -> dict[str, Any]:
    """Let MONAI check the bundle and predict, and hold its labels against ours."""
    with checked(folder, embed) as (scratch, hidden):
        inputs = _inputs(model, scratch / "images", cases, images)
        # MONAI answers without medssm for the embedded kind, and always without a network
        proof.run_inference(folder, inputs, scratch / "monai", hidden)
        (fold,) = model.weights
        report = predict(
            PredictConfig(
                model=model.folder, input=inputs, output=scratch / "ours", folds=fold,
                # MONAI adds windows up in float32
                sums="float32",
            )
        )  # fmt: skip
        shares = {
            case: _share(scratch, case, model.file_ending, _files_of_a_case(model))
            for case in report.done
        }
    if not shares:
        raise MedssmError(f"{folder.name}: no case could be predicted for the proof.")
    worst = min(shares, key=lambda case: shares[case])
    if shares[worst] < AGREEMENT:
        raise MedssmError(
            f"the bundle's label of {worst} equals our own in {shares[worst]:.4%} of the voxels; "
            f"expected {AGREEMENT:.1%}. The bundle is not written."
        )
    return {
        "proven": True,
        "cases": len(shares),
        "least_equal_voxels": round(shares[worst], 6),
        "without_medssm": embed,
    }


def _inputs(model: TrainedModel, folder: Path, cases: int, images: Path | None) -> Path:
    """A folder of links to the images of the proof."""
    folder.mkdir()
    if images is not None:
        held = find_inputs(images, model.channels, model.file_ending)
    else:
        try:
            ((_, held),) = validation_cases(model, None)
        except BadDataError as error:
            raise BadDataError(
                f"{error} For the proof give images=FOLDER, or prove=false to go without it."
            ) from error
    for case in held[: cases or None]:
        several = len(case.files) > 1
        for index, file in enumerate(case.files):
            suffix = f"_{index:04d}" if several else ""
            link = folder / f"{case.name}{suffix}{model.file_ending}"
            link.symlink_to(Path(file).absolute())
    return folder


def _share(scratch: Path, case: str, ending: str, files: int) -> float:
    """The share of voxels with the same label."""
    first = f"{case}_0000" if files > 1 else case
    theirs = scratch / "monai" / f"{first}_seg{ending}"
    ours = scratch / "ours" / f"{case}{ending}"
    one, two = (SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(f)) for f in (theirs, ours))
    if one.shape != two.shape:
        raise MedssmError(f"{case}: the bundle's label has {one.shape} voxels, ours {two.shape}.")
    return float(np.mean(one == two))
