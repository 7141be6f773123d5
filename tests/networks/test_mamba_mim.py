import pytest
import torch
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError, UsageError
from medssm.layers.masking import Visible, random_visible
from medssm.losses.masked_cells import masked_cell_loss
from medssm.networks import PRETRAINING_NETWORKS, table_of
from medssm.networks.hybrid_mamba import HybridMamba
from medssm.networks.keymaps import load_official, to_official

HYBRID = {
    "name": "hybrid_mamba",
    "stem_width": 4,
    "widths": [8, 12],
    "depths": [1, 1],
    "expansions": [2, 2],
    "layers": 2,
}
ENCODERS = {
    "hybrid_mamba": HYBRID,
    "lightm_unet": {
        "name": "lightm_unet",
        "init_filters": 8,
        "blocks_down": [1, 1, 1],
        "blocks_up": [1, 1],
    },
    "vm_unet": {
        "name": "vm_unet",
        "width": 16,
        "depths": [1, 1],
        "decoder_depths": [1, 1],
        "patch": 2,
        "drop_path": 0.0,
        "mixer": {"name": "cross_scan", "state": 4},
    },
}
SIZES = {2: (16, 24), 3: (8, 16, 12)}


def build(name: str = "hybrid_mamba", spatial_dims: int = 3, **changes: object) -> nn.Module:
    torch.manual_seed(0)
    arguments = {"encoder": ENCODERS[name], "decoder_width": 16, "spatial_dims": spatial_dims}
    return PRETRAINING_NETWORKS.build("mamba_mim", **{**arguments, **changes})


def batch(network: nn.Module, spatial_dims: int) -> tuple[Tensor, Visible]:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(2, 1, *SIZES[spatial_dims], generator=generator)
    grid = [size // cell for size, cell in zip(x.shape[2:], network.divisors, strict=True)]
    return x, random_visible(2, grid, 0.75, generator)


@pytest.mark.parametrize("spatial_dims", SIZES)
@pytest.mark.parametrize("name", ENCODERS)
def test_the_loss_reaches_every_parameter_in_any_box(name: str, spatial_dims: int) -> None:
    network = build(name, spatial_dims)
    x, visible = batch(network, spatial_dims)
    made = network(x, visible)
    assert made.shape == x.shape
    masked_cell_loss(made, x, visible.cells).loss.backward()
    silent = [key for key, each in network.named_parameters() if each.grad is None]
    # the finest skip belongs to segmentation alone
    assert [
        key for key in silent if not key.startswith(("encoder.skips.0.", "encoder.levels.0"))
    ] == []


@pytest.mark.parametrize("spatial_dims", SIZES)
@pytest.mark.parametrize("name", ENCODERS)
def test_hidden_voxels_never_reach_the_network(name: str, spatial_dims: int) -> None:
    network = build(name, spatial_dims).eval()
    x, visible = batch(network, spatial_dims)
    seen = visible.at(x.shape[2:])[..., 0].unsqueeze(1)
    other = torch.where(seen, x, torch.randn_like(x) * 100)
    assert torch.equal(network(x, visible), network(other, visible))


@pytest.mark.parametrize("scan", ["forward", "bidirectional", "three_axis"])
@pytest.mark.parametrize("filler", ["toki", "learned"])
def test_scans_and_fillers_learn(scan: str, filler: str) -> None:
    network = build(encoder={**HYBRID, "scan": scan}, filler=filler)
    x, visible = batch(network, 3)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(6):
        losses.append(masked_cell_loss(network(x, visible), x, visible.cells).loss)
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]


def test_recomputing_gives_the_same_gradients() -> None:
    plain, again = build(), build(encoder={**HYBRID, "recompute": True})
    again.load_state_dict(plain.state_dict())
    x, visible = batch(plain, 3)
    for network in (plain, again):
        masked_cell_loss(network(x, visible), x, visible.cells).loss.backward()
    for (key, one), (_, other) in zip(
        plain.named_parameters(), again.named_parameters(), strict=True
    ):
        if one.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, msg=key)


def test_seeing_all_is_the_dense_encoder() -> None:
    from medssm.layers.masking import visible_from_ids

    network = build().eval()
    x, _ = batch(network, 3)
    grid = [size // cell for size, cell in zip(x.shape[2:], network.divisors, strict=True)]
    count = grid[0] * grid[1] * grid[2]
    everything = visible_from_ids(torch.arange(count).expand(2, -1), grid)
    dense = network.masked_maps(x, None, finest=True)
    masked = network.masked_maps(x, everything, finest=True)
    for one, other in zip(dense, masked, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)


def test_the_segmentation_network_takes_every_tensor_of_the_encoder() -> None:
    mim = build()
    arguments = {key: value for key, value in HYBRID.items() if key != "name"}
    network = HybridMamba(**arguments)
    ours = {key: each for key, each in mim.state_dict().items() if key.startswith("encoder.")}
    missing, unexpected = network.load_state_dict(ours, strict=False)
    assert unexpected == []
    assert all(key.startswith(("decoder.", "refine.", "head.")) for key in missing)


def test_official_keys_go_there_and_back() -> None:
    network = build()
    official = to_official("mamba_mim", network)
    again, report = load_official("mamba_mim", official)
    assert report.missing == []
    assert report.left_over == []
    state = network.state_dict()
    assert all(torch.equal(state[key], each) for key, each in again.state_dict().items())


@pytest.mark.parametrize("prefix", ["", "sparse_encoder."])
@pytest.mark.parametrize("name", ["mamba_mim", "hybrid_mamba"])
def test_a_released_encoder_fills_the_encoder_and_says_what_is_new(name: str, prefix: str) -> None:
    network = build()
    official = to_official("mamba_mim", network)
    start = "sparse_encoder."
    released = {
        prefix + key.removeprefix(start): each
        for key, each in official.items()
        if key.startswith(start)
    }
    made, report = load_official(name, released)
    assert report.missing == []
    assert {key.partition(".")[0] for key in report.fresh} <= {
        "decoder", "refine", "head", "reconstruction", "toki", "mask_tokens",
    }  # fmt: skip
    state = network.state_dict()
    for key, each in made.state_dict().items():
        if key.startswith("encoder."):
            assert torch.equal(each, state[key]), key


def test_the_table_of_networks_knows_it() -> None:
    assert table_of("mamba_mim") is PRETRAINING_NETWORKS


def test_another_network_names_those_that_can_be_masked() -> None:
    with pytest.raises(UsageError, match="hybrid_mamba, lightm_unet, vm_unet"):
        build(encoder={"name": "unet"})


def test_a_size_that_is_no_multiple_of_a_cell_is_refused() -> None:
    network = build()
    with pytest.raises(BadArgumentError, match="must be a multiple"):
        network(torch.randn(1, 1, 9, 8, 8))
