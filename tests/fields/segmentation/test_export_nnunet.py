import json
import os
import shutil
import subprocess
import sys
import zipfile

import pytest
import torch
from nnunetv2.utilities import file_path_utilities

from medssm.cli.main import main
from medssm.core.errors import BadDataError, MedssmError, UsageError
from medssm.core.files import read_json, write_json
from medssm.fields.segmentation import export_nnunet
from medssm.fields.segmentation.export import ExportConfig, export
from medssm.fields.segmentation.nnunet.stock import equal_share
from medssm.fields.segmentation.trained import open_model
from medssm.networks.nnunet import CLASS_PATH
from medssm.training.log_files import draw_curves
from tests.support.model_folder import fold_network, make_model_folder

CONFIGURATION = "nnUNetTrainer__unetPlans__3d_fullres"


@pytest.fixture(scope="module")
def model(planned):
    return make_model_folder(planned.plan, planned.workspace, (0, 1), run="to_nnunet")


@pytest.fixture(scope="module")
def proven(model, tmp_path_factory):
    """Both folds, with a prediction of stock nnU-Net in a process of its own."""
    root = tmp_path_factory.mktemp("results")
    return export(ExportConfig(model, root, kind="nnunet"))


def test_stock_nnunet_labels_a_held_back_case_as_we_do(proven) -> None:
    assert proven.facts["proven"]
    assert proven.facts["least_equal_voxels"] >= 0.999
    assert any("nnUNetv2_predict_from_modelfolder" in line for line in proven.lines)


def test_the_folder_is_what_nnunet_writes_itself(proven, planned) -> None:
    folder = proven.written
    assert folder.relative_to(folder.parents[1]).as_posix() == f"Dataset007_Blobs/{CONFIGURATION}"
    assert sorted(path.name for path in folder.iterdir()) == [
        "dataset.json", "dataset_fingerprint.json", "fold_0", "fold_1", "plans.json",
    ]  # fmt: skip
    plans = read_json(folder / "plans.json")
    assert list(plans["configurations"]) == ["3d_fullres"]
    assert plans["plans_name"] == "unetPlans"
    settings = plans["configurations"]["3d_fullres"]
    assert settings["architecture"]["network_class_name"] == CLASS_PATH
    assert settings["patch_size"] == list(planned.plan.patch_size)


def test_nothing_in_the_folder_tells_where_the_images_lay(proven, planned) -> None:
    home = str(planned.workspace.home)
    files = [path for path in proven.written.rglob("*") if path.is_file()]
    assert files
    assert [path.name for path in files if home.encode() in path.read_bytes()] == []


def test_the_stock_export_packs_it_with_curves_and_validation(model, tmp_path, monkeypatch) -> None:
    from nnunetv2.model_sharing import model_export

    trained = tmp_path / "trained"
    shutil.copytree(model, trained)
    (trained / "fold_0" / "validation").mkdir()
    draw_curves([{"epoch": 0, "train_loss": 1.5, "dice": 0.4}], trained / "fold_0" / "curves.png")
    case = {"case": "c0", "prediction_file": str(trained / "fold_0/validation/c0.nii.gz")}
    write_json(
        trained / "fold_0" / "validation" / "summary.json",
        {"foreground_mean": {"Dice": 0.4}, "metric_per_case": [case]},
    )
    results = tmp_path / "results"
    export(ExportConfig(trained, results, kind="nnunet", prove=False, fold=0))
    monkeypatch.setenv("nnUNet_results", str(results))
    for module in (model_export, file_path_utilities):
        monkeypatch.setattr(module, "nnUNet_results", str(results))
    model_export.export_pretrained_model(
        "Dataset007_Blobs", str(tmp_path / "model.zip"), ("3d_fullres",),
        plans_identifier="unetPlans", folds=(0,),
    )  # fmt: skip
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        inside = f"Dataset007_Blobs/{CONFIGURATION}/fold_0"
        summary = archive.read(f"{inside}/validation/summary.json").decode()
        picture = archive.read(f"{inside}/progress.png")
    assert picture == (trained / "fold_0" / "curves.png").read_bytes()
    assert json.loads(summary)["foreground_mean"] == {"Dice": 0.4}
    assert json.loads(summary)["metric_per_case"][0]["prediction_file"] == "c0.nii.gz"
    assert str(tmp_path) not in summary


def test_a_checkpoint_holds_its_fold_and_what_the_trainer_asks_for(proven, planned) -> None:
    for fold in (0, 1):
        file = proven.written / f"fold_{fold}" / "checkpoint_final.pth"
        content = torch.load(file, weights_only=False)
        ours = fold_network(planned.plan, fold).state_dict()
        assert content["network_weights"].keys() == {f"network.{key}" for key in ours}
        for key, value in ours.items():
            assert torch.equal(content["network_weights"][f"network.{key}"], value)
        assert content["trainer_name"] == "nnUNetTrainer"
        assert content["init_args"]["fold"] == fold
        assert content["inference_allowed_mirroring_axes"] == (0, 1, 2)


def test_the_stock_trainer_loads_the_checkpoint(proven, planned, tmp_path, monkeypatch) -> None:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    monkeypatch.setenv("nnUNet_preprocessed", str(planned.workspace.preprocessed.parent))
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    plans = read_json(proven.written / "plans.json") | {"continue_training": False}
    dataset = read_json(proven.written / "dataset.json")
    trainer = nnUNetTrainer(plans, "3d_fullres", 0, dataset, torch.device("cpu"))
    trainer.load_checkpoint(str(proven.written / "fold_0" / "checkpoint_final.pth"))
    assert trainer.current_epoch == trainer.num_epochs
    weights = fold_network(planned.plan, 0).state_dict()
    assert all(torch.equal(trainer.network.network.state_dict()[k], v) for k, v in weights.items())


def test_what_went_out_comes_back_as_it_was(proven, planned, tmp_path) -> None:
    assert main(["import", "nnunet-model", str(proven.written), "--home", str(tmp_path)]) == 0
    model = open_model(tmp_path / "results" / "Dataset007_Blobs" / CONFIGURATION)
    for fold in ("0", "1"):
        ours = fold_network(planned.plan, fold).state_dict()
        back = model.network([fold]).state_dict()
        assert back.keys() == ours.keys()
        assert all(torch.equal(back[key], value) for key, value in ours.items())
    assert model.mirror_axes == (0, 1, 2)


def test_another_answer_of_nnunet_refuses_the_export(model, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(export_nnunet, "stock_prediction", lambda *_: None)
    monkeypatch.setattr(export_nnunet, "equal_share", lambda *_: 0.5)
    with pytest.raises(BadDataError, match=r"equals our own in 50\.0000% of the voxels"):
        export(ExportConfig(model, tmp_path, kind="nnunet"))
    monkeypatch.setattr(export_nnunet, "equal_share", equal_share)
    with pytest.raises(MedssmError, match="was not predicted by nnunet"):
        export(ExportConfig(model, tmp_path, kind="nnunet"))
    assert not list(tmp_path.rglob("*.json"))


def test_a_model_that_is_there_makes_way_only_on_request(model, tmp_path) -> None:
    config = {"kind": "nnunet", "prove": False, "fold": 1}
    written = export(ExportConfig(model, tmp_path, **config)).written
    (tmp_path / "Dataset007_Blobs" / "nnUNetTrainer__nnUNetPlans__2d").mkdir()
    with pytest.raises(UsageError, match="is there already"):
        export(ExportConfig(model, tmp_path, **config))
    export(ExportConfig(model, tmp_path, **config, overwrite=True))
    assert [path.name for path in written.glob("fold_*")] == ["fold_1"]
    assert len(list((tmp_path / "Dataset007_Blobs").iterdir())) == 2
    (written / "plans.json").unlink()
    with pytest.raises(UsageError, match="is no model of nnU-Net"):
        export(ExportConfig(model, tmp_path, **config, overwrite=True))


def test_what_cannot_be_exported_is_said(model, planned, tmp_path) -> None:
    with pytest.raises(UsageError, match="splits names at"):
        export(ExportConfig(model, tmp_path, kind="nnunet", plans_name="a__b"))
    with pytest.raises(UsageError, match="--embed"):
        export(ExportConfig(model, tmp_path, kind="nnunet", embed=True))
    whole = make_model_folder(planned.plan, planned.workspace, ("all",), run="whole")
    with pytest.raises(BadDataError, match="prove=false"):
        export(ExportConfig(whole, tmp_path, kind="nnunet"))
    written = export(ExportConfig(whole, tmp_path, kind="nnunet", prove=False)).written
    assert (written / "fold_all" / "checkpoint_final.pth").is_file()


def test_plans_find_their_class_in_a_fresh_process() -> None:
    code = f"import pydoc; assert pydoc.locate({CLASS_PATH!r}).__name__ == 'PlansNetwork'"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
