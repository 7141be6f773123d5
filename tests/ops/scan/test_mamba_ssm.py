"""mamba_ssm as a backend: our layouts reach it and come back; its limits are said in words."""

import pytest
import torch

from medssm.ops.backends import BackendRefusedError, prefer
from medssm.ops.scan import SCAN, mamba_ssm, selective_scan
from medssm.ops.scan.inputs import ScanInputs, check
from tests.support.cuda_packages import stand_in
from tests.support.scans import orders, scan_tensors


def _call(routes=None, merge=True, **changes):
    tensors = scan_tensors(length=20, dtype=torch.float32) | changes
    return check(
        ScanInputs(
            *(tensors[name] for name in ("u", "delta", "A", "B", "C", "D", "delta_bias")),
            tensors.get("delta_weight"),
            routes,
            tensors["z"],
            tensors.get("state"),
            True,
            merge,
            tensors.get("lengths"),
            tensors.get("window", 0),
            tensors.get("deterministic"),
        )
    )


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_it_gives_the_values_and_gradients_of_the_reference(monkeypatch, shared, merge):
    stand_in(monkeypatch)
    found = []
    for run in (mamba_ssm.run, SCAN.backends[-1].run):
        u = scan_tensors(length=20, dtype=torch.float32, shared=shared)["u"].requires_grad_()
        y, last = run(_call(u=u, merge=merge))
        found.append((y, last.detach(), torch.autograd.grad(y.square().sum(), u)[0]))
    assert SCAN.backends[-1].name == "reference"
    for mine, true in zip(*found, strict=True):
        torch.testing.assert_close(mine, true, atol=1e-5, rtol=1e-4)


def test_half_types_and_low_rank_steps_reach_it_in_one_type(monkeypatch):
    stand_in(monkeypatch)
    g = torch.Generator().manual_seed(1)
    tensors = scan_tensors(length=20)
    half = {name: tensors[name].bfloat16() for name in ("u", "delta", "B", "C", "z")}
    half["delta"] = half["delta"][..., :3]
    weight = torch.randn((2, 5, 3), generator=g)
    y, last = mamba_ssm.run(_call(**half, delta_weight=weight))
    true, true_last = SCAN.backends[-1].run(_call(**half, delta_weight=weight))
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, true, atol=0.1, rtol=0.05)
    torch.testing.assert_close(last, true_last, atol=0.1, rtol=0.05)


def test_a_gradient_of_the_last_state_is_an_error_rather_than_missing(monkeypatch):
    stand_in(monkeypatch)
    u = scan_tensors(length=20, dtype=torch.float32)["u"].requires_grad_()
    y, last = mamba_ssm.run(_call(u=u))
    y.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="no gradient"):
        last.sum().backward()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "CUDA only"),
        ({"routes": orders(2, 20)}, "no routes"),
        ({"state": torch.zeros(2, 2, 5, 4)}, "initial state"),
        ({"lengths": torch.tensor([20, 3])}, "lengths"),
        ({"window": 4}, "local window"),
        ({"deterministic": True}, "fixed order"),
        ({"u": torch.zeros(2, 20, 5, dtype=torch.bfloat16)}, "one type"),
        (
            {
                "A": torch.zeros(2, 5, 257),
                "B": torch.zeros(2, 2, 20, 257),
                "C": torch.zeros(2, 2, 20, 257),
            },
            "256 states",
        ),
    ],
)
def test_a_limit_is_refused_in_words(changes, said):
    assert said in mamba_ssm.refuses(_call(**changes))


def test_it_is_never_taken_unasked(monkeypatch):
    monkeypatch.setattr(mamba_ssm, "missing", lambda: None)
    monkeypatch.setattr(mamba_ssm, "refuses", lambda call: None)
    assert SCAN.choose(_call()).name != "mamba_ssm"


def test_a_wish_for_it_without_the_package_says_how_to_get_it():
    with (
        prefer("mamba_ssm"),
        pytest.raises(BackendRefusedError, match=r"medssm\[cuda\]|NVIDIA|CUDA only"),
    ):
        selective_scan(**scan_tensors(dtype=torch.float32))
