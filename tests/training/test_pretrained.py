"""An encoder that a pre-training held as a part fits the network that it came from."""

from pathlib import Path

import pytest
import torch

from medssm.core.files import write_json
from medssm.networks import NETWORKS, PRETRAINING_NETWORKS
from medssm.training.checkpoints import write_weights
from medssm.training.pretrained import with_pretrained
from medssm.training.warm_start import transfer

ENCODERS = {
    "lightm_unet": {"init_filters": 8, "blocks_down": [1, 1, 1], "blocks_up": [1, 1]},
    "vm_unet": {"width": 16, "depths": [1, 1], "decoder_depths": [1, 1], "patch": 2},
}


@pytest.mark.parametrize("name", ENCODERS)
def test_other_encoders_move_under_their_networks_own_names(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    encoder = {"name": name, **ENCODERS[name]}
    mim = PRETRAINING_NETWORKS.build("mamba_mim", encoder=encoder, decoder_width=16)
    weights = {k: v for k, v in mim.state_dict().items() if k.startswith("encoder.")}
    write_weights(tmp_path / "encoder.safetensors", weights)
    write_json(tmp_path / "encoder.json", {"network": encoder})
    sizes = {"name": name, "spatial_dims": 3, "in_channels": 1, "out_channels": 3}
    network = NETWORKS.build(**with_pretrained(sizes, tmp_path))
    moved = transfer(network, tmp_path)
    assert set(moved.moved.values()) == set(weights)
    state = network.state_dict()
    assert all(torch.equal(state[ours], weights[theirs]) for ours, theirs in moved.moved.items())
    assert f"{len(weights)} of {len(state)} tensors taken" in moved.describe()


def test_a_folder_of_another_kind_changes_no_argument(tmp_path: Path) -> None:
    assert with_pretrained({"name": "unet"}, tmp_path) == {"name": "unet"}
