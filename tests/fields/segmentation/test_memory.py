"""The memory model against what a network keeps at another size."""

import pytest
import torch

from medssm.fields.segmentation.memory import bytes_per_voxel, kept_bytes
from medssm.networks import NETWORKS
from tests.support.tiny import TINY_NETWORKS


@pytest.mark.parametrize("name", sorted(TINY_NETWORKS))
@pytest.mark.parametrize("size", [(128, 160), (24, 32, 40)])
def test_a_third_size_is_foreseen(name: str, size: tuple[int, ...]) -> None:
    network = NETWORKS.build(
        name=name, spatial_dims=len(size), in_channels=1, out_channels=3, **TINY_NETWORKS[name]
    )
    each = bytes_per_voxel(network, len(size), 1)
    x = torch.zeros(2, 1, *size)
    assert kept_bytes(network, x) == pytest.approx(each * x.numel(), rel=0.15)
