"""Half precision: a step that is not finite changes nothing, and scans keep float32 states."""

import csv

import lightning.pytorch
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import Dataset

from medssm.core.errors import MachineError
from medssm.layers.mixers import mamba
from medssm.networks import NETWORKS
from medssm.ops.scan import selective_scan
from medssm.training import engine
from medssm.training.checkpoints import WEIGHTS, read_checkpoint
from medssm.training.config import TrainerConfig
from medssm.training.devices import chosen_precision
from medssm.training.engine import Run, fit
from medssm.training.task import Learning, Task
from tests.support.tiny import TINY_NETWORKS

BAD_STEP = 5


class Numbers(Dataset):
    """Batches of a seed; from BAD_STEP on `bad` of them hold `value`."""

    def __init__(self, bad, value):
        self.bad, self.value = bad, value

    def __getitem__(self, key):
        step = (key.epoch * 8 + key.number) // 2
        x = torch.randn(4, generator=torch.Generator().manual_seed(8 * key.epoch + key.number))
        return {"x": x * self.value if BAD_STEP <= step < BAD_STEP + self.bad else x}


class Watched(Task):
    """Learns to give back its input; keeps the weights after each step."""

    monitor = "dice"

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(nn.Linear(4, 4), Learning(max_bad_steps=3))
        self.weights = []

    def losses(self, batch):
        return {"loss": (self.network(batch["x"]).float() - batch["x"]).square().mean()}

    def on_train_batch_end(self, *_):
        self.weights.append(self.network.weight.detach().clone())


@pytest.fixture(params=["32-true", "bf16-mixed", "16-mixed"])
def precision(request, monkeypatch):
    """A precision; float16 with the gradient scaler of a GPU, which Lightning keeps off a CPU."""
    if request.param == "16-mixed":
        plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=16.0))

        def trainer(**settings):
            del settings["precision"]
            return lightning.pytorch.Trainer(**settings, plugins=[plugin])

        monkeypatch.setattr(engine, "Trainer", trainer)
        return "bf16-mixed"
    return request.param


def _fit(folder, precision, bad, value):
    config = TrainerConfig(
        max_epochs=3, steps_per_epoch=4, ema_decay=0.9, workers=0, accelerator="cpu",
        precision=precision,
    )  # fmt: skip
    task = Watched()
    fit(task, Numbers(bad, value), config, Run(folder, 7, 2, {"name": "toy"}))
    return task


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_bad_step_changes_no_weight_and_is_counted(tmp_path, precision, value):
    task = _fit(tmp_path, precision, 2, value)
    weights = task.weights
    for bad in (BAD_STEP, BAD_STEP + 1):
        assert torch.equal(weights[bad], weights[BAD_STEP - 1])
    assert not torch.equal(weights[BAD_STEP + 2], weights[BAD_STEP + 1])
    assert all(bool(each.isfinite().all()) for each in load_file(tmp_path / WEIGHTS).values())
    counters = read_checkpoint(tmp_path / "checkpoint_final.pt")["counters"]
    assert (counters["bad_steps"], counters["bad_steps_in_a_row"]) == (2, 0)
    with (tmp_path / "metrics.csv").open() as stream:
        assert [row["skipped_steps"] for row in csv.DictReader(stream)] == ["0", "2", "2"]


def test_too_many_bad_steps_in_a_row_end_the_run_with_the_remedy(tmp_path, precision):
    with pytest.raises(MachineError, match=r"3 steps in a row.*trainer\.precision=32-true"):
        _fit(tmp_path, precision, 3, float("nan"))
    checkpoint = read_checkpoint(tmp_path / "checkpoint_latest.pt")
    assert all(bool(each.isfinite().all()) for each in checkpoint["network_weights"].values())


def test_float16_on_a_cpu_is_answered_not_swapped_in_silence(caplog, monkeypatch):
    monkeypatch.setattr("medssm.core.log.LOGGER.propagate", True)
    caplog.set_level("INFO", logger="medssm")
    config = TrainerConfig(precision="16-mixed", accelerator="cpu")
    assert chosen_precision(config, "cpu") == "bf16-mixed"
    assert "taking bf16-mixed" in caplog.text


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_network_under_autocast_scans_with_float32_states(monkeypatch, dtype):
    states = []

    def noted(u, delta, A, *rest, **options):
        y, state = selective_scan(u, delta, A, *rest, **options, return_last_state=True)
        states.append((u.dtype, A.dtype, state.dtype))
        return y

    monkeypatch.setattr(mamba, "selective_scan", noted)
    network = NETWORKS.build(
        "lightm_unet", spatial_dims=2, in_channels=1, out_channels=2, **TINY_NETWORKS["lightm_unet"]
    )
    with torch.autocast("cpu", dtype=dtype):
        network(torch.randn(1, 1, 16, 16))
    assert states
    assert all(each[1:] == (torch.float32, torch.float32) for each in states)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_long_scan_under_autocast_loses_one_rounding_and_no_more(dtype):
    torch.manual_seed(0)
    length, channels, state = 2000, 4, 4
    u = torch.randn(1, length, channels).to(dtype)
    # slow decay: a state of half precision would drop most of what is added to it
    delta = torch.full((1, 1, length, channels), -4.0).to(dtype)
    A = -torch.full((1, channels, state), 0.05)
    B, C = (torch.randn(1, 1, length, state).to(dtype) for _ in range(2))
    with torch.autocast("cpu", dtype=dtype):
        y = selective_scan(u, delta, A, B, C)
    exact = selective_scan(*(each.double() for each in (u, delta, A, B, C)))
    scale = exact.abs().max()
    assert float((y.double() - exact).abs().max() / scale) <= torch.finfo(dtype).eps
