"""The memory model against what a network keeps at another size."""

import pytest
import torch

from medssm.fields.segmentation.memory import bytes_per_voxel, kept_bytes, peak_bytes
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
    if torch.cuda.is_available():
        pytest.skip("the model is of the GPU's peak here")
    assert kept_bytes(network, x) == pytest.approx(each * x.numel(), rel=0.15)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_the_peak_of_a_larger_step_is_foreseen_on_a_gpu() -> None:
    network = NETWORKS.build(
        name="unet", spatial_dims=3, in_channels=1, out_channels=3, **TINY_NETWORKS["unet"]
    ).cuda()
    each = bytes_per_voxel(network, 3, 1)
    x = torch.zeros(2, 1, 64, 64, 64, device="cuda")
    assert peak_bytes(network, x) <= 1.3 * each * x.numel()
