import pytest
import torch

from medssm.core.errors import BadArgumentError
from medssm.layers.mixers.segmamba import TriOrientedMamba, three_orientations
from tests.support.golden_module import largest_difference


@pytest.mark.golden
def test_equals_the_official_mixer():
    assert largest_difference("pretrain/segmamba_mixer_v3", TriOrientedMamba(24, slices=8)) < 1e-5


def test_the_third_route_visits_one_place_of_every_slice():
    table = three_orientations(24, 4).table
    grid = torch.arange(24).view(4, 6)
    assert torch.equal(table[2], grid.t().flatten().int())


def test_slices_are_those_of_the_first_axis_unless_told():
    torch.manual_seed(0)
    own, told = TriOrientedMamba(8, state=4), TriOrientedMamba(8, state=4, slices=3)
    told.load_state_dict(own.state_dict())
    x = torch.randn(1, 3, 4, 2, 8)
    torch.testing.assert_close(own(x), told(x))
    other = x.view(1, 4, 3, 2, 8)
    assert not torch.allclose(own(other).view_as(x), told(x), atol=1e-5)


def test_slices_that_do_not_divide_are_answered_with_those_of_the_grid():
    with pytest.raises(BadArgumentError, match=r"slices=5 .* first axis, 3"):
        TriOrientedMamba(8, slices=5)(torch.randn(1, 3, 4, 8))
