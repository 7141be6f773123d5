"""Weights of other houses start a training run, or are refused by name."""

import pickle
from pathlib import Path

import pytest
import torch

from medssm.core.errors import BadDataError
from medssm.networks import NETWORKS
from medssm.networks.keymaps import to_official
from medssm.training.warm_start import load_initial_weights
from tests.support.tiny import TINY_NETWORKS


def tiny(name: str, out_channels: int = 2, **changes: object) -> torch.nn.Module:
    torch.manual_seed(out_channels)
    arguments = {**TINY_NETWORKS[name], "spatial_dims": 2, "in_channels": 1, **changes}
    return NETWORKS.build(**{"name": name, "out_channels": out_channels, **arguments})


def saved(content: object, folder: Path) -> Path:
    torch.save(content, folder / "official.pth")
    return folder / "official.pth"


@pytest.mark.parametrize("name", ["lightm_unet", "vm_unet", "mhs_vm", "msvm_unet"])
def test_an_authors_weights_start_a_network_of_other_classes(name: str, tmp_path: Path) -> None:
    source = tiny(name)
    file = saved({"state_dict": to_official(name, source)}, tmp_path)
    network = tiny(name, out_channels=5)
    said = load_initial_weights(network, file)
    assert f"weights of {name}'s authors" in said
    assert "starting fresh" in said
    theirs, ours = source.state_dict(), network.state_dict()
    assert all(
        torch.equal(ours[key], theirs[key]) for key in ours if ours[key].shape == theirs[key].shape
    )


def test_an_encoder_that_does_not_fit_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    file = saved(to_official("vm_unet", tiny("vm_unet", width=32)), tmp_path)
    network = tiny("vm_unet")
    before = {key: each.clone() for key, each in network.state_dict().items()}
    with pytest.raises(BadDataError, match="of another shape: vmunet"):
        load_initial_weights(network, file)
    assert all(torch.equal(each, before[key]) for key, each in network.state_dict().items())


def test_numbers_of_numpy_beside_the_weights_are_read(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    content = {
        "network_weights": to_official("lightm_unet", tiny("lightm_unet")),
        "logging": {"mean_fg_dice": [np.float64(0.5), np.float32(0.25)], "epoch": np.int64(3)},
    }
    said = load_initial_weights(tiny("lightm_unet"), saved(content, tmp_path))
    assert "weights of lightm_unet's authors" in said


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("trap-was-sprung"),)


def test_a_file_with_code_is_refused_and_not_run(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = saved({"model": Trap()}, tmp_path)
    with pytest.raises(BadDataError, match="objects is refused, because opening one can run"):
        load_initial_weights(tiny("vm_unet"), file)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(BadDataError, match=r"plain\.pth"):
        load_initial_weights(tiny("vm_unet"), tmp_path / "plain.pth")
    assert not (tmp_path / "trap-was-sprung").exists()


def test_weights_of_nobody_we_know_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match="none of its 1 entries fits"):
        load_initial_weights(tiny("vm_unet"), saved({"layer.w": torch.zeros(1)}, tmp_path))
