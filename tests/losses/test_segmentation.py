"""Losses agree with their definitions, and leave out what they are told to ignore."""

import pytest
import torch
import torch.nn.functional as F

from medssm.losses import LOSSES
from medssm.losses.segmentation import over_scales


def _logits(k=3, seed=0):
    return torch.randn((2, k, 4, 5, 6), generator=torch.Generator().manual_seed(seed))


def _target(k=3, seed=1):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, k, (2, 1, 4, 5, 6), generator=g).to(torch.int16)


@pytest.mark.parametrize("batch_dice", [False, True])
def test_dice_ce_is_cross_entropy_plus_foreground_dice(batch_dice):
    logits, target = _logits(), _target()
    axes = (0, 2, 3, 4) if batch_dice else (2, 3, 4)
    guess = logits.softmax(1)[:, 1:]
    truth = F.one_hot(target[:, 0].long(), 3).movedim(-1, 1)[:, 1:]
    dice = (2 * (guess * truth).sum(axes) + 1e-5) / (guess.sum(axes) + truth.sum(axes) + 1e-5)
    expected = F.cross_entropy(logits, target[:, 0].long()) + 1 - dice.mean()
    loss = LOSSES.build("dice_ce", batch_dice=batch_dice)
    assert torch.allclose(loss(logits, target), expected, atol=1e-5)


def test_a_perfect_answer_costs_nearly_nothing():
    target = _target()
    logits = 30.0 * F.one_hot(target[:, 0].long(), 3).movedim(-1, 1).float()
    assert LOSSES.build("dice_ce")(logits, target) < 1e-3


@pytest.mark.parametrize("name", ["dice_ce", "dice_bce"])
def test_ignored_voxels_have_no_gradient(name):
    arguments = {"regions": [[1, 2], [2]]} if name == "dice_bce" else {}
    k = 2 if name == "dice_bce" else 3
    logits, target = _logits(k).requires_grad_(), _target()
    target[:, :, :2] = 3
    loss = LOSSES.build(name, ignore=3, **arguments)
    (gradient,) = torch.autograd.grad(loss(logits, target), logits)
    assert gradient[:, :, :2].abs().max() == 0
    assert gradient[:, :, 2:].abs().max() > 0


def test_regions_are_unions_of_label_values():
    target = _target()
    whole = (target > 0).float()
    core = (target == 2).float()
    logits = 60.0 * torch.cat([whole, core], 1) - 30.0
    assert LOSSES.build("dice_bce", regions=[[1, 2], [2]])(logits, target) < 1e-3


def test_scales_are_weighted_by_halves_that_sum_to_one():
    loss = LOSSES.build("dice_ce")
    target = _target()
    coarse = target[:, :, ::2, :, ::2].contiguous()
    fine, rough = _logits(), torch.randn(2, 3, *coarse.shape[2:])
    scaled = F.interpolate(target.float(), rough.shape[2:], mode="nearest-exact").to(target.dtype)
    expected = (loss(fine, target) + 0.5 * loss(rough, scaled)) / 1.5
    assert torch.allclose(over_scales(loss, [fine, rough], target), expected)
    assert torch.equal(over_scales(loss, fine, target), loss(fine, target))


def test_the_dice_of_transunet_squares_below_and_counts_the_background():
    logits, target = _logits(), _target()
    guess = logits.softmax(1)
    truth = F.one_hot(target[:, 0].long(), 3).movedim(-1, 1).float()
    axes = (0, 2, 3, 4)
    below = guess.square().sum(axes) + truth.square().sum(axes) + 1e-5
    dice = (2 * (guess * truth).sum(axes) + 1e-5) / below
    loss = LOSSES.build("dice_ce", squared=True, background=True, batch_dice=True, ce_weight=0.0)
    assert torch.allclose(loss(logits, target), 1 - dice.mean(), atol=1e-5)


def test_a_softmax_over_two_classes_is_the_binary_loss_of_the_papers_on_isic():
    logits, target = _logits(2), _target(2)
    guess = (logits[:, 1] - logits[:, 0]).sigmoid().flatten(1)
    truth = target[:, 0].float().flatten(1)
    dice = (2 * (guess * truth).sum(1) + 1) / (guess.sum(1) + truth.sum(1) + 1)
    expected = F.binary_cross_entropy(guess, truth) + 1 - dice.mean()
    loss = LOSSES.build("dice_ce", smooth=1.0, batch_dice=False)
    assert torch.allclose(loss(logits, target), expected, atol=1e-5)
