"""Losses of survival: the formulas, and Cox against torchsurv."""

import pytest
import torch

from medssm.losses.survival import cox, discrete_cross_entropy, discrete_nll, survival_of


def _patients(count: int = 12):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    bins = torch.randint(0, 4, (count,), generator=generator)
    censored = torch.randint(0, 2, (count,), generator=generator).double()
    months = torch.rand(count, generator=generator, dtype=torch.float64) * 60
    return logits, bins, censored, months


def test_a_censored_patient_counts_by_surviving_the_bin_and_an_event_by_its_hazard() -> None:
    hazards = torch.tensor([[0.1, 0.2, 0.3, 0.4]] * 2, dtype=torch.float64)
    found = discrete_nll(hazards, torch.tensor([2, 2]), torch.tensor([1.0, 0.0]).double())
    survived = torch.tensor(0.9 * 0.8 * 0.7).double()
    event = torch.tensor(0.9 * 0.8 * 0.3).double()
    torch.testing.assert_close(found, -torch.log(torch.stack((survived, event))))


def test_alpha_one_leaves_only_the_events() -> None:
    logits, bins, censored, _ = _patients()
    hazards = survival_of(logits).hazards
    for loss in (discrete_nll, discrete_cross_entropy):
        each = loss(hazards, bins, censored, alpha=1.0)
        assert not each[censored == 1].any()
        assert bool((each[censored == 0] > 0).all())


@pytest.mark.parametrize("loss", [discrete_nll, discrete_cross_entropy])
def test_gradients_are_those_of_the_formula(loss) -> None:
    logits, bins, censored, _ = _patients(5)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: loss(survival_of(x).hazards, bins, censored, 0.15), logits
    )


@pytest.mark.filterwarnings("ignore:Ties in `time`")
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_cox_is_that_of_torchsurv(ties, tied) -> None:
    reference = pytest.importorskip("torchsurv.loss.cox").neg_partial_log_likelihood
    logits, _, censored, months = _patients(40)
    months = months.div(10).ceil() if tied else months
    wanted = reference(
        logits[:, 0], censored == 0, months, ties_method=ties, reduction="sum"
    ) / len(months)  # fmt: skip
    # theirs is float32
    found = cox(logits[:, 0], months, censored, ties)
    assert float(found) == pytest.approx(float(wanted), rel=1e-5)


def test_cox_of_one_patient_is_zero_and_large_risks_stay_finite() -> None:
    one = torch.ones(1)
    assert float(cox(one, one, torch.zeros(1))) == 0.0
    theta = torch.tensor([900.0, -900.0, 0.0])
    assert bool(torch.isfinite(cox(theta, torch.tensor([1.0, 2.0, 3.0]), torch.zeros(3))))
