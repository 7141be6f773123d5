"""A training on two devices through the command: one story, one answer."""

import base64
import json
import subprocess
import sys

import pytest

from medssm.data.phantom import PhantomShape, make_phantom_dataset

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TINY = (
    "network.init_filters=8", "network.blocks_down=[1,1]", "network.blocks_up=[1]",
    "network.scan_from_level=1", "patch_size=[8,16,16]", "trainer.max_time=null",
    "trainer.max_epochs=1", "trainer.steps_per_epoch=2", "trainer.workers=0",
    "trainer.accelerator=cpu", "trainer.precision=32-true", "budget=cpu", "trainer.threads=1",
)  # fmt: skip


def test_two_devices_give_one_answer_and_one_validation(tmp_path):
    raw = tmp_path / "Dataset001_Phantom"
    make_phantom_dataset(raw, cases=3, held_back=0, shape=PhantomShape(size=(8, 18, 18)))
    words = ["train", raw, *TINY, "trainer.devices=2", "--home", tmp_path, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "medssm.cli", *map(str, words)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads(done.stdout)
    assert answer["folds"]["fold_0"]["mean_foreground_dice"] is not None
    assert done.stderr.count("Training on CPU") == 1
    (status,) = tmp_path.rglob("status.json")
    assert json.loads(status.read_text())["state"] == "complete"
    curves = base64.b64encode(status.with_name("curves.png").read_bytes()).decode()
    assert curves in (status.parent / "validation" / "report.html").read_text()
