import pytest
import torch

from medssm.core.errors import BadArgumentError, BadDataError, UsageError
from medssm.layers.recurrent import UNITS
from medssm.mri.coils import expand, normalise_maps, rss
from medssm.mri.fourier import fft2, ifft2
from medssm.networks import RECONSTRUCTION_NETWORKS
from medssm.networks.keymaps import load_official, to_official
from medssm.networks.keymaps.direct_config import load_direct
from medssm.networks.recurrent_varnet import RecurrentVarNet
from medssm.runs.compose import compose

SIZES = {
    "recurrent_varnet_cc359": 6_918_424,
    "recurrent_varnet_cc359_shared": 994_051,
    "recurrent_varnet_cc359_no_initializer": 6_770_712,
    "recurrent_varnet_cc359_ablation": 6_727_841,
    "recurrent_varnet_cc359_zoo": 10_303_780,
    "recurrent_varnet_fastmri": 2_827_320,
    "recurrent_varnet_fastmri_ablation": 2_229_266,
}
REFINEMENT = 484_898


def _problem(coils=3, size=(20, 18), batch=1, centred=True):
    generator = torch.Generator().manual_seed(0)
    maps = normalise_maps(torch.randn(batch, coils, *size, 2, generator=generator))
    image = torch.randn(batch, *size, 2, generator=generator)
    mask = torch.zeros(batch, 1, *size, 1, dtype=torch.bool)
    mask[:, :, :, ::2] = True
    kspace = fft2(expand(image, maps), centred)
    return kspace * mask, mask, maps


def _tiny(**changes):
    torch.manual_seed(0)
    return RecurrentVarNet(**{"num_steps": 2, "hidden_channels": 8, "num_layers": 2, **changes})


@pytest.mark.parametrize("name", sorted(SIZES))
def test_published_sizes_have_the_published_parameters(name):
    network = compose("reconstruction", [f"network={name}"])["network"]
    with torch.device("meta"):
        built = RECONSTRUCTION_NETWORKS.build(**network)
    refinement = sum(each.numel() for each in built.refinement.parameters())
    assert refinement == REFINEMENT
    assert sum(each.numel() for each in built.parameters()) - refinement == SIZES[name]


@pytest.mark.parametrize("unit", sorted(UNITS))
@pytest.mark.parametrize("size", [(20, 18), (17, 21)])
def test_every_unit_reconstructs_and_reaches_every_parameter(unit, size):
    network = _tiny(unit=unit, initializer="sense", refinement=True, refinement_pools=2)
    masked, mask, maps = _problem(size=size, batch=2)
    out = network(masked, mask, maps)
    assert out.shape == masked.shape
    rss(ifft2(out)).square().mean().backward()
    # the last block's state goes nowhere, and only the first one's comes from an initialiser
    last = ("gates", "out", "scan", "norm", "lift")
    quiet = [name for name, each in network.named_parameters() if each.grad is None]
    beginnings = tuple(f"blocks.1.unit.{part}" for part in last)
    assert [name for name in quiet if not name.startswith(beginnings)] == []


@pytest.mark.parametrize("unit", sorted(set(UNITS) - {"slice_scan"}))
def test_slices_of_a_batch_do_not_hear_of_each_other(unit):
    network = _tiny(unit=unit).eval()
    masked, mask, maps = _problem(batch=2)
    with torch.no_grad():
        both = network(masked, mask, maps)
        alone = network(masked[:1], mask[:1], maps[:1])
    assert torch.allclose(both[:1], alone, atol=1e-5)


def test_the_slice_scan_hears_of_its_neighbours_once_it_has_learned():
    network = _tiny(unit="slice_scan").eval()
    masked, mask, maps = _problem(batch=3)
    with torch.no_grad():
        same = torch.allclose(
            network(masked, mask, maps)[:1], network(masked[:1], mask[:1], maps[:1]), atol=1e-5
        )
        for block in network.blocks:
            block.unit.out.weight.normal_(0, 0.3)
        other = network(masked, mask, maps)[:1]
        alone = network(masked[:1], mask[:1], maps[:1])
    assert same
    assert not torch.allclose(other, alone, atol=1e-4)


def test_saving_memory_changes_no_gradient():
    grads = []
    for save_memory in (False, True):
        network = _tiny(save_memory=save_memory)
        masked, mask, maps = _problem()
        network(masked, mask, maps).square().mean().backward()
        grads.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(*grads, strict=True))


def test_both_conventions_are_the_same_network_on_shifted_data():
    first, second = _tiny(centred=True).eval(), _tiny(centred=False).eval()
    second.load_state_dict(first.state_dict())
    masked, mask, maps = _problem(size=(16, 12))
    shifted = [torch.fft.ifftshift(each, dim=(2, 3)) for each in (masked, mask, maps)]
    with torch.no_grad():
        image = rss(ifft2(first(masked, mask, maps)))
        other = rss(ifft2(second(*shifted), False))
    # the convolutions see the border elsewhere, the middle of the image is the same
    moved = torch.fft.fftshift(other, dim=(1, 2))
    assert torch.allclose(moved[:, 7:9, 5:7], image[:, 7:9, 5:7], atol=0.2)


def test_a_single_coil_keeps_its_map():
    network = _tiny(refinement=True, refinement_pools=2).eval()
    maps = torch.zeros(1, 1, 20, 18, 2)
    maps[..., 0] = 1
    assert torch.equal(network.refined(maps), maps)


def test_wrong_shapes_are_answered_with_those_that_fit():
    network = _tiny()
    masked, mask, maps = _problem()
    with pytest.raises(BadArgumentError, match=r"maps have shape .* expected \(1, 3, 20, 18, 2\)"):
        network(masked, mask, maps[:, :2])
    with pytest.raises(BadArgumentError, match="mask has shape"):
        network(masked, mask[:, :, :5], maps)
    with pytest.raises(BadArgumentError, match="initializer=image needs an image"):
        _tiny(initializer="image")(masked, mask, maps)
    with pytest.raises(UsageError, match="did you mean 'convgru'"):
        _tiny(unit="convgrru")


def test_zero_padding_works_where_the_official_code_fails():
    network = _tiny(unit={"name": "convgru", "replicate": False}, num_layers=3)
    masked, mask, maps = _problem()
    assert network(masked, mask, maps).shape == masked.shape


def test_a_checkpoint_of_direct_goes_there_and_back_with_its_refinement():
    network = _tiny(
        initializer="sense", multiscale=3, refinement=True, refinement_filters=4,
        refinement_pools=2, normalised=True,
    )  # fmt: skip
    official = to_official("recurrent_varnet", network)
    beside = "sensitivity_model."
    checkpoint = {
        "model": {k: v for k, v in official.items() if not k.startswith(beside)},
        "sensitivity_model": {
            k.removeprefix(beside): v for k, v in official.items() if k.startswith(beside)
        },
        "optimizer": {"state": {}},
        "__author__": "abc",
    }
    loaded, report = load_official("recurrent_varnet", checkpoint)
    assert not report.problems()
    masked, mask, maps = _problem()
    with torch.no_grad():
        assert torch.equal(loaded(masked, mask, maps), network.eval()(masked, mask, maps))


def test_weights_of_something_else_are_named():
    with pytest.raises(BadDataError, match=r"no RecurrentVarNet weights"):
        load_official("recurrent_varnet", {"conv.weight": torch.zeros(1)})


def test_a_configuration_of_direct_tells_what_weights_do_not(tmp_path):
    network = _tiny(num_steps=3, shared=True, centred=False, initializer="zero_filled").eval()
    torch.save({"model": to_official("recurrent_varnet", network)}, tmp_path / "model_10.pt")
    (tmp_path / "config.yaml").write_text(
        "physics: {forward_operator: fft2(centered=False),\n"
        "  backward_operator: ifft2(centered=False)}\n"
        "model: {model_name: recurrentvarnet.recurrentvarnet.RecurrentVarNet, num_steps: 3,\n"
        "  no_parameter_sharing: false, learned_initializer: true,\n"
        "  initializer_initialization: zero_filled, initializer_dilations: [1, 1, 2, 4]}\n"
    )
    loaded, report = load_direct(tmp_path / "model_10.pt", tmp_path / "config.yaml")
    assert not report.problems()
    masked, mask, maps = _problem(centred=False)
    with torch.no_grad():
        assert torch.equal(loaded(masked, mask, maps), network(masked, mask, maps))


def test_a_configuration_of_another_network_is_named(tmp_path):
    (tmp_path / "config.yaml").write_text("model: {model_name: unet.unet_2d.Unet2d}\n")
    with pytest.raises(BadDataError, match=r"Unet2d.* Expected RecurrentVarNet"):
        load_direct(tmp_path / "model_10.pt", tmp_path / "config.yaml")
