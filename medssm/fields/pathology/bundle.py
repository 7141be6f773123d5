"""A model of bags as a MONAI bundle, proven by MONAI before it is put in its place."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medssm.bundle import proof
from medssm.bundle.answer_configs import configurations
from medssm.bundle.embed import embed_network
from medssm.bundle.folder import Parts, checked, fill, put_together
from medssm.core.errors import BadDataError, MedssmError, UsageError
from medssm.core.extras import require
from medssm.core.files import read_json
from medssm.data.bags import SlideRow, find_bags, write_slide_table
from medssm.fields.pathology.bundle_parts import (
    bundle_modules,
    held_back_files,
    metadata_of,
    module_of,
    page_of,
    recipe_of,
)
from medssm.fields.pathology.model_folder import TrainedModel
from medssm.fields.pathology.predict import PREDICTIONS, PredictConfig, predict
from medssm.networks import BAG_NETWORKS

TOLERANCE = 1e-5
"""Largest difference between MONAI and `medssm predict`: of a probability, a hazard, a share."""


@dataclass(frozen=True)
class BundleConfig:
    """What a user may say about a bundle.

    Args:
        folds: The one fold that it holds; may be left out where there is only one.
        prove: Whether MONAI reads held-back bags, to be compared with `medssm predict`.
        cases: How many slides; 0 takes all.
        input: Folder of feature files for the proof; None takes the fold's own test bags.
    """

    folds: tuple[int, ...] | None = None
    prove: bool = True
    cases: int = 4
    input: str | None = None


def write_bundle(
    model: TrainedModel, output: Path, embed: bool, config: BundleConfig
) -> dict[str, Any]:
    """Write a bundle and prove it.

    Args:
        model: The model, one fold of it.
        output: The bundle's folder; one that is there makes way.
        embed: Whether the code of network and reading goes along.
        config: What the user said.

    Returns:
        The figures of the proof.

    Raises:
        MedssmError: The proof failed; nothing new is left at `output`.
        UsageError: Several folds.
        BadDataError: No bag for the proof.
    """
    if len(model.weights) > 1:
        raise UsageError(
            f"{model.folder}: has the folds {', '.join(map(str, model.weights))}; a bundle holds "
            f"one network. Take one, e.g. folds=[{next(iter(model.weights))}]."
        )
    slides = _slides(model, config) if config.prove else []
    recipe = recipe_of(model, embed)
    content = metadata_of(model, output.name, embed)

    def fill_in(folder: Path) -> None:
        if embed:
            network = model.content["network"]
            embed_network(network, folder / "scripts", BAG_NETWORKS, bundle_modules())
        licence = str(content["data_source"])
        fill(folder, Parts(module_of(model), content, configurations(recipe), licence))

    def prove(folder: Path) -> dict[str, Any]:
        return _prove(folder, model, embed, slides)

    page = page_of(model, output.name, embed, recipe, content)
    return put_together(output, fill_in, prove if config.prove else None, page.text)


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
        differences = {name: _difference(scratch, name, case) for name, case in ours.items()}
    worst = max(differences, key=lambda name: differences[name])
    if not differences[worst] <= TOLERANCE:
        raise MedssmError(
            f"the bundle's answer about {worst} differs from medssm's by {differences[worst]:.1e}; "
            f"expected at most {TOLERANCE:g}. The bundle is not written."
        )
    return {
        "proven": True,
        "bags": len(differences),
        "largest_difference_of_a_number": float(f"{differences[worst]:.2g}"),
        "without_medssm": embed,
    }


def _slides(model: TrainedModel, config: BundleConfig) -> list[tuple[str, str, Path]]:
    """Slide, patient and feature file of the slides of the proof.

    Raises:
        BadDataError: There is none.
    """
    if config.input is not None:
        files = [(slide, slide, file) for slide, file in find_bags(Path(config.input)).items()]
    else:
        try:
            files = [row for row in held_back_files(model) if row[2].is_file()]
        except BadDataError:
            # the features of the study are gone, or the fold has no test bags
            files = []
    if not files:
        raise BadDataError(
            f"{config.input or 'the test bags of the fold'}: no feature file is there for the "
            "proof. Give input=FOLDER of feature files, or prove=false to go without it."
        )
    return files[: config.cases or None]


def _linked(slides: Sequence[tuple[str, str, Path]], folder: Path) -> Path:
    """A folder of links to feature files; returns the table of their patients."""
    folder.mkdir()
    for slide, _, file in slides:
        (folder / f"{slide}{file.suffix}").symlink_to(file.absolute())
    rows = [SlideRow(slide, patient) for slide, patient, _ in slides]
    return write_slide_table(folder.parent / "slides.csv", rows)


def _difference(scratch: Path, name: str, case: dict[str, Any]) -> float:
    """The largest of the numbers of a bag and of its tiles' shares; infinite without an answer."""
    file = scratch / "monai" / f"{name}.json"
    if not file.is_file():
        return float("inf")
    rows = read_json(file)["rows"]
    row = case["row"]
    if len(rows) != 1:
        # a bag that neither could read agrees
        return 0.0 if not rows and row["status"] != "done" else float("inf")
    numbers = {
        key: value for key, value in row.items() if key.startswith(("p_", "hazard_", "risk"))
    }
    parts = [abs(float(rows[0].get(key, "inf")) - value) for key, value in numbers.items()]
    attention = [scratch / "ours" / each for each in case["outputs"]]
    ours = np.concatenate([_shares_h5(each) for each in attention if each.suffix == ".h5"], axis=1)
    theirs = _shares_csv(scratch / "monai" / "attention" / f"{name}.csv")
    if ours.shape != theirs.shape:
        return float("inf")
    return max(*parts, float(np.abs(ours - theirs).max()))


def _shares_h5(file: Path) -> np.ndarray:
    h5py: Any = require("h5py", "pathology")
    with h5py.File(file, "r") as content:
        return np.asarray(content["attention"], dtype=np.float64)


def _shares_csv(file: Path) -> np.ndarray:
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    names = [name for name in rows[0] if name.startswith("share_")]
    return np.array([[float(row[name]) for row in rows] for name in names])
