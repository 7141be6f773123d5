import pytest
import torch
import torch.nn.functional as F

from medssm.layers.mixers.spatialmamba import StateFusionMamba
from medssm.ops.routes import forward


@pytest.mark.parametrize("size", [(7,), (4, 5), (3, 4, 2)])
def test_without_neighbours_it_is_an_ordinary_scan(size):
    torch.manual_seed(0)
    mixer = StateFusionMamba(8, len(size), expand=1)
    centre = (0, slice(None), slice(None), *(1,) * len(size))
    with torch.no_grad():
        mixer.kernels.zero_()
        mixer.kernels[centre] = 1
    x = torch.randn(2, *size, 8)
    value, gate = mixer.in_proj(x).chunk(2, dim=-1)
    u = F.silu(mixer.conv(value)).flatten(1, -2)
    y = mixer.norm(mixer.states(u, forward(u.shape[1]))).view_as(x)
    torch.testing.assert_close(mixer(x), mixer.out_proj(y * F.silu(gate)), atol=1e-5, rtol=1e-4)


def test_the_states_of_neighbours_are_fused_at_three_distances():
    torch.manual_seed(0)
    mixer = StateFusionMamba(8, 2, expand=1)
    with torch.no_grad():
        mixer.conv.conv.weight.zero_()
        mixer.conv.conv.weight[:, :, 1, 1] = 1
        mixer.states.A_log.fill_(20.0)  # a state then holds its own token only
        mixer.states.dt_bias += 4  # steps near 1, so that it shows
    x = torch.randn(1, 13, 13, 8)
    changed = x.clone()
    changed[0, 6, 6] += torch.randn(8)
    differs = ~torch.isclose(mixer(x), mixer(changed), atol=1e-6).all(dim=-1)[0]
    reached = {tuple(cell) for cell in differs.nonzero().tolist()}
    steps = {(q * i, q * j) for q in (1, 3, 5) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    assert reached == {(6 + i, 6 + j) for i, j in steps}
