"""kill -9 at five moments of preprocess, train and predict costs the work in flight, no more."""

import contextlib
import json
import os
import random
import signal
import stat
import subprocess
import sys
import time

import pytest
import torch

from medssm.core.files import TEMPORARY_MARK, sha256
from medssm.data.phantom import PhantomShape, make_phantom_dataset
from medssm.training.checkpoints import read_checkpoint

# seven commands a test: minutes on a machine that does other things as well
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

KILLS = 5
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


@pytest.fixture(scope="module")
def model(raw, tmp_path_factory):
    home = tmp_path_factory.mktemp("trained")
    return json.loads(_medssm("train", raw, *TINY, "--home", home, "--json"))["model"]


def _command(*words):
    return [sys.executable, "-m", "medssm.cli", *map(str, words)]


def _killed_at(words, folder, moment):
    """Run a command in its own group and kill the group at a moment of what it writes.

    Args:
        words: The command.
        folder: What it writes to; every new or changed file in it counts as one event.
        moment: Events to let pass, and seconds to wait after the last of them.

    Returns:
        Whether it was killed; False where it was done before.
    """
    events, pause_s = moment
    process = subprocess.Popen(
        _command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    seen, before = 0, _stamps(folder)
    until = time.monotonic() + 120
    while process.poll() is None and seen < events and time.monotonic() < until:
        time.sleep(0.002)
        now = _stamps(folder)
        seen += sum(1 for name, stamp in now.items() if before.get(name) != stamp)
        before = now
    time.sleep(pause_s)
    killed = process.poll() is None
    if killed:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return killed


def _stamps(folder):
    found = {}
    for path in folder.rglob("*"):
        # a temporary file may be gone by the time that it is looked at
        with contextlib.suppress(OSError):
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                found[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return found


def _moments(seed, most):
    """Five moments: after 0 to `most` writes, and up to 50 ms later."""
    rng = random.Random(seed)
    return [(rng.randint(1, most), rng.uniform(0, 0.05)) for _ in range(KILLS)]


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


def test_a_preprocessing_killed_five_times_loses_only_the_cases_in_flight(raw, tmp_path):
    words = ["preprocess", raw, "budget=cpu", "preprocess.workers=2", "--home"]
    _medssm(*words, tmp_path / "whole")
    expected = _visible(tmp_path / "whole", "*.b2nd")
    home = tmp_path / "cut"
    home.mkdir()
    killed = 0
    for moment in _moments(1, 12):
        killed += _killed_at([*words, home], home, moment)
        # whatever stands under its final name is whole
        assert _visible(home, "*.b2nd").items() <= expected.items()
        _all_json_is_whole(home)
    assert killed == KILLS
    _medssm(*words, home)
    assert _visible(home, "*.b2nd") == expected
    assert list(home.rglob(f"{TEMPORARY_MARK}*")) == []


def test_a_training_killed_five_times_ends_with_the_bits_of_one_that_was_not(raw, tmp_path):
    words = [
        "train", raw, *TINY, "trainer.max_epochs=12", "trainer.ema_decay=0.9", "--home", tmp_path,
    ]  # fmt: skip
    _medssm(*words, "run=whole")
    (results,) = (tmp_path / "results").iterdir()
    whole, cut = (results / run / "fold_0" for run in ("whole", "cut"))
    cut.mkdir(parents=True)
    killed, steps = 0, []
    for moment in _moments(2, 24):
        killed += _killed_at([*words, "run=cut"], cut, moment)
        _all_json_is_whole(cut)
        steps.append(_last_step(cut))
    assert killed == KILLS
    # each part went on where the one before was killed
    assert steps == sorted(steps)
    assert steps[-1] > 0
    _medssm(*words, "run=cut")
    for name in ("weights.safetensors", "weights_best.safetensors"):
        assert sha256(cut / name) == sha256(whole / name)
    assert _same(*(read_checkpoint(each / "checkpoint_final.pt") for each in (whole, cut)))
    assert _rows(cut) == _rows(whole)
    assert list(tmp_path.rglob(f"{TEMPORARY_MARK}*")) == []


def _all_json_is_whole(folder):
    for path in folder.rglob("*.json"):
        if not path.name.startswith(TEMPORARY_MARK):
            json.loads(path.read_text())


def _last_step(folder):
    """Steps of the newest checkpoint, whose visible file must be whole."""
    latest = folder / "checkpoint_latest.pt"
    return read_checkpoint(latest)["state"]["step"] if latest.is_file() else 0


def _same(one, other):
    """Equal checkpoints: weights, average, optimiser and counters, clocks left out."""
    if isinstance(one, dict):
        clocks = {"elapsed_s", "saved_at"}
        names = one.keys() - clocks
        return names == other.keys() - clocks and all(_same(one[n], other[n]) for n in names)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def _rows(folder):
    """metrics.csv without its last column, the seconds."""
    return [row.rsplit(",", 1)[0] for row in (folder / "metrics.csv").read_text().splitlines()]


def test_a_prediction_killed_five_times_loses_only_the_case_in_flight(raw, model, tmp_path):
    words = ["predict", model, "-i", raw / "imagesTs", "device=cpu", "-o"]
    _medssm(*words, tmp_path / "whole")
    expected = _visible(tmp_path / "whole", "*.nii.gz")
    assert len(expected) == 8
    out = tmp_path / "cut"
    out.mkdir()
    killed = 0
    for moment in _moments(3, 3):
        killed += _killed_at([*words, out], out, moment)
        assert _visible(out, "*.nii.gz").items() <= expected.items()
        _all_json_is_whole(out)
    assert killed == KILLS
    _medssm(*words, out)
    assert _visible(out, "*.nii.gz") == expected
    assert list(out.rglob(f"{TEMPORARY_MARK}*")) == []


def test_a_damaged_output_is_predicted_again(raw, model, tmp_path):
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
