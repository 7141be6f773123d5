"""A model of electrocardiograms as a MONAI bundle, proven by MONAI before it is put in place."""

from collections.abc import Sequence
from glob import escape
from pathlib import Path
from typing import Any

from medssm.bundle import proof
from medssm.bundle.answer_configs import ANSWERS
from medssm.bundle.case_bundle import (
    CaseBundle,
    FoldBundleConfig,
    largest,
    refuse_several,
    verdict,
    write_case_bundle,
)
from medssm.bundle.folder import bundle_name, checked
from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import read_json
from medssm.data.ecg.read import find_records
from medssm.fields.ecg.bundle_parts import TRAVEL, metadata_of, page_of, recipe_of
from medssm.fields.ecg.model_folder import TrainedModel
from medssm.fields.ecg.outputs import read_predictions
from medssm.fields.ecg.predict import PredictConfig, predict
from medssm.networks import ECG_NETWORKS

TOLERANCE = 1e-5
"""Largest difference of a probability between MONAI and `medssm predict`."""


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
        BadDataError: No record for the proof.
    """
    refuse_several(model.folder, model.weights)
    files = _records(model, config) if config.prove else []
    name, (weights,) = bundle_name(output), model.weights.values()
    recipe, content = recipe_of(model, embed), metadata_of(model, name, embed)
    bundle = CaseBundle(
        model.load(weights), model.content["network"], ECG_NETWORKS, (TRAVEL, ANSWERS),
        recipe, content, page_of(model, name, embed, recipe, content),
    )  # fmt: skip

    def prove(folder: Path) -> dict[str, Any]:
        return _prove(folder, model, embed, files)

    return write_case_bundle(bundle, output, prove if config.prove else None)


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
    return verdict(differences, TOLERANCE, embed, "records", "probability")


def _difference(file: Path, ours: list[float]) -> float:
    """The largest one; infinite where MONAI gave no answer."""
    rows = read_json(file)["rows"] if file.is_file() else []
    return largest([row["probability"] for row in rows], ours)


def _records(model: TrainedModel, config: FoldBundleConfig) -> list[Path]:
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
        for part in sorted(file.parent.glob(f"{escape(file.stem)}.*")):
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
