"""Synthetic scans from a seed, then the whole story on them."""

from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage

from medssm.core.files import atomic_path
from medssm.core.log import say
from medssm.runs.answer import Answer
from medssm.runs.field import (
    DemoRequest,
    EvaluateRequest,
    ImportRequest,
    PredictRequest,
    StudyRequest,
)

_SCANS, _SHAPE = 20, (48, 56, 40)
# what two cores finish in about three minutes
_SHORT = (
    "preprocess.spacing_mm=null",
    "preprocess.val_share=0.25",
    "network=mamba_mim_small",
    "crop=[32,32,32]",
    "crops_per_volume=1",
    "batch_size=4",
    "optimizer.lr=0.005",
    "schedule.warmup_steps=20",
    "trainer.max_time=150s",
    "trainer.steps_per_epoch=50",
    "trainer.max_epochs=10",
)


def demo(request: DemoRequest) -> Answer:
    """Make scans without labels, pre-train on them, predict held-back ones, evaluate, report."""
    from medssm.fields.pretraining.archive import import_archive
    from medssm.fields.pretraining.evaluate import evaluate_pretraining
    from medssm.fields.pretraining.predict import predict_pretraining
    from medssm.fields.pretraining.story import train_study

    seed, home = request.seed, request.home
    name = f"Dataset998_Scans{'' if seed == 0 else f'_{seed}'}"
    source = home / "demo" / name
    say("Making %d scans without labels, seed %d.", _SCANS, seed)
    make_scans(source, _SCANS, seed)
    dataset = import_archive(ImportRequest("archive", source, home, name)).facts["dataset"]
    words = (*_SHORT, f"seed={seed}", *request.overrides)
    model = train_study(StudyRequest(dataset, home, words))
    output = home / "predictions" / name
    predict_pretraining(PredictRequest(model, None, output, home, ("cases=validation",)))
    told = evaluate_pretraining(EvaluateRequest(output, None, None, None, home))
    facts = {**told.facts, "model": str(model), "predictions": str(output)}
    lines = [*told.lines, f"start segmentation from it with: init={model}"]
    following = ("medssm", "train", "YOUR_FOLDER", "network=hybrid_mamba", f"init={model}")
    return Answer(facts, lines, [*told.written, model], following, told.exit_code)


def make_scans(folder: Path, count: int, seed: int) -> None:
    """Write CT-like volumes in HU: a body of soft tissue with lungs, bones and organs in air.

    Args:
        folder: Gets scan_000.nii.gz, …; files that are there stay.
        count: How many.
        seed: Of all of them; scan i is a function of (seed, i).
    """
    for index in range(count):
        file = folder / f"scan_{index:03d}.nii.gz"
        if file.is_file():
            continue
        voxels = _scan(np.random.default_rng((seed, index)))
        with atomic_path(file) as path:
            nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.5, 1.5, 1.5, 1.0])), path)


def _scan(rng: np.random.Generator) -> np.ndarray:
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in _SHAPE), indexing="ij"))

    def ellipsoid(centre: np.ndarray, radii: np.ndarray) -> np.ndarray:
        place = (grid - centre[:, None, None, None]) / radii[:, None, None, None]
        return np.asarray((place**2).sum(axis=0) < 1)

    voxels = np.full(_SHAPE, -1000.0)
    body = ellipsoid(rng.uniform(-0.05, 0.05, 3), np.array([0.85, 0.7, 1.6]))
    voxels[body] = rng.uniform(20, 60)
    for side in (-1, 1):
        lung = ellipsoid(np.array([0.4 * side, 0.0, 0.3]) + rng.uniform(-0.08, 0.08, 3),
                         rng.uniform(0.2, 0.32, 3))  # fmt: skip
        voxels[lung & body] = -800
    for _ in range(6):
        organ = ellipsoid(rng.uniform(-0.5, 0.5, 3), rng.uniform(0.1, 0.3, 3))
        voxels[organ & body] = rng.uniform(-80, 200)
    spine = ellipsoid(np.array([0.0, -0.5, 0.0]), np.array([0.12, 0.12, 2.0]))
    voxels[spine & body] = 500
    smooth = ndimage.gaussian_filter(voxels, 0.7) + rng.normal(0, 8, _SHAPE)
    return np.clip(np.round(smooth), -1024, 3071).astype(np.int16)
