"""kill -9 while cases are preprocessed or predicted costs the work in flight and nothing else."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from medssm.core.files import TEMPORARY_MARK, sha256
from medssm.data.phantom import PhantomShape, make_phantom_dataset

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

KILLS = 3
TINY = (
    "budget=cpu", "network.init_filters=8", "network.blocks_down=[1,1]", "network.blocks_up=[1]",
    "network.scan_from_level=1", "patch_size=[8,16,16]", "trainer.max_time=null",
    "trainer.max_epochs=1", "trainer.steps_per_epoch=2", "trainer.workers=0",
    "trainer.threads=1", "trainer.accelerator=cpu", "validate=false",
)  # fmt: skip


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "Dataset001_Phantom"
    shape = PhantomShape(size=(12, 30, 30))
    make_phantom_dataset(folder, cases=10, held_back=8, shape=shape)
    return folder


def _command(*words):
    return [sys.executable, "-m", "medssm.cli", *map(str, words)]


def _killed_once_it_writes(words, pattern, folder, seed):
    """Start a command in its own group and kill the whole group soon after its first results."""
    before = len(list(folder.rglob(pattern)))
    process = subprocess.Popen(
        _command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        if len(list(folder.rglob(pattern))) > before:
            break
        time.sleep(0.002)
    time.sleep(random.Random(seed).uniform(0, 0.1))
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _visible(folder, pattern):
    return {
        path.name: sha256(path)
        for path in sorted(folder.rglob(pattern))
        if not path.name.startswith(TEMPORARY_MARK)
    }


def _medssm(*words):
    done = subprocess.run(_command(*words), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_killed_preprocessing_loses_only_the_case_in_flight(raw, tmp_path):
    words = ["preprocess", raw, "budget=cpu", "preprocess.workers=2", "--home"]
    _medssm(*words, tmp_path / "whole")
    expected = _visible(tmp_path / "whole", "*.b2nd")
    home = tmp_path / "cut"
    home.mkdir()
    for seed in range(KILLS):
        _killed_once_it_writes([*words, home], "*.b2nd", home, seed)
        # whatever stands under its final name is whole
        assert _visible(home, "*.b2nd").items() <= expected.items()
    _medssm(*words, home)
    assert _visible(home, "*.b2nd") == expected
    assert list(home.rglob(f"{TEMPORARY_MARK}*")) == []


def test_a_killed_prediction_loses_only_the_case_in_flight(raw, tmp_path):
    model = json.loads(_medssm("train", raw, *TINY, "--home", tmp_path, "--json"))["model"]
    words = ["predict", model, "-i", raw / "imagesTs", "device=cpu", "-o"]
    _medssm(*words, tmp_path / "whole")
    expected = _visible(tmp_path / "whole", "*.nii.gz")
    assert len(expected) == 8
    out = tmp_path / "cut"
    out.mkdir()
    for seed in range(KILLS):
        _killed_once_it_writes([*words, out], "phantom_*.nii.gz", out, seed)
        assert _visible(out, "*.nii.gz").items() <= expected.items()
    _medssm(*words, out)
    assert _visible(out, "*.nii.gz") == expected
    assert list(out.rglob(f"{TEMPORARY_MARK}*")) == []


def test_a_damaged_output_is_predicted_again(raw, tmp_path):
    model = json.loads(_medssm("train", raw, *TINY, "--home", tmp_path, "--json"))["model"]
    words = ["predict", model, "-i", raw / "imagesTs", "-o", tmp_path / "out", "device=cpu"]
    _medssm(*words)
    whole = _visible(tmp_path / "out", "*.nii.gz")
    victim = next((tmp_path / "out").glob("*.nii.gz"))
    victim.write_bytes(victim.read_bytes()[:100])
    _medssm(*words)
    assert _visible(tmp_path / "out", "*.nii.gz") == whole


def test_a_polite_kill_of_a_training_ends_with_five_and_goes_on(raw, tmp_path):
    words = ["train", raw, *TINY, "trainer.max_epochs=100000", "--home", tmp_path]
    process = subprocess.Popen(_command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        if list(tmp_path.rglob("metrics.csv")):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 5, said[-2000:]
    (metrics,) = tmp_path.rglob("metrics.csv")
    done = len(metrics.read_text().splitlines()) - 1
    _medssm("train", raw, *TINY, f"trainer.max_epochs={done + 2}", "--home", tmp_path)
    epochs = [row.split(",")[0] for row in metrics.read_text().splitlines()[1:]]
    assert epochs == [str(number) for number in range(done + 2)]
