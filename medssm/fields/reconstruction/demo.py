"""A synthetic data set from a seed, then the whole story on it."""

from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.log import say
from medssm.data.kspace_writers import write_fastmri
from medssm.fields.reconstruction.phantoms import head_phantom
from medssm.fields.reconstruction.simulation import ImageSource, SimulationConfig, simulate
from medssm.runs.answer import Answer
from medssm.runs.datasets import register_dataset
from medssm.runs.field import DemoRequest, EvaluateRequest, PredictRequest, StudyRequest

_DATASET = "Dataset996_PhantomScans"
_SIZE = (128, 112)
_VOLUMES, _SLICES, _HELD_BACK = 6, 4, 2
# what two cores finish in about three minutes
_SHORT = (
    "supervision=simulated",
    f"simulation.size=[{_SIZE[0]},{_SIZE[1]}]",
    "simulation.phantoms=1.0",
    "network.hidden_channels=16",
    "optimizer.lr=0.003",
    "trainer.max_time=150s",
)


def make_scans(
    folder: Path, count: int, seed: int, *, first: int = 0, size: tuple[int, int] = _SIZE,
    slices: int = _SLICES,
) -> list[Path]:  # fmt: skip
    """Write fully sampled volumes of phantoms in fastMRI's layout.

    Args:
        folder: Made.
        count: How many.
        seed: Volume i is a function of (seed, i).
        first: Number of the first one.
        size: Rows and columns.
        slices: Of a volume.

    Returns:
        The files.
    """
    config = SimulationConfig(
        size=size, rows=0, coils=(6, 6), noise=(0.008, 0.015), turn=4.0, bend=0.01, invert=0.0
    )
    written = []
    for number in range(first, first + count):
        generator = np.random.default_rng((seed, number))
        head = ImageSource(head_phantom(size, generator))
        # the slices of a volume show one head, each with a small turn and coils of its own
        draws = int(generator.integers(1 << 31))
        made = [
            simulate(head, config, np.random.default_rng((draws, index))).kspace
            for index in range(slices)
        ]
        path = folder / f"phantom_{number:03d}.h5"
        write_fastmri(path, np.stack(made), patient_id=f"phantom{number:03d}")
        written.append(path)
    return written


def demo(request: DemoRequest) -> Answer:
    """Simulate scans, learn from other phantoms, reconstruct, compare and report."""
    from medssm.fields.reconstruction.stages import FIELD

    seed = request.seed
    dataset = _DATASET if seed == 0 else f"{_DATASET}_{seed}"
    raw = request.home / "raw" / dataset
    scans, tried = raw / "scans", raw / "tried"
    if not (raw / "dataset.json").is_file():
        say("Simulating %d scans to plan with and %d to be tried on, seed %d.",
            _VOLUMES, _HELD_BACK, seed)  # fmt: skip
        make_scans(scans, _VOLUMES, seed)
        make_scans(tried, _HELD_BACK, seed, first=_VOLUMES)
        register_dataset(request.home, scans, "reconstruction", name=dataset)
    words = (*_SHORT, f"seed={seed}", *request.overrides)
    trained = FIELD.train(StudyRequest(dataset, request.home, words))
    model = Path(str(trained.facts["model"]))
    output = request.home / "predictions" / dataset
    made = FIELD.predict(PredictRequest(model, tried, output, request.home))
    report = FIELD.evaluate(EvaluateRequest(output, None, None, None, request.home))
    facts: dict[str, Any] = {**report.facts, "model": str(model), "predictions": str(output)}
    following = ("medssm", "train", "YOUR_FOLDER")
    code = made.exit_code or report.exit_code
    return Answer(facts, [*trained.lines, *report.lines], report.written, following, code)
