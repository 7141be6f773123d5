"""Segmentation starts from a pre-trained encoder: its arguments, its tensors, the arm without."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from medssm.core.errors import UsageError
from medssm.core.files import read_json, write_json
from medssm.core.signature import make
from medssm.data.manifest import read_manifest
from medssm.data.phantom import PhantomShape, make_phantom_dataset
from medssm.fields.segmentation.plan import PlanConfig, plan
from medssm.fields.segmentation.preprocess import PreprocessConfig, preprocess
from medssm.fields.segmentation.story import train_config
from medssm.fields.segmentation.train import TrainConfig, train
from medssm.networks import PRETRAINING_NETWORKS
from medssm.runs.workspace import Workspace
from medssm.training.checkpoints import write_weights

ENCODER = {
    "name": "hybrid_mamba", "stem_width": 4, "widths": [8, 12], "depths": [1, 1],
    "expansions": [2, 2], "layers": 1,
}  # fmt: skip
FACTS = {"spatial_dims": 3, "num_channels": 1, "num_outputs": 4}
TINY = {
    "max_epochs": 1, "steps_per_epoch": 1, "workers": 0, "accelerator": "cpu",
    "precision": "32-true",
}  # fmt: skip


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as a pre-training leaves it."""
    folder = tmp_path_factory.mktemp("pretrained")
    torch.manual_seed(3)
    mim = PRETRAINING_NETWORKS.build("mamba_mim", encoder=ENCODER, decoder_width=16)
    weights = {k: v for k, v in mim.state_dict().items() if k.startswith("encoder.")}
    write_weights(folder / "encoder.safetensors", weights)
    write_json(folder / "encoder.json", {"network": ENCODER, "tensors": sorted(weights)})
    return folder


def _config(*words: str) -> TrainConfig:
    config: TrainConfig = train_config(("network=hybrid_mamba", *words), FACTS, TrainConfig)
    return config


def test_the_network_takes_the_sizes_of_the_encoder(pretrained: Path) -> None:
    network = _config(f"init={pretrained}").network
    assert {key: network[key] for key in ENCODER} == ENCODER
    assert network["out_channels"] == 4


def test_one_word_makes_the_arm_without_under_a_name_of_its_own(pretrained: Path) -> None:
    class Plan:
        plans_name, configuration = "medssmPlans", "3d_fullres"

    arms = [_config(f"init={pretrained}", *word) for word in ((), ("scratch=true",))]
    assert arms[0].network == arms[1].network
    assert arms[0].run_name(Plan) != arms[1].run_name(Plan)


def test_an_arm_without_anything_to_compare_with_is_a_slip() -> None:
    with pytest.raises(UsageError, match="init=PRETRAINED"):
        _config("scratch=true")


def test_a_training_starts_from_every_tensor_and_tells_each(
    tmp_path: Path, pretrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "raw" / "Dataset001_Phantom"
    make_phantom_dataset(raw, cases=5, held_back=1, shape=PhantomShape(size=(12, 20, 20)))
    workspace = Workspace(tmp_path, raw.name, raw)
    manifest = read_manifest(raw)
    network = dict(_config(f"init={pretrained}").network)
    made = plan(PlanConfig(max_voxels_3d=16 * 24 * 24), network, manifest, workspace)
    preprocess(PreprocessConfig(workers=1), made, manifest, workspace)
    seen: dict[str, dict[str, torch.Tensor]] = {}

    def start_only(task: torch.nn.Module, _samples: object, _config: object, run: object) -> None:
        seen[run.folder.parent.name] = dict(task.network.state_dict())  # type: ignore[attr-defined]
        write_json(run.folder / "status.json", {})  # type: ignore[attr-defined]

    monkeypatch.setattr("medssm.fields.segmentation.train.fit", start_only)
    for run, scratch in (("with", False), ("without", True)):
        wishes = {"network": network, "trainer": TINY, "validate": False, "run": run}
        wishes |= {"init": str(pretrained), "scratch": scratch, "seed": 5}
        train(make(TrainConfig, wishes, "train"), made, workspace)
    weights = load_file(pretrained / "encoder.safetensors")
    assert all(torch.equal(seen["with"][key], each) for key, each in weights.items())
    told = read_json(workspace.fold_folder("with", 0) / "transfer.json")
    assert set(told["moved"]) == set(weights)
    assert told["left_over"] == {}
    assert set(told["new"]) == set(seen["with"]) - set(weights)
    assert not (workspace.fold_folder("without", 0) / "transfer.json").exists()
    # what does not move is the same in both arms
    assert all(torch.equal(seen["with"][key], seen["without"][key]) for key in told["new"])
    assert not all(torch.equal(seen["without"][key], each) for key, each in weights.items())
