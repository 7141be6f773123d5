import pytest
import torch

from medssm.mri.undersampling import MASKS, calgary_campinas_acs, draw_mask, find_acs

PAIRS = [(4.0, 0.08), (8.0, 0.04)]
PLAIN = {"equispaced", "magic"}
"""Defined by their spacing, so the centre lowers the acceleration."""


@pytest.mark.parametrize(("rate", "centre"), PAIRS)
@pytest.mark.parametrize("name", sorted(set(MASKS) - PLAIN))
def test_the_acceleration_is_reached_within_three_percent(name, rate, centre):
    for seed in range(4):
        mask = draw_mask(name, (96, 160), rate, centre, seed)
        assert mask.acceleration == pytest.approx(rate, rel=0.03)
        assert bool((mask.sampled | ~mask.acs).all()), "the centre is sampled"


@pytest.mark.parametrize("name", sorted(MASKS))
def test_a_seed_gives_the_same_mask_and_others_give_others(name):
    masks = [draw_mask(name, (64, 72), 4, 0.08, seed).sampled for seed in range(6)]
    assert torch.equal(masks[3], draw_mask(name, (64, 72), 4, 0.08, 3).sampled)
    assert any(not torch.equal(masks[0], other) for other in masks[1:])


def test_a_name_seeds_by_its_letters():
    by_name = draw_mask("random", (4, 80), 4, 0.1, "scan.h5")
    assert torch.equal(
        by_name.sampled, draw_mask("random", (4, 80), 4, 0.1, [ord(c) for c in "scan.h5"]).sampled
    )


def test_of_several_accelerations_each_is_drawn():
    found = {
        round(draw_mask("random", (4, 160), (2, 8), (0.1, 0.04), seed).acceleration)
        for seed in range(12)
    }
    assert found == {2, 8}


@pytest.mark.parametrize("name", ["poisson", "gaussian2d", "radial", "spiral"])
@pytest.mark.parametrize("rate", [4, 8])
def test_discs_reach_their_acceleration_beside_padding(name, rate):
    padding = torch.zeros(109, 85, dtype=torch.bool)
    padding[:, 72:] = True  # the part of Calgary-Campinas' third axis that is never acquired
    whole = draw_mask(name, (109, 85), rate, 0.04, 3)
    mask = draw_mask(name, (109, 85), rate, 0.04, 3, padding=padding)
    assert not bool((mask.sampled & padding).any())
    assert int((~padding).sum()) / int(mask.sampled.sum()) == pytest.approx(rate, rel=0.03)
    assert bool((mask.sampled & whole.acs & ~padding == whole.acs & ~padding).all())
    again = draw_mask(name, (109, 85), rate, 0.04, 3, padding=padding)
    assert bool((again.sampled == mask.sampled).all())


def test_columns_beside_padding_are_those_of_the_whole_mask():
    padding = torch.zeros(32, 60, dtype=torch.bool)
    padding[:, :9] = True
    whole = draw_mask("equispaced_fraction", (32, 60), 3, 0.2, 0)
    mask = draw_mask("equispaced_fraction", (32, 60), 3, 0.2, 0, padding=padding)
    assert bool((mask.sampled == (whole.sampled & ~padding)).all())


def test_padding_is_out_of_the_mask():
    padding = torch.zeros(32, 60, dtype=torch.bool)
    padding[:, :9] = True
    mask = draw_mask("random", (32, 60), 3, 0.2, 0, padding=padding)
    assert not bool((mask.sampled & padding).any())


def test_a_centre_beyond_the_budget_is_refused_with_the_numbers():
    with pytest.raises(ValueError, match=r"40 centre columns of 100 .* acceleration 4"):
        draw_mask("random", (8, 100), 4, 0.4)
    with pytest.raises(ValueError, match="there is no mask 'spirall'"):
        draw_mask("spirall", (8, 100), 4)


@pytest.mark.parametrize("name", ["random", "gaussian2d", "magic_fraction"])
def test_the_centre_is_found_again(name):
    mask = draw_mask(name, (96, 100), 6, 0.06, 1)
    found = find_acs(mask.sampled)
    assert bool((found & mask.acs).sum() >= 0.85 * mask.acs.sum())
    assert bool((mask.sampled | ~found).all())


def test_a_full_rectangle_is_found_as_it_is():
    sampled = torch.zeros(50, 40, dtype=torch.bool)
    sampled[25 - 12 : 25 + 12, 20 - 12 : 20 + 12] = True
    assert torch.equal(find_acs(sampled), sampled)
    assert not bool(find_acs(torch.zeros(20, 20, dtype=torch.bool)).any())


def test_calgary_campinas_shares_a_disc_of_1009_samples():
    assert int(calgary_campinas_acs((218, 170)).sum()) == 1009
