"""The authors' checkpoints become folders that predict, or weights that start a training."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from medssm.cli.main import main
from medssm.core.errors import BadDataError
from medssm.fields.segmentation.official import import_checkpoint
from medssm.fields.segmentation.trained import open_model
from medssm.networks import NETWORKS
from medssm.networks.keymaps import to_official
from medssm.training.warm_start import load_initial_weights
from tests.support.tiny import TINY_NETWORKS

PLANS = {
    "dataset_name": "Dataset801_LiverCT",
    "plans_name": "nnUNetPlans",
    "configurations": {
        "2d": {
            "data_identifier": "nnUNetPlans_2d",
            "batch_size": 2,
            "patch_size": [16, 16],
            "spacing": [1.0, 1.0],
        }
    },
}
DATASET = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "liver": 1},
    "file_ending": ".nii.gz",
    "numTraining": 1,
}


def source(name: str, **changes: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    arguments = {**TINY_NETWORKS[name], "spatial_dims": 2, "in_channels": 1, **changes}
    return NETWORKS.build(**{"name": name, **arguments}).eval()


def test_a_checkpoint_of_nnunet_becomes_a_folder_that_predicts(tmp_path: Path) -> None:
    network = source("lightm_unet")
    content = {
        "network_weights": to_official("lightm_unet", network),
        "init_args": {"plans": PLANS, "configuration": "2d", "fold": 3, "dataset_json": DATASET},
        "inference_allowed_mirroring_axes": (0, 1),
    }
    torch.save(content, tmp_path / "checkpoint_final.pth")
    made = import_checkpoint("lightm_unet", tmp_path / "checkpoint_final.pth", tmp_path / "out")
    assert made.predicts
    model = open_model(tmp_path / "out")
    assert list(model.weights) == ["3"]
    assert model.mirror_axes == (0, 1)
    assert model.plan.patch_size == (16, 16)
    x = torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        assert torch.equal(model.network(["3"])(x), network(x))


@pytest.mark.parametrize("name", ["vm_unet", "mhs_vm", "msvm_unet"])
def test_other_weights_are_written_to_start_from(name: str, tmp_path: Path, capsys) -> None:
    network = source(name)
    torch.save({"state_dict": to_official(name, network)}, tmp_path / "best.pth")
    words = ["import", "checkpoint", name, str(tmp_path / "best.pth"), "--json"]
    assert main([*words, "--home", str(tmp_path)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["fitted"] == len(network.state_dict())
    assert not answer["predicts"]
    folder = Path(answer["written"][0])
    arguments = json.loads((folder / "network.json").read_text())
    rebuilt = NETWORKS.build(**arguments)
    assert "keys" not in load_initial_weights(rebuilt, folder)
    assert all(
        torch.equal(each, network.state_dict()[key]) for key, each in rebuilt.state_dict().items()
    )
    assert f"network={name}" in answer["next"]
    assert "init=" in answer["next"]


def test_a_hint_lands_in_the_network(tmp_path: Path, capsys) -> None:
    torch.save(to_official("mhs_vm", source("mhs_vm")), tmp_path / "best.pth")
    words = ["import", "checkpoint", "mhs_vm", str(tmp_path / "best.pth"), "mixer.threshold=0.4"]
    assert main([*words, "-o", str(tmp_path / "out"), "--json"]) == 0
    mixer = json.loads(capsys.readouterr().out)["network"]["mixer"]
    assert mixer == {"name": "multi_head_scan", "heads": 3, "state": 4, "threshold": 0.4}


def test_a_checkpoint_that_does_not_fit_leaves_no_folder(tmp_path: Path) -> None:
    state = to_official("vm_unet", source("vm_unet"))
    state.pop("vmunet.final_up.norm.bias")
    torch.save(state, tmp_path / "half.pth")
    with pytest.raises(BadDataError, match="1 missing"):
        import_checkpoint("vm_unet", tmp_path / "half.pth", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["checkpoint", "vm_unet"], "FILE is missing"),
        (["checkpoint", "vmunet", "x.pth"], "did you mean 'vm_unet'"),
        (["folder", "somewhere", "more"], "unexpected word 'more'"),
        (["folder", "somewhere", "a.b=3"], "unexpected word 'a.b=3'"),
    ],
)
def test_a_slip_is_answered(words: list[str], message: str, capsys) -> None:
    assert main(["import", *words]) in (2, 3)
    assert message in capsys.readouterr().err
