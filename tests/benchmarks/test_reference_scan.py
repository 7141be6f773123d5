"""The contest with the reference scan runs on every network and compares losses first."""

import pytest

from benchmarks.reference_scan import SIZES, measure
from medssm.networks import NETWORKS
from medssm.ops.backends import explain


def test_every_published_network_is_measured():
    assert set(SIZES) == set(NETWORKS) - {"unet", "plain_conv_unet", "residual_encoder_unet"}


@pytest.mark.slow
def test_a_small_contest_gives_both_times_of_equal_losses():
    if not any(row.backend == "cpu" and row.available for row in explain()):
        pytest.skip("no compiler built the native scan here")
    row = measure("msvm_unet", 64, 1, seconds=0.1)
    assert row["loss"]["cpu"] == pytest.approx(row["loss"]["reference"], rel=1e-3)
