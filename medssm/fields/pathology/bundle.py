"""A model of bags as a MONAI bundle, proven by MONAI before it is put in its place."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medssm.bundle import proof
from medssm.bundle.case_bundle import (
    CaseBundle,
    FoldBundleConfig,
    largest,
    refuse_several,
    verdict,
    write_case_bundle,
)
from medssm.bundle.folder import bundle_name, checked
from medssm.core.errors import BadDataError
from medssm.core.extras import require
from medssm.core.files import read_json
from medssm.data.bags import SlideRow, find_bags, write_slide_table
from medssm.fields.pathology.bundle_parts import (
    bundle_modules,
    metadata_of,
    module_of,
    page_of,
    recipe_of,
)
from medssm.fields.pathology.inputs import held_back_bags
from medssm.fields.pathology.model_folder import TrainedModel
from medssm.fields.pathology.predict import PREDICTIONS, PredictConfig, predict
from medssm.networks import BAG_NETWORKS

TOLERANCE = 1e-5
"""Largest difference between MONAI and `medssm predict`: of a probability, a hazard, a share."""


def write_bundle(
    model: TrainedModel, output: Path, embed: bool, config: FoldBundleConfig
) -> dict[str, Any]:
    """Write a bundle and prove it.

    Args:
        model: The model, one fold of it.
        output: The bundle's folder or .zip; one that is there makes way.
        embed: Whether the code of network and reading goes along.
        config: What the user said.

    Returns:
        The figures of the proof.

    Raises:
        MedssmError: The proof failed; nothing new is left at `output`.
        UsageError: Several folds.
        BadDataError: No bag for the proof.
    """
    refuse_several(model.folder, model.weights)
    slides = _slides(model, config) if config.prove else []
    name = bundle_name(output)
    recipe, content = recipe_of(model, embed), metadata_of(model, name, embed)
    bundle = CaseBundle(
        module_of(model), model.content["network"], BAG_NETWORKS, bundle_modules(),
        recipe, content, page_of(model, name, embed, recipe, content),
    )  # fmt: skip

    def prove(folder: Path) -> dict[str, Any]:
        return _prove(folder, model, embed, slides)

    return write_case_bundle(bundle, output, prove if config.prove else None)


def _prove(
    folder: Path, model: TrainedModel, embed: bool, slides: Sequence[tuple[str, str, Path]]
) -> dict[str, Any]:
    """Let MONAI check the bundle and read bags, and hold its answers against ours."""
    (fold,) = model.weights
    with checked(folder, embed) as (scratch, hidden):
        table = _linked(slides, scratch / "bags")
        more = {"labels_file": table} if model.content["unit"] == "patient" else {}
        proof.run_inference(folder, scratch / "bags", scratch / "monai", hidden, **more)
        predict(PredictConfig(model=model.folder, output=scratch / "ours",
                              input=scratch / "bags", folds=(fold,), table=str(table),
                              heatmaps=False, top_tiles=0))  # fmt: skip
        ours = read_json(scratch / "ours" / PREDICTIONS)["cases"]
        found = {name: _difference(scratch, name, case) for name, case in ours.items()}
    answered = {name: each for name, each in found.items() if each is not None}
    return verdict(answered, TOLERANCE, embed, "bags", "number")


def _slides(model: TrainedModel, config: FoldBundleConfig) -> list[tuple[str, str, Path]]:
    """Slide, patient and feature file of the slides of the proof.

    Raises:
        BadDataError: There is none.
    """
    if config.input is not None:
        files = [(slide, slide, file) for slide, file in find_bags(Path(config.input)).items()]
    else:
        try:
            files = [row for row in _held_back(model) if row[2].is_file()]
        except BadDataError:
            # the features of the study are gone, or the fold has no test bags
            files = []
    if not files:
        raise BadDataError(
            f"{config.input or 'the test bags of the fold'}: no feature file is there for the "
            "proof. Give input=FOLDER of feature files, or prove=false to go without it."
        )
    return files[: config.cases or None]


def _held_back(model: TrainedModel) -> list[tuple[str, str, Path]]:
    inputs = held_back_bags(model)
    return [
        (slide, bag.patient, inputs.files[slide])
        for bag in inputs.bags.values()
        for slide in bag.slides
        if slide in inputs.files
    ]


def _linked(slides: Sequence[tuple[str, str, Path]], folder: Path) -> Path:
    """A folder of links to feature files; returns the table of their patients."""
    folder.mkdir()
    for slide, _, file in slides:
        (folder / f"{slide}{file.suffix}").symlink_to(file.absolute())
    rows = [SlideRow(slide, patient) for slide, patient, _ in slides]
    return write_slide_table(folder.parent / "slides.csv", rows)


def _difference(scratch: Path, name: str, case: dict[str, Any]) -> float | None:
    """The largest of the numbers of a bag and of its tiles' shares.

    Infinite where one of the two gave no answer, None where neither did.
    """
    file, row = scratch / "monai" / f"{name}.json", case["row"]
    rows = read_json(file)["rows"] if file.is_file() else []
    if not rows and row["status"] != "done":
        return None
    if len(rows) != 1 or row["status"] != "done":
        return float("inf")
    numbers = {
        key: value for key, value in row.items() if key.startswith(("p_", "hazard_", "risk"))
    }
    told = [float(rows[0].get(key, "inf")) for key in numbers]
    attention = [scratch / "ours" / each for each in case["outputs"]]
    ours = np.concatenate([_shares_h5(each) for each in attention if each.suffix == ".h5"], axis=1)
    theirs = _shares_csv(scratch / "monai" / "attention" / f"{name}.csv")
    if ours.shape != theirs.shape:
        return float("inf")
    # what is no number must not pass as one
    return float(np.max([largest(told, [*numbers.values()]), np.abs(ours - theirs).max()]))


def _shares_h5(file: Path) -> np.ndarray:
    h5py: Any = require("h5py", "pathology")
    with h5py.File(file, "r") as content:
        return np.asarray(content["attention"], dtype=np.float64)


def _shares_csv(file: Path) -> np.ndarray:
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    names = [name for name in rows[0] if name.startswith("share_")]
    return np.array([[float(row[name]) for row in rows] for name in names])
