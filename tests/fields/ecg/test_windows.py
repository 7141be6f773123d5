import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medssm.core.errors import UsageError
from medssm.fields.ecg.calibration import Calibration, no_calibration
from medssm.fields.ecg.windows import Reader, WindowPlan


class Mean(nn.Module):
    """Two logits: the mean of the first lead, and the age."""

    def forward(self, x: Tensor, about: Tensor) -> Tensor:
        return torch.stack([x[:, 0].mean(-1), about[:, 0]], 1)


def _reader(*calibrations: Calibration, batch: int = 3) -> Reader:
    made = calibrations or (no_calibration(2),)
    return Reader([Mean()] * len(made), made, torch.device("cpu"), batch)


@pytest.mark.parametrize(("samples", "expected"), [
    (50, [0]), (100, [0]), (150, [0, 50]), (200, [0, 50, 100]), (210, [0, 37, 73, 110]),
])  # fmt: skip
def test_windows_overlap_by_half_and_end_with_the_record(samples, expected) -> None:
    assert WindowPlan(100).starts(samples) == expected


def test_a_long_record_has_no_more_windows_than_allowed_spread_evenly() -> None:
    starts = WindowPlan(100, most=5).starts(10_000)
    assert len(starts) == 5
    assert starts[0] == 0
    assert starts[-1] == 9_900
    assert len(WindowPlan(100, most=0).starts(10_000)) == 199
    assert WindowPlan(100, most=1).starts(300) == [100]


def test_a_short_record_is_filled_with_zeros() -> None:
    plan = WindowPlan(100)
    cut = plan.cut(np.ones((12, 30), np.float32), plan.starts(30))
    assert cut.shape == (1, 12, 100)
    assert cut[..., :30].all()
    assert not cut[..., 30:].any()


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_records_in_common_batches_are_answered_as_alone(batch: int) -> None:
    rng = np.random.default_rng(0)
    signals = [rng.normal(size=(12, n)).astype(np.float32) for n in (80, 100, 420)]
    about = [(0.5, 0.0), (-1.0, 1.0), (2.0, 0.0)]
    plan = WindowPlan(100)
    together = _reader(batch=batch).records(signals, about, plan)
    for signal, who, row in zip(signals, about, together, strict=True):
        (alone,) = _reader().records([signal], [who], plan)
        np.testing.assert_allclose(row, alone, atol=1e-6)
        assert row[1] == pytest.approx(1 / (1 + np.exp(-who[0])), abs=1e-6)


def test_mean_and_max_of_windows() -> None:
    signal = np.zeros((12, 200), np.float32)
    signal[:, 100:] = 2.0
    (mean,) = _reader().records([signal], [(0.0, 0.0)], WindowPlan(100))
    (highest,) = _reader().records([signal], [(0.0, 0.0)], WindowPlan(100, pool="max"))
    each = 1 / (1 + np.exp(-np.array([0.0, 1.0, 2.0])))
    assert mean[0] == pytest.approx(each.mean(), abs=1e-6)
    assert highest[0] == pytest.approx(each.max(), abs=1e-6)


def test_networks_are_calibrated_each_before_their_mean() -> None:
    shifted = Calibration(np.ones(2), np.array([1.0, 0.0]), np.full(2, 0.5))
    (row,) = _reader(no_calibration(2), shifted).records(
        [np.zeros((12, 100), np.float32)], [(0.0, 0.0)], WindowPlan(100)
    )
    assert row[0] == pytest.approx((0.5 + 1 / (1 + np.exp(-1))) / 2, abs=1e-6)


def test_ranges_are_held() -> None:
    with pytest.raises(UsageError, match="overlap"):
        WindowPlan(100, overlap=1.0)
    with pytest.raises(UsageError, match="windows"):
        WindowPlan(100, most=-1)
