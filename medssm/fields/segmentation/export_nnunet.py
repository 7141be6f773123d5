"""A segmentation model as a folder of nnU-Net's results, proven by nnU-Net's own predictor."""

import shlex
import tempfile
from pathlib import Path
from typing import Any

from medssm.bundle.folder import unfinished
from medssm.core.errors import BadDataError, UsageError
from medssm.core.log import say
from medssm.fields.segmentation.export_programs import AGREEMENT
from medssm.fields.segmentation.inputs import InputCase, find_inputs
from medssm.fields.segmentation.nnunet.result_folder import results_name, write_results
from medssm.fields.segmentation.nnunet.stock import equal_share, link_inputs, stock_prediction
from medssm.fields.segmentation.predict import PredictConfig, predict
from medssm.fields.segmentation.trained import TrainedModel
from medssm.fields.segmentation.validation_cases import validation_cases


def write_nnunet(
    model: TrainedModel,
    output: Path,
    *,
    plans_name: str | None,
    overwrite: bool,
    prove: bool,
    cases: int,
    images: Path | None,
) -> tuple[Path, dict[str, Any], list[str]]:
    """Write DATASET/nnUNetTrainer__PLANS__CONFIGURATION under a folder, and prove it.

    Args:
        model: The model, any number of folds.
        output: What nnUNet_results may name: other models in it stay.
        plans_name: Name of the plans there; None takes the network's.
        overwrite: Whether the same model of before makes way.
        prove: Whether nnU-Net predicts cases, compared with our own labels.
        cases: How many; 0 takes all.
        images: Their folder; None takes the cases that the first fold held back.

    Returns:
        The folder, and the figures of the proof as data and as lines.

    Raises:
        MedssmError: nnU-Net does not predict with it; nothing is left.
        BadDataError: Its labels differ from ours; nothing is left.
        UsageError: The folder is there.
    """
    name = plans_name or f"{model.content['network']['name']}Plans"
    if "__" in name or "/" in name or not name:
        raise UsageError(f"plans_name={name!r}: nnU-Net splits names at '__'; take another.")
    target = output / results_name(model, name)
    if target.exists() and not overwrite:
        raise UsageError(f"{target}: is there already; take plans_name=NAME or --force.")
    if target.exists() and not (target / "plans.json").is_file():
        raise UsageError(f"{target}: is no model of nnU-Net; it is not removed. Name another.")
    figures: dict[str, Any] = {"folds": list(model.weights), "proven": False}
    with unfinished(target) as folder:
        write_results(model, folder, name)
        if prove:
            say("Stock nnU-Net predicts with it.")
            figures |= _prove(folder, model, cases, images)
    folds = " ".join(model.weights)
    lines = [
        *(f"{key}: {value}" for key, value in figures.items()),
        f"nnUNetv2_predict_from_modelfolder -i IN -o OUT -m {shlex.quote(str(target))} -f {folds}",
    ]
    return target, figures, lines


def _prove(folder: Path, model: TrainedModel, cases: int, images: Path | None) -> dict[str, Any]:
    """Let nnU-Net predict with the first fold, and hold its labels against ours."""
    fold = next(iter(model.weights))
    chosen = _cases(model, fold, images)[: cases or None]
    ending = model.file_ending
    with tempfile.TemporaryDirectory(prefix="medssm-proof-") as name:
        scratch = Path(name)
        names = link_inputs(chosen, scratch / "images", ending)
        stock_prediction(folder, fold, scratch / "images", scratch / "nnunet")
        predict(
            PredictConfig(
                model=model.folder, input=scratch / "images", output=scratch / "ours", folds=fold,
                # both add windows up in float16: what is left are differences of the networks
                sums="float16",
            )
        )  # fmt: skip
        shares = {
            case: equal_share(
                scratch / "nnunet" / f"{case}{ending}", scratch / "ours" / f"{case}{ending}",
                model.plan,
            )
            for case in names
        }  # fmt: skip
    worst = min(shares, key=lambda case: shares[case])
    if shares[worst] < AGREEMENT:
        raise BadDataError(
            f"nnU-Net's label of {worst} equals our own in {shares[worst]:.4%} of the voxels; "
            f"expected {AGREEMENT:.1%}. The model is not written: take other images with "
            "images=FOLDER to see whether it is this case alone."
        )
    return {"proven": True, "cases": len(shares), "least_equal_voxels": round(shares[worst], 6)}


def _cases(model: TrainedModel, fold: str, images: Path | None) -> list[InputCase]:
    """Cases of the proof whose files have the ending that nnU-Net asks for."""
    ending = model.file_ending
    if images is not None:
        found = find_inputs(images, model.channels, ending)
    else:
        try:
            found = next(held for (each,), held in validation_cases(model, None) if each == fold)
        except (BadDataError, UsageError) as error:
            raise BadDataError(
                f"{error} For the proof give images=FOLDER, or prove=false to go without it."
            ) from error
    usable = [
        case for case in found
        if not case.problem and all(file.name.endswith(ending) for file in case.files)
    ]  # fmt: skip
    if not usable:
        raise BadDataError(
            f"{images or model.folder}: no case with files that end in {ending} for the proof; "
            "give images=FOLDER, or prove=false to go without it."
        )
    return usable
