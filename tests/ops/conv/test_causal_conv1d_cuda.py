"""causal_conv1d as a backend: our layouts reach it and come back; its limits are said in words."""

import pytest
import torch

from medssm.ops.backends import BackendRefusedError, prefer
from medssm.ops.conv import CONV, causal_conv1d, causal_conv1d_cuda, reference
from medssm.ops.conv.inputs import ConvInputs, check
from medssm.ops.scan import selective_scan
from tests.support.cuda_packages import stand_in
from tests.support.scans import orders, scan_tensors


def _call(channels=8, taps=4, routes=None, dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    x = torch.randn((2, 20, channels), generator=g).to(dtype)
    weight = torch.randn((2, channels, taps), generator=g)
    return check(ConvInputs(x, weight, torch.randn((2, channels), generator=g), routes, True))


@pytest.mark.parametrize("channels", [8, 5])
def test_it_gives_the_values_of_the_reference(monkeypatch, channels):
    stand_in(monkeypatch)
    call = _call(channels)
    found, true = causal_conv1d_cuda.run(call), reference.run(call)
    torch.testing.assert_close(found, true, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "CUDA only"),
        ({"taps": 5}, "2 to 4 taps"),
        ({"routes": orders(2, 20)}, "no routes"),
        ({"dtype": torch.float64}, "float64"),
    ],
)
def test_a_limit_is_refused_in_words(changes, said):
    assert said in causal_conv1d_cuda.refuses(_call(**changes))


def test_it_is_never_taken_unasked(monkeypatch):
    monkeypatch.setattr(causal_conv1d_cuda, "missing", lambda: None)
    assert CONV.choose(_call()).name != "causal_conv1d"


def test_backends_of_two_operators_may_be_wished_together():
    x = torch.randn(1, 5, 3)
    with prefer("mamba_ssm", "reference"):
        causal_conv1d(x, torch.randn(1, 3, 4), None)
    with prefer("causal_conv1d", "reference"):
        selective_scan(**scan_tensors())


def test_a_misspelt_name_among_several_is_an_error():
    with prefer("chunkd", "reference"), pytest.raises(BackendRefusedError, match="chunkd"):
        selective_scan(**scan_tensors())
