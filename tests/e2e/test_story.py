"""The story of a study through the real commands, killed on the way."""

import json
import os
import signal
import subprocess
import sys
import time

import nibabel
import numpy as np
import pytest

from medssm.core.files import TEMPORARY_MARK
from medssm.data.phantom import PhantomShape, make_phantom_dataset

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TINY = (
    "network.init_filters=8", "network.blocks_down=[1,1]", "network.blocks_up=[1]",
    "network.scan_from_level=1", "patch_size=[8,16,16]", "trainer.max_time=null",
    "trainer.steps_per_epoch=4", "trainer.workers=0", "trainer.accelerator=cpu",
    "trainer.precision=32-true", "budget=cpu", "trainer.threads=1",
)  # fmt: skip


@pytest.fixture
def plain(tmp_path):
    """A plain folder, the first thing that a user has."""
    raw = tmp_path / "made"
    make_phantom_dataset(raw, cases=4, held_back=2, shape=PhantomShape(size=(8, 18, 18)))
    plain = tmp_path / "plain"
    plain.mkdir()
    for part in ("images", "labels"):
        (raw / f"{part}Tr").rename(plain / part)
        (raw / f"{part}Ts").rename(plain / f"new_{part}")
    return plain


def _command(*words):
    return [sys.executable, "-m", "medssm.cli", *map(str, words)]


def _medssm(*words):
    done = subprocess.run(_command(*words), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_two_commands_lead_from_a_plain_folder_to_predictions_on_the_scanners_grid(plain, tmp_path):
    home = tmp_path / "home"
    answer = json.loads(
        _medssm("train", plain, "trainer.max_epochs=1", *TINY, "--home", home, "--json")
    )
    assert "predict" in answer["next"]
    out = tmp_path / "out"
    damaged = plain / "new_images" / "phantom_005_0000.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:500])
    words = ["predict", answer["model"], "-i", plain / "new_images", "-o", out]
    done = subprocess.run(_command(*words), capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "phantom_005" in done.stdout + done.stderr
    image = nibabel.load(plain / "new_images" / "phantom_004_0000.nii.gz")
    label = nibabel.load(out / "phantom_004.nii.gz")
    assert label.shape == image.shape
    assert np.array_equal(label.affine, image.affine)
    scores = subprocess.run(
        _command("evaluate", out, "-r", plain / "new_labels", "--json"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert scores.returncode == 3
    assert json.loads(scores.stdout)["missing"] == ["phantom_005"]
    assert (out / "evaluation" / "report.html").is_file()


def test_a_training_that_is_killed_ends_with_the_bits_of_one_that_was_not(plain, tmp_path):
    words = ["train", plain, "trainer.max_epochs=4", *TINY, "validate=false", "--home", tmp_path]
    _medssm(*words, "run=whole")
    (folder,) = (tmp_path / "results").glob("Dataset*")
    process = subprocess.Popen(
        _command(*words, "run=cut"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    metrics = folder / "cut" / "fold_0" / "metrics.csv"
    until = time.monotonic() + 120
    while not metrics.is_file() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert metrics.is_file()
    _medssm(*words, "run=cut")
    for name in ("weights.safetensors", "weights_best.safetensors"):
        whole, cut = (folder / run / "fold_0" / name for run in ("whole", "cut"))
        assert whole.read_bytes() == cut.read_bytes()
    rows = metrics.read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["0", "1", "2", "3"]
    assert list(tmp_path.rglob(f"{TEMPORARY_MARK}*")) == []
