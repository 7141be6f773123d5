import pytest
import torch
from torch.export import Dim, export

from medssm.networks import NETWORKS
from tests.support.tiny import TINY_NETWORKS

SIZES = {2: (16, 24), 3: (8, 16, 8)}
SCANNING = ("lightm_unet", "vm_unet", "mhs_vm", "msvm_unet")
SCANS = {"lightm_unet": 8, "vm_unet": 4, "mhs_vm": 12, "msvm_unet": 3}
"""Mixers of the tiny networks; a head is a scan of its own in MHS-VM."""


def tiny(name: str, spatial_dims: int) -> torch.nn.Module:
    torch.manual_seed(0)
    arguments = {"spatial_dims": spatial_dims, "in_channels": 2, "out_channels": 3}
    return NETWORKS.build(**{"name": name, **arguments, **TINY_NETWORKS[name]}).eval()


def _scans(graph: torch.fx.Graph) -> int:
    return sum("medssm.scan" in str(node.target) for node in graph.nodes)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCANNING)
def test_compiles_in_one_graph_with_the_same_logits_and_gradients(name: str) -> None:
    torch.compiler.reset()
    network, x = tiny(name, 2), torch.randn(2, 2, *SIZES[2])
    expected = network(x)
    expected.square().mean().backward()
    plain = {key: torch.clone(each.grad) for key, each in network.named_parameters()}
    network.zero_grad()
    logits = torch.compile(network, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    logits.square().mean().backward()
    for key, each in network.named_parameters():
        torch.testing.assert_close(each.grad, plain[key], atol=1e-6, rtol=1e-3, msg=key)


@pytest.mark.parametrize("spatial_dims", SIZES)
@pytest.mark.parametrize("name", SCANNING)
def test_exports_with_a_free_batch_and_a_node_a_scan(name: str, spatial_dims: int) -> None:
    network = tiny(name, spatial_dims)
    size = SIZES[spatial_dims]
    batch = Dim("batch", min=1, max=8)
    program = export(network, (torch.randn(2, 2, *size),), dynamic_shapes=({0: batch},))
    assert _scans(program.graph) == SCANS[name]
    x = torch.randn(5, 2, *size)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), network(x), atol=1e-5, rtol=1e-5)
