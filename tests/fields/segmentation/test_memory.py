"""The memory model against what a network keeps at another size."""

import math

import pytest
import torch

from medssm.fields.segmentation.memory import bytes_per_voxel, peak_bytes
from medssm.networks import NETWORKS
from medssm.networks.cost import cost
from tests.support.tiny import TINY_NETWORKS


@pytest.mark.parametrize("name", sorted(TINY_NETWORKS))
@pytest.mark.parametrize("size", [(128, 160), (24, 32, 40)])
def test_a_third_size_is_foreseen(name: str, size: tuple[int, ...]) -> None:
    network = NETWORKS.build(
        name=name, spatial_dims=len(size), in_channels=1, out_channels=3, **TINY_NETWORKS[name]
    )
    each = bytes_per_voxel(network, len(size), 1)
    if torch.cuda.is_available():
        pytest.skip("the model is of the GPU's peak here")
    taken = cost(network, (2, 1, *size)).activation_bytes
    assert taken == pytest.approx(each * 2 * math.prod(size), rel=0.15)


def test_a_network_that_takes_few_sizes_is_measured_at_those() -> None:
    network = NETWORKS.build(
        name="unet", spatial_dims=3, in_channels=1, out_channels=3,
        channels=[2, 2, 2, 2, 2, 2], strides=[2, 2, 2, 2, 2],
    )  # fmt: skip
    assert network.divisors == (32, 32, 32)
    assert bytes_per_voxel(network, 3, 1) > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_the_peak_of_a_larger_step_is_foreseen_on_a_gpu() -> None:
    network = NETWORKS.build(
        name="unet", spatial_dims=3, in_channels=1, out_channels=3, **TINY_NETWORKS["unet"]
    ).cuda()
    each = bytes_per_voxel(network, 3, 1)
    x = torch.zeros(2, 1, 64, 64, 64, device="cuda")
    assert peak_bytes(network, x) <= 1.3 * each * x.numel()
