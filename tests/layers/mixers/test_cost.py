"""What the fused scans of the mixers compute, against the arithmetic of their definitions."""

import pytest

from medssm.layers.mixers import build_mixer
from medssm.networks.cost import cost

L, HALF, WIDTH = 56 * 56, 28 * 28, 96
# tokens times channels times states of all scans on a map of 56 x 56 with 96 channels
SCANS = {
    "mamba": L * 192 * 16,
    "vim": 2 * L * 192 * 16,
    "vim_v1": 2 * L * 192 * 16,
    "segmamba": 3 * L * 192 * 16,
    "srmamba": 2 * L * 192 * 16,
    "lbmamba": L * 192 * 16,
    "cross_scan": 4 * L * 192 * 16,
    "efficientvmamba": L * 192 * 16,
    "msvmamba": (L + 3 * HALF) * 192,
    "groupmamba": L * 96,
    "spatialmamba": L * 192,
    "vssd": 0,
    "efficientvim": 0,
    "s4d": 0,
    "s4nd": 0,
}


@pytest.mark.parametrize("name", SCANS)
def test_scan_operations_are_nine_a_token_channel_and_state(name):
    counted = cost(build_mixer({"name": name}, WIDTH, 2), (1, 56, 56, WIDTH))
    # beside the nine, one or two operations a token and channel for the skip
    tokens_times_channels = SCANS[name] / (1 if SCANS[name] < 10 * L * 192 else 16)
    assert 9 * SCANS[name] <= counted.scan_flops <= 9 * SCANS[name] + 2 * tokens_times_channels
    assert counted.macs > 0
