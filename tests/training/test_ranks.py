"""Two processes over gloo: one training, whose ranks agree, share the samples and can be cut."""

import json
import os
import subprocess
import sys

import pytest

from medssm.training.checkpoints import WEIGHTS, read_checkpoint
from tests.support.shared import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# optimiser steps x batches a step x ranks x samples a batch
STEPS, BATCHES, RANKS, SAMPLES = 12, 2, 2, 2


def _train(folder, *fate):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name in ("LOCAL_RANK", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        environment.pop(name, None)
    return subprocess.run(
        [sys.executable, "-m", "tests.support.ranks", str(folder), *map(str, fate)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=280, env=environment,
    )  # fmt: skip


def _noted(folder, kind):
    return [
        [json.loads(line) for line in (folder / f"{kind}_{rank}.jsonl").read_text().splitlines()]
        for rank in range(RANKS)
    ]


def _rows(folder):
    """metrics.csv without its last column, the seconds."""
    return [row.rsplit(",", 1)[0] for row in (folder / "metrics.csv").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks") / "whole"
    done = _train(folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done


def test_ranks_end_every_epoch_with_equal_weights(whole):
    first, second = _noted(whole[0], "weights")
    assert first == second
    assert len(set(first)) == 3


def test_every_sample_is_used_once_and_by_one_rank(whole):
    first, second = ([tuple(key) for key in keys] for keys in _noted(whole[0], "samples"))
    a_step = BATCHES * SAMPLES
    used = first[: STEPS * a_step] + second[: STEPS * a_step]
    assert len(used) == len(set(used))
    samples = STEPS // 3 * a_step * RANKS
    assert set(used) == {(epoch, number) for epoch in range(3) for number in range(samples)}


def test_only_the_first_process_goes_on_and_nothing_of_the_launch_is_left(whole):
    assert whole[1].stdout == "rank 0 goes on; []\n"


def test_a_signal_to_one_process_stops_both_and_the_resumed_run_has_the_same_bits(whole, tmp_path):
    # of four samples a step and rank, the second rank cuts 10 and 11 of an epoch
    stopped = _train(tmp_path, 111, "term")
    assert stopped.returncode == 5, stopped.stderr[-3000:]
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "interrupted"
    resumed = _train(tmp_path)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert (tmp_path / WEIGHTS).read_bytes() == (whole[0] / WEIGHTS).read_bytes()
    assert _rows(tmp_path) == _rows(whole[0])


def test_two_processes_of_which_one_is_killed_end_with_the_same_bits(whole, tmp_path):
    killed = _train(tmp_path, 211, "kill")
    # by the error that names the lost process, or by Lightning's watch over its children
    assert killed.returncode in (4, -9), killed.stderr[-3000:]
    assert _train(tmp_path).returncode == 0
    assert (tmp_path / WEIGHTS).read_bytes() == (whole[0] / WEIGHTS).read_bytes()
    assert _rows(tmp_path) == _rows(whole[0])


def test_a_step_that_is_not_finite_on_one_rank_is_skipped_by_both(tmp_path):
    assert _train(tmp_path, 110, "nan").returncode == 0
    first, second = _noted(tmp_path, "weights")
    assert first == second
    checkpoint = read_checkpoint(tmp_path / "checkpoint_final.pt")
    assert checkpoint["counters"]["bad_steps"] == 1
    assert checkpoint["ranks"] == 2
