import itertools

import pytest
import torch
import torch.nn.functional as F

from medssm.layers.mixers.efficientvmamba import AtrousMamba, sub_grids
from medssm.ops.scan import selective_scan

SIZES = [(6, 8), (4, 4, 6), (5, 7), (3, 4, 5), (7,)]


def tiny(spatial_dims, **options):
    torch.manual_seed(0)
    return AtrousMamba(8, spatial_dims, state=4, expand=1, **options)


def alone(scan, index, tokens):
    """The scan of one sub-grid whose tokens are already a sequence."""
    rank, state = scan.dt_weight.shape[-1], scan.A_log.shape[-1]
    sizes = (rank, state, state)
    delta, B, C = (tokens @ scan.x_proj[index].t())[:, None].split(sizes, dim=-1)
    delta = delta @ scan.dt_weight[index].t()
    own = slice(index, index + 1)
    A, D, bias = -scan.A_log[own].exp(), scan.D[own], scan.dt_bias[own]
    return selective_scan(tokens, delta, A, B, C, D, delta_bias=bias)


@pytest.mark.parametrize("size", SIZES)
def test_equals_cutting_the_sub_grids_out_and_writing_them_back(size):
    mixer, rank = tiny(len(size)), len(size)
    u = torch.randn(2, *size, 8)
    padded = F.pad(u, (0, 0, *(width for each in reversed(size) for width in (0, -each % 2))))
    wanted = torch.zeros_like(padded)
    for index, offset in enumerate(itertools.product((0, 1), repeat=rank)):
        cells = (slice(None), *(slice(start, None, 2) for start in reversed(offset)))
        part = padded[cells].movedim(rank - index % rank, -2)
        y = alone(mixer.scan, index, part.reshape(2, -1, 8))
        wanted[cells] = y.view(part.shape).movedim(-2, rank - index % rank)
    wanted = wanted[(slice(None), *(slice(0, each) for each in size))]
    torch.testing.assert_close(mixer.scan_parts(u), wanted, atol=1e-5, rtol=1e-4)


def test_the_four_walks_of_an_image_are_the_published_ones():
    grid = torch.arange(24).view(4, 6).int()
    walks = sub_grids(2, 4, 6).table[:, :6]
    assert torch.equal(walks[0], grid[::2, ::2].flatten())
    assert torch.equal(walks[1], grid[1::2, ::2].t().flatten())
    assert torch.equal(walks[2], grid[::2, 1::2].flatten())
    assert torch.equal(walks[3], grid[1::2, 1::2].t().flatten())


def test_a_cell_reaches_its_own_sub_grid_only():
    mixer = tiny(2)
    u = torch.randn(1, 6, 6, 8)
    changed = u.clone()
    changed[:, 0, 0] += 1
    differs = (mixer.scan_parts(u) != mixer.scan_parts(changed)).any(dim=-1)[0]
    assert differs[::2, ::2].all()
    assert differs.sum() == 9


def test_the_local_branch_reaches_the_neighbours_and_every_parameter():
    mixer = tiny(2, local_branch=True)
    x = torch.randn(2, 5, 6, 8)
    mixer(x).square().mean().backward()
    assert all(each.grad.abs().sum() > 0 for each in mixer.parameters())
