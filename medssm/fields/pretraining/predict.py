"""Predict: embeddings of volumes, and what the network makes of their hidden cells."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from medssm.core.errors import MedssmError, UsageError
from medssm.core.files import atomic_path, digest, read_json, write_bytes, write_json
from medssm.core.log import Progress, say, warn
from medssm.core.signature import make
from medssm.fields.pretraining.inputs import (
    CasesName,
    InputVolume,
    image_files,
    stored_volumes,
)
from medssm.fields.pretraining.model_folder import FIELD, PretrainedModel, open_model
from medssm.fields.pretraining.tiles import TiledResult, Tiling, through
from medssm.inference.device import choose_device, describe_device
from medssm.reports.reconstructions import reconstruction_png
from medssm.runs.answer import Answer
from medssm.runs.compose import parse_values
from medssm.runs.field import PredictRequest

PREDICTIONS = "predictions.json"
EMBEDDINGS = "embeddings.npz"


@dataclass(frozen=True)
class PredictConfig:
    """What a user may say about a prediction.

    Args:
        cases: Volumes of the data set that the model learned from, in place of an input.
        mask_ratio: Hidden share; None takes the training's.
        seed: Of the masks.
        reconstructions: Whether the reconstructed volumes are written beside the pictures.
        device: Where to compute.
        overwrite: Predict again what is there and fits.
    """

    cases: CasesName | None = None
    mask_ratio: float | None = None
    seed: int = 0
    reconstructions: bool = True
    device: str = "auto"
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.mask_ratio is not None and not 0 < self.mask_ratio < 1:
            raise UsageError(f"mask_ratio={self.mask_ratio}: expected above 0 and below 1.")


def predict_pretraining(request: PredictRequest) -> Answer:
    """Write embeddings, reconstructions and pictures; a bad input costs only itself.

    Raises:
        BadDataError: The model or the whole input cannot be used.
        UsageError: Neither an input nor cases, or both.
    """
    wishes = parse_values(request.overrides)
    if request.force:
        wishes["overwrite"] = True
    config: PredictConfig = make(PredictConfig, wishes, "predict")
    model = open_model(request.model)
    volumes = _volumes(model, request, config)
    output = request.output
    device = choose_device(config.device)
    network = model.network.to(device)
    content = model.content
    tiling = Tiling(
        tuple(content["crop"]),
        config.mask_ratio or content["mask_ratio"],
        content["skip_constant"],
        config.seed,
    )
    key = digest([model.key, vars(tiling), config.reconstructions])
    before = _before(output, config)
    told: dict[str, Any] = {}
    failed: dict[str, str] = {}
    exit_code, kept = 0, 0
    say("%d volume(s) with %s on %s", len(volumes), request.model, describe_device(device))
    bar = Progress(len(volumes), "predict")
    for volume in volumes:
        old = before.get(volume.name, {})
        if old.get("key") == [key, volume.key] and _whole(output, old):
            told[volume.name] = old
            kept += 1
        else:
            try:
                told[volume.name] = _one(network, volume, tiling, output, config, key)
            except MedssmError as error:
                failed[volume.name] = str(error)
                exit_code = max(exit_code, error.exit_code)
                warn("failed: %s: %s", volume.name, error)
        _write(request, model, tiling, told, failed)
        bar.step()
    _write_embeddings(output, told)
    facts = {"done": len(told) - kept, "kept": kept, "failed": failed, "output": str(output)}
    line = f"{len(told)} volumes, {kept} of them kept from before, {len(failed)} failed"
    following = ("medssm", "evaluate", str(output))
    return Answer(facts, [line], [output, output / EMBEDDINGS], following, exit_code)


def _volumes(
    model: PretrainedModel, request: PredictRequest, config: PredictConfig
) -> list[InputVolume]:
    if (request.input is None) == (config.cases is None):
        raise UsageError(
            "predict needs either an input (-i IMAGES) or cases=validation, train or all."
        )
    if request.input is not None:
        return image_files(model, request.input)
    assert config.cases is not None
    return stored_volumes(model, request.home, config.cases)


def _before(output: Path, config: PredictConfig) -> dict[str, Any]:
    file = output / PREDICTIONS
    if config.overwrite or not file.is_file():
        return {}
    return dict(read_json(file).get("cases", {}))


def _whole(output: Path, case: dict[str, Any]) -> bool:
    return all((output / name).is_file() for name in case["outputs"])


def _one(
    network: Any, volume: InputVolume, tiling: Tiling, output: Path, config: PredictConfig, key: str
) -> dict[str, Any]:
    began = time.perf_counter()
    voxels, affine = volume.read()
    result = through(network, voxels, tiling)
    seconds = time.perf_counter() - began
    outputs = _write_outputs(volume.name, voxels, affine, result, output, config)
    return {
        "source": volume.source,
        "key": [key, volume.key],
        "outputs": outputs,
        "crops": result.crops,
        "masked_loss": result.loss,
        "baseline": result.baseline,
        "ratio": result.loss / result.baseline if result.baseline else None,
        "skipped_cells": result.skipped,
        "embedding": [float(f"{value:.8g}") for value in result.embedding],
        "seconds": round(seconds, 3),
    }


def _write_outputs(
    name: str,
    voxels: np.ndarray,
    affine: np.ndarray,
    result: TiledResult,
    output: Path,
    config: PredictConfig,
) -> list[str]:
    output.mkdir(parents=True, exist_ok=True)
    rows = [(name, voxels, result.seen, result.reconstruction)]
    write_bytes(output / f"{name}.png", reconstruction_png(rows))
    outputs = [f"{name}.png"]
    if config.reconstructions:
        seen = np.where(result.seen, voxels, 0).astype(np.float32)
        for word, array in (("reconstruction", result.reconstruction), ("seen", seen)):
            file = f"{name}_{word}.nii.gz"
            with atomic_path(output / file) as path:
                nibabel.save(nibabel.Nifti1Image(array.astype(np.float32), affine), path)
            outputs.append(file)
    return outputs


def _write_embeddings(output: Path, told: dict[str, Any]) -> None:
    names = sorted(told)
    if not names:
        return
    with atomic_path(output / EMBEDDINGS) as path, path.open("wb") as stream:
        np.savez(
            stream,
            names=np.array(names),
            embeddings=np.array([told[name]["embedding"] for name in names], dtype=np.float32),
        )


def _write(
    request: PredictRequest,
    model: PretrainedModel,
    tiling: Tiling,
    told: dict[str, Any],
    failed: dict[str, str],
) -> None:
    content = {
        "format": 1,
        "field": FIELD,
        "model": str(model.folder.resolve()),
        "dataset": model.content["dataset"],
        "input": None if request.input is None else str(request.input),
        "mask_ratio": tiling.mask_ratio,
        "seed": tiling.seed,
        "cases": {name: told[name] for name in sorted(told)},
        "failed": failed,
    }
    write_json(request.output / PREDICTIONS, content)
