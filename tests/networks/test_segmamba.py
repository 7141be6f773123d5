import torch

from medssm.networks.segmamba import SegMamba


def test_the_published_sizes_have_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = SegMamba(in_channels=4, out_channels=4)
    assert round(sum(each.numel() for each in network.parameters()) / 1e6, 1) == 67.4


def test_any_box_is_read_in_its_own_slices() -> None:
    torch.manual_seed(0)
    network = SegMamba(widths=[4, 8], depths=[1, 1], bottleneck=8).eval()
    for size in ((12, 8, 20), (4, 16, 8)):
        assert network(torch.randn(1, 1, *size)).shape == (1, 2, *size)
