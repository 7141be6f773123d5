"""The pipeline file: the same story as one Hydra application, with sweeps."""

import subprocess
import sys
from pathlib import Path

import pytest

from medssm.data.phantom import PhantomShape, make_phantom_dataset

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PROGRAM = Path(__file__).parents[2] / "pipelines" / "segmentation.py"
TINY = (
    "budget=cpu", "network.init_filters=8", "network.blocks_down=[1,1]", "network.blocks_up=[1]",
    "network.scan_from_level=1", "patch_size=[8,16,16]", "trainer.max_time=null",
    "trainer.max_epochs=1", "trainer.steps_per_epoch=2", "trainer.workers=0",
    "trainer.threads=1", "trainer.accelerator=cpu",
)  # fmt: skip


def _run(folder, *words):
    return subprocess.run(
        [sys.executable, PROGRAM, *map(str, words)],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_sweep_trains_a_model_for_each_of_its_values(tmp_path):
    raw = tmp_path / "Dataset001_Phantom"
    make_phantom_dataset(raw, cases=3, held_back=0, shape=PhantomShape(size=(8, 18, 18)))
    home, here = tmp_path / "home", tmp_path / "here"
    here.mkdir()
    done = _run(
        here, "--multirun", f"dataset={raw}", f"home={home}", "optimizer.lr=0.001,0.002", *TINY,
        "planner.workers=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    models = sorted(path.name for path in (home / "results" / raw.name).iterdir())
    assert models == ["sweep_000", "sweep_001"]
    assert done.stderr.count("report.html") == 2
    assert list(here.iterdir()) == []
    assert len(list((home / "sweeps").iterdir())) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dataset=4", "network=lightm_une"], "did you mean 'lightm_unet'"),
        (["trainer.max_epochs=3"], "dataset=… is missing"),
    ],
)
def test_a_slip_is_answered_without_a_traceback(tmp_path, words, message):
    done = _run(tmp_path, f"home={tmp_path}", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
