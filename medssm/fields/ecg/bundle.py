"""A model of electrocardiograms as a MONAI bundle, proven by MONAI before it is put in place."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medssm.bundle import proof
from medssm.bundle.answer_configs import ANSWERS, configurations
from medssm.bundle.embed import embed_network
from medssm.bundle.folder import Parts, checked, fill, put_together
from medssm.core.errors import BadDataError, MedssmError, UsageError
from medssm.core.files import read_json
from medssm.data.ecg.read import find_records
from medssm.fields.ecg.bundle_parts import TRAVEL, metadata_of, page_of, recipe_of
from medssm.fields.ecg.model_folder import TrainedModel
from medssm.fields.ecg.outputs import read_predictions
from medssm.fields.ecg.predict import PredictConfig, predict
from medssm.networks import ECG_NETWORKS

TOLERANCE = 1e-5
"""Largest difference of a probability between MONAI and `medssm predict`."""


@dataclass(frozen=True)
class BundleConfig:
    """What a user may say about a bundle.

    Args:
        folds: The one fold that it holds; may be left out where there is only one.
        prove: Whether MONAI reads held-back records, to be compared with `medssm predict`.
        cases: How many; 0 takes all.
        input: Folder of records for the proof; None takes those that the fold held back.
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
        BadDataError: No record for the proof.
    """
    if len(model.weights) > 1:
        raise UsageError(
            f"{model.folder}: has the folds {', '.join(model.weights)}; a bundle holds one "
            f"network. Take one, e.g. folds=[{next(iter(model.weights))}]."
        )
    files = _records(model, config) if config.prove else []
    recipe = recipe_of(model, embed)
    content = metadata_of(model, output.name, embed)

    def fill_in(folder: Path) -> None:
        if embed:
            network = model.content["network"]
            embed_network(network, folder / "scripts", ECG_NETWORKS, (TRAVEL, ANSWERS))
        (weights,) = model.weights.values()
        licence = str(content["data_source"])
        fill(folder, Parts(model.load(weights), content, configurations(recipe), licence))

    def prove(folder: Path) -> dict[str, Any]:
        return _prove(folder, model, embed, files)

    page = page_of(model, output.name, embed, recipe, content)
    return put_together(output, fill_in, prove if config.prove else None, page.text)


def _prove(folder: Path, model: TrainedModel, embed: bool, files: Sequence[Path]) -> dict[str, Any]:
    """Let MONAI check the bundle and read records, and hold its probabilities against ours."""
    with checked(folder, embed) as (scratch, hidden):
        records = _linked(files, scratch / "records")
        proof.run_inference(folder, records, scratch / "monai", hidden)
        predict(PredictConfig(model=model.folder, output=scratch / "ours", input=records,
                              folds=tuple(int(fold) for fold in model.weights),
                              pages="none"))  # fmt: skip
        differences = {
            name: _difference(scratch / "monai" / f"{name}.json", case["probabilities"])
            for name, case in read_predictions(scratch / "ours")["cases"].items()
        }
    worst = max(differences, key=lambda name: differences[name])
    if not differences[worst] <= TOLERANCE:
        raise MedssmError(
            f"the bundle's probabilities of {worst} differ from medssm's by "
            f"{differences[worst]:.1e}; expected at most {TOLERANCE:g}. The bundle is not written."
        )
    return {
        "proven": True,
        "records": len(differences),
        "largest_difference_of_a_probability": float(f"{differences[worst]:.2g}"),
        "without_medssm": embed,
    }


def _difference(file: Path, ours: list[float]) -> float:
    """The largest one; infinite where MONAI gave no answer."""
    if not file.is_file():
        return float("inf")
    theirs = [row["probability"] for row in read_json(file)["rows"]]
    if len(theirs) != len(ours):
        return float("inf")
    return float(np.abs(np.array(theirs) - np.array(ours)).max())


def _records(model: TrainedModel, config: BundleConfig) -> list[Path]:
    """The records of the proof.

    Raises:
        BadDataError: There is none.
    """
    if config.input is not None:
        files = find_records(Path(config.input))
    else:
        files = [file for file in _held_back(model) if file.is_file()]
    if not files:
        raise BadDataError(
            f"{config.input or 'the records that the fold held back'}: none is there for the "
            "proof. Give input=FOLDER of records, or prove=false to go without it."
        )
    return files[: config.cases or None]


def _linked(files: Sequence[Path], folder: Path) -> Path:
    """A folder of links to records."""
    folder.mkdir()
    for file in files:
        # a header and what it names go together
        for part in sorted(file.parent.glob(f"{file.stem}.*")):
            link = folder / part.name
            if not link.exists():
                link.symlink_to(part.absolute())
    return folder


def _held_back(model: TrainedModel) -> list[Path]:
    try:
        return model.held_back("validation")
    except (UsageError, BadDataError, KeyError):
        # a fold that was trained on everything, or whose list is gone
        return []
