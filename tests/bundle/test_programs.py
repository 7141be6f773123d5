"""Exported programs: other sizes and batches than the example's, nothing of ours inside."""

import pytest
import torch
from torch import nn

from medssm.bundle.programs import (
    example_size,
    portable_program,
    write_onnx,
    write_program,
)
from medssm.core.errors import MedssmError, UsageError
from medssm.layers.mixers.multi_head_scan import ScanHeads
from medssm.networks import NETWORKS


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = NETWORKS.build(
        "lightm_unet",
        spatial_dims=2,
        in_channels=1,
        out_channels=2,
        init_filters=8,
        blocks_down=(1, 1),
        blocks_up=(1,),
        # few scans: each takes seconds to trace
        scan_from_level=1,
    )
    return made.eval()


@pytest.fixture(scope="module")
def program(network):
    return portable_program(network, 1, (16, 16))


def test_a_program_takes_any_size_and_batch(network, program, tmp_path):
    assert program.any_size
    assert program.largest_difference < 1e-3
    write_program(program, tmp_path / "network.pt2")
    assert [path.name for path in tmp_path.iterdir()] == ["network.pt2"]
    loaded = torch.export.load(tmp_path / "network.pt2")
    assert not any("medssm" in str(node.target) for node in loaded.graph.nodes)
    x = torch.randn(3, 1, 24, 40)
    with torch.no_grad():
        torch.testing.assert_close(loaded.module()(x), network(x), atol=1e-3, rtol=0)


@pytest.mark.slow
def test_an_onnx_file_gives_the_same_logits(network, program, tmp_path):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    assert write_onnx(program, network, tmp_path / "network.onnx") < 1e-3


def test_orders_of_every_head_are_made_for_any_size():
    class Heads(nn.Module):
        divisors = (2, 2)

        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.scan = ScanHeads(8, 2, 4, state=2, threshold=0)

        def forward(self, x):
            return self.scan(x.movedim(1, -1)).movedim(-1, 1)

    made = portable_program(Heads(), 8, (6, 8))
    assert made.any_size
    assert made.largest_difference < 1e-3


def test_a_network_that_torch_export_cannot_hold_is_named():
    class Asking(nn.Module):
        def forward(self, x):
            return x if float(x.sum()) > 0 else -x

    with pytest.raises(MedssmError, match="cannot hold Asking"):
        portable_program(Asking(), 1, (4, 4))


def test_a_network_whose_orders_are_made_for_a_size_keeps_it():
    class Fixed(nn.Module):
        divisors = (4, 4)

        def __init__(self):
            super().__init__()
            self.position = nn.Parameter(torch.randn(1, 1, 8, 12))

        def forward(self, x):
            return x + self.position

    made = portable_program(Fixed(), 1, (8, 12))
    assert not made.any_size
    assert made.example.shape == (2, 1, 8, 12)


def test_a_size_that_does_not_fit_is_answered_with_the_multiples(network):
    with pytest.raises(UsageError, match=r"multiples of \[2, 2\]"):
        example_size(network, (16, 16), (17, 16))
