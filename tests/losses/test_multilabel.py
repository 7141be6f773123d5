import pytest
import torch
import torch.nn.functional as F

from medssm.core.errors import UsageError
from medssm.losses.multilabel import MultilabelConfig, effective_weights, multilabel_loss


def _batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    logits = torch.randn(6, 4, requires_grad=True)
    target = (torch.rand(6, 4) < 0.4).float()
    return logits, target, torch.ones(6, 4)


def test_without_exponents_it_is_the_cross_entropy() -> None:
    logits, target, known = _batch()
    expected = F.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(multilabel_loss(logits, target, known, MultilabelConfig()), expected)


def test_the_asymmetric_form_follows_its_equation() -> None:
    logits, target, known = _batch()
    config = MultilabelConfig(gamma_positive=1, gamma_negative=3, margin=0.05)
    p = torch.sigmoid(logits)
    q = (p - 0.05).clamp(min=0)
    each = -target * (1 - p) * p.log() - (1 - target) * q**3 * (1 - q).log()
    torch.testing.assert_close(multilabel_loss(logits, target, known, config), each.mean())


@pytest.mark.parametrize("config", [MultilabelConfig(), MultilabelConfig(gamma_negative=2)])
def test_what_is_unknown_gets_no_gradient(config) -> None:
    logits, target, known = _batch()
    known[2, 1] = known[4, :] = 0
    multilabel_loss(logits, target, known, config).backward()
    assert (logits.grad[known == 0] == 0).all()
    assert (logits.grad[known == 1] != 0).all()


def test_a_batch_of_nothing_known_has_a_loss_of_zero() -> None:
    logits, target, known = _batch()
    assert float(multilabel_loss(logits, target, known * 0, MultilabelConfig())) == 0.0


def test_extreme_logits_stay_finite() -> None:
    logits = torch.tensor([[80.0, -80.0]], requires_grad=True)
    target = torch.tensor([[0.0, 1.0]])
    config = MultilabelConfig(gamma_positive=1, gamma_negative=2, margin=0.1)
    loss = multilabel_loss(logits, target, torch.ones(1, 2), config)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_rare_classes_weigh_more_and_the_mean_is_one() -> None:
    weights = effective_weights(torch.tensor([500.0, 50.0, 5.0]), 1000)
    assert weights[0] < weights[1] < weights[2]
    assert float(weights.mean()) == pytest.approx(1.0)


def test_ranges_are_held() -> None:
    with pytest.raises(UsageError, match="gamma_negative"):
        MultilabelConfig(gamma_negative=-1)
    with pytest.raises(UsageError, match="margin"):
        MultilabelConfig(margin=1.0)
