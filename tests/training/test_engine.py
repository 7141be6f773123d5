"""The engine: exact resume, a polite stop, a guard against numbers that are none."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from medssm.core.errors import InterruptedRunError, MachineError, UsageError
from medssm.training.checkpoints import LATEST, WEIGHTS
from medssm.training.config import TrainerConfig
from medssm.training.engine import Run, fit
from medssm.training.order import BatchOrder, SampleKey, Share, seeded
from medssm.training.task import Learning, Task


class Numbers(Dataset):
    """Sample i of epoch e, with a signal or a NaN at a chosen place."""

    def __init__(self, stop_at=None, nan_from=None):
        self.stop_at, self.nan_from = stop_at, nan_from

    def __getitem__(self, key: SampleKey):
        place = key.epoch * 100 + key.number
        if place == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        with seeded(0, 1, *key) as rng:
            x = torch.from_numpy(rng.normal(size=4).astype(np.float32))
        if self.nan_from is not None and place >= self.nan_from:
            x = x * float("nan")
        return {"x": x}


class Toy(Task):
    monitor = "dice"

    def __init__(self):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 4))
        super().__init__(net, Learning(max_bad_steps=3))

    def losses(self, batch):
        return {"loss": (self.network(batch["x"]) - batch["x"]).square().mean()}

    def quick_validation(self):
        with torch.no_grad():
            return {"dice": -float(self.losses({"x": torch.ones(2, 4)})["loss"])}


CONFIG = TrainerConfig(
    max_epochs=3, steps_per_epoch=4, ema_decay=0.9, workers=0, accelerator="cpu",
    precision="32-true",
)  # fmt: skip


def _run(folder, config=CONFIG, **where):
    task = Toy()
    outcome = fit(task, Numbers(**where), config, Run(folder, 7, 2, {"name": "toy"}))
    return task, outcome


def test_a_run_interrupted_in_the_middle_of_an_epoch_ends_with_the_same_bits(tmp_path):
    _run(tmp_path / "whole")
    with pytest.raises(InterruptedRunError, match="same command"):
        _run(tmp_path / "cut", stop_at=103)
    assert (tmp_path / "cut" / LATEST).exists()
    _run(tmp_path / "cut")
    for name in (WEIGHTS, "weights_best.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    rows = [
        [row.rsplit(",", 1)[0] for row in (tmp_path / run / "metrics.csv").read_text().split()]
        for run in ("whole", "cut")
    ]
    assert rows[0] == rows[1]


def test_a_finished_run_is_not_trained_again(tmp_path):
    _run(tmp_path)
    before = (tmp_path / WEIGHTS).read_bytes()
    _, outcome = _run(tmp_path)
    assert outcome.steps == 12
    assert (tmp_path / WEIGHTS).read_bytes() == before


def test_a_folder_of_another_run_is_refused(tmp_path):
    _run(tmp_path)
    with pytest.raises(UsageError, match="other settings"):
        fit(Toy(), Numbers(), CONFIG, Run(tmp_path, 7, 2, {"name": "other"}))


def test_steps_that_are_not_finite_end_the_run_with_the_remedy(tmp_path):
    with pytest.raises(MachineError, match="3 steps in a row"):
        _run(tmp_path, nan_from=100)


def test_a_time_limit_ends_the_run_before_its_last_step(tmp_path):
    config = TrainerConfig(
        max_epochs=10_000, steps_per_epoch=10, max_time="2s", workers=0, accelerator="cpu",
        precision="32-true",
    )  # fmt: skip
    _, outcome = _run(tmp_path, config)
    assert outcome.ended_by == "time"
    assert outcome.seconds < 10


class Stale(Toy):
    """Gets better in its first two validations and never again."""

    def quick_validation(self):
        self.seen = getattr(self, "seen", 0) + 1
        return {"dice": float(min(self.seen, 2))}


def test_a_run_without_progress_stops_early_and_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("medssm.core.log.LOGGER.propagate", True)
    caplog.set_level("INFO", logger="medssm")
    config = replace(CONFIG, max_epochs=50, patience=3)
    outcome = fit(Stale(), Numbers(), config, Run(tmp_path, 7, 2, {"name": "toy"}))
    assert (outcome.ended_by, outcome.steps) == ("patience", (2 + 3) * config.steps_per_epoch)
    assert "Stopping early at step 20: 3 validation(s)" in caplog.text
    # the same command again does not go on beyond the early stop
    again = fit(Stale(), Numbers(), config, Run(tmp_path, 7, 2, {"name": "toy"}))
    assert (again.ended_by, again.steps) == (outcome.ended_by, outcome.steps)


def test_ranks_share_an_epoch_without_overlap():
    seen = [
        key
        for rank in range(2)
        for batch in BatchOrder(2, 3, 2, share=Share(rank, 2))
        for key in batch
    ]
    assert len(seen) == len(set(seen)) == 24


def test_a_resumed_order_goes_on_where_it_was():
    whole = list(BatchOrder(2, 4, 3))
    assert list(BatchOrder(2, 4, 3, start=5)) == whole[5:]


def test_frozen_parameters_keep_their_values_for_their_epochs(tmp_path):
    before = {name: p.clone() for name, p in Toy().network.named_parameters()}
    held = replace(CONFIG, freeze=("0.",), freeze_epochs=3)
    after = dict(_run(tmp_path / "held", held)[0].network.named_parameters())
    assert all(torch.equal(after[name], before[name]) for name in ("0.weight", "0.bias"))
    assert not torch.equal(after["3.weight"], before["3.weight"])
    task, _ = _run(tmp_path / "freed", replace(held, freeze_epochs=2))
    freed = dict(task.network.named_parameters())
    assert not torch.equal(freed["0.weight"], before["0.weight"])


def test_freezing_what_is_not_there_is_answered_with_what_is(tmp_path):
    with pytest.raises(UsageError, match="no parameter of the network begins so"):
        _run(tmp_path, replace(CONFIG, freeze=("encodr.",)))
