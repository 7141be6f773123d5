import pytest
import torch

from medssm.core.errors import BadArgumentError
from medssm.layers.mixers.groupmamba import GroupMamba, group_routes

# cell of a 6 x 6 image -> does a change there reach the cell at (2, 2), by rows, by columns, and
# by both backwards? All lie outside the 3 x 3 window of the convolution.
REACHES = {
    (0, 5): (True, False, False, True),
    (5, 0): (False, True, True, False),
    (0, 0): (True, True, False, False),
    (5, 5): (False, False, True, True),
}


@pytest.mark.parametrize("cell", REACHES)
def test_a_group_sees_what_its_own_direction_has_passed(cell):
    torch.manual_seed(0)
    mixer = GroupMamba(16, 2)
    h = torch.randn(1, 6, 6, 16)
    changed = h.clone()
    changed[0, cell[0], cell[1]] += torch.randn(16)
    before, after = (mixer.groups(each)[0, 2, 2].view(4, 4) for each in (h, changed))
    assert tuple((before != after).any(dim=1).tolist()) == REACHES[cell]


def test_no_group_sees_the_channels_of_another():
    torch.manual_seed(0)
    mixer = GroupMamba(16, 2)
    h = torch.randn(1, 3, 4, 16)
    changed = h.clone()
    changed[..., 4:8] += 1
    differs = (mixer.groups(h) != mixer.groups(changed)).flatten(0, -2).any(dim=0)
    assert differs.view(4, 4).any(dim=1).tolist() == [False, True, False, False]


def test_a_volume_has_eight_directions_that_all_differ():
    table = group_routes(2, 3, 4).table
    assert len({tuple(row) for row in table.tolist()}) == 8


@pytest.mark.parametrize("skip", ["product", "sum"])
def test_the_skip_is_a_product_or_a_sum_with_the_normalised_input(skip):
    torch.manual_seed(0)
    mixer = GroupMamba(16, 2, skip=skip)
    x = torch.randn(1, 3, 4, 16)
    h, s = mixer.norm(x), mixer.skip_scale
    y = mixer.groups(h)
    joined = y * s * h if skip == "product" else y + s * h
    wanted = mixer.out_proj(mixer.norm(joined * mixer.gate(h)))
    torch.testing.assert_close(mixer(x), wanted)


@pytest.mark.parametrize(
    ("channels", "spatial_dims", "take"), [(18, 2, 20), (8, 2, 16), (16, 3, 32)]
)
def test_channels_that_do_not_fit_are_answered_with_those_that_do(channels, spatial_dims, take):
    with pytest.raises(BadArgumentError, match=f"take {take}"):
        GroupMamba(channels, spatial_dims)
    GroupMamba(take, spatial_dims)
