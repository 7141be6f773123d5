"""Models of stock nnU-Net come in and give stock nnU-Net's labels."""

import shutil

import nibabel
import numpy as np
import pytest
import torch

from medssm.cli.main import main
from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import read_json, write_json
from medssm.fields.segmentation.nnunet.results import import_models
from medssm.networks import NETWORKS
from medssm.networks.nnunet import CLASS_PATH
from medssm.training.warm_start import transfer
from tests.support.nnunet_results import (
    make_results,
    residual_plans,
    small_plans,
    stock_predict,
)

# configuration, residual encoder, folds, as a zip
CASES = {
    "two folds": ("3d_fullres", False, (0, 1), False),
    "two folds as a zip": ("3d_fullres", False, (0, 1), True),
    "2d, residual": ("2d", True, ("all",), False),
    "3d_fullres, residual": ("3d_fullres", True, (3,), False),
}


def _plans(planned, configuration, residual=False):
    plans = small_plans(planned.plan.plans, configuration)
    return residual_plans(plans, configuration) if residual else plans


def _results(planned, root, configuration="2d", folds=(0,), **changes):
    plans = changes.pop("plans", None) or _plans(planned, configuration)
    return make_results(root / "theirs", planned.plan, plans, configuration, folds, **changes)


def _zip(folder, target):
    return shutil.make_archive(str(target), "zip", folder.parents[1], folder.parent.name)


@pytest.mark.parametrize("case", CASES)
def test_an_imported_model_gives_the_label_of_stock_nnunet(planned, tmp_path, case):
    configuration, residual, folds, packed = CASES[case]
    plans = _plans(planned, configuration, residual)
    theirs = _results(planned, tmp_path, configuration, folds, plans=plans)
    images = tmp_path / "images"
    images.mkdir()
    for file in (planned.workspace.raw_folder / "imagesTr").glob("c[01]_*"):
        shutil.copy(file, images)
    source = _zip(theirs, tmp_path / "model") if packed else str(theirs)
    assert main(["import", "nnunet-model", str(source), "--home", str(tmp_path)]) == 0
    model = tmp_path / "results" / planned.plan.plans["dataset_name"] / theirs.name
    assert main(["predict", str(model), "-i", str(images), "-o", str(tmp_path / "ours")]) == 0
    stock_predict(theirs, images, tmp_path / "stock", folds)
    for name in ("c0.nii.gz", "c1.nii.gz"):
        ours, stock = (
            np.asarray(nibabel.load(tmp_path / side / name).dataobj) for side in ("ours", "stock")
        )
        assert len(np.unique(stock)) > 1
        assert (ours == stock).mean() >= 0.999


def test_a_model_of_regions_comes_in(planned_regions, tmp_path):
    theirs = _results(planned_regions, tmp_path)
    (made,) = import_models(theirs, tmp_path)
    assert made.network["out_channels"] == 2
    assert read_json(made.folder / "model.json")["mirror_axes"] == [0, 1]


def test_final_and_best_come_in_under_our_names(planned, tmp_path):
    theirs = _results(planned, tmp_path, name="checkpoint_best.pth")
    (made,) = import_models(theirs, tmp_path, "other")
    assert made.folder.name == "other"
    assert sorted(each.name for each in (made.folder / "fold_0").iterdir()) == [
        "weights_best.safetensors"
    ]


def test_all_configurations_of_a_data_set_come_in_but_the_second_stage(planned, tmp_path):
    for configuration in ("2d", "3d_fullres"):
        theirs = _results(planned, tmp_path, configuration)
    shutil.copytree(theirs, theirs.with_name("nnUNetTrainer__nnUNetPlans__3d_cascade_fullres"))
    made = import_models(theirs.parent, tmp_path)
    assert [each.configuration for each in made] == ["2d", "3d_fullres"]
    with pytest.raises(UsageError, match="for one model"):
        import_models(theirs.parent, tmp_path, "name", force=True)
    with pytest.raises(BadDataError, match="second stage of a cascade"):
        import_models(theirs.with_name("nnUNetTrainer__nnUNetPlans__3d_cascade_fullres"), tmp_path)


def test_a_second_import_needs_force(planned, tmp_path):
    theirs = _results(planned, tmp_path)
    import_models(theirs, tmp_path)
    with pytest.raises(UsageError, match="--force"):
        import_models(theirs, tmp_path)
    (made,) = import_models(theirs, tmp_path, force=True)
    assert (made.folder / "model.json").is_file()
    assert [each.name for each in made.folder.parent.iterdir()] == [theirs.name]


HOSTILE = {
    "a class elsewhere": ("network_class_name", "os.system", "os.system.*not looked up"),
    "a class of ours": ("network_class_name", "medssm.cli.main.main", "not looked up"),
    "a nonlinearity elsewhere": ("nonlin", "builtins.eval", "Expected a class of torch.nn"),
    "a nonlinearity that is none": ("nonlin", "torch.nn.Linear", "Expected torch.nn: LeakyReLU"),
    "a norm elsewhere": ("norm_op", "os.path.join", "Expected a class of torch.nn"),
    "a convolution of other axes": ("conv_op", "torch.nn.Conv1d", "Expected torch.nn.Conv2d"),
    "an unknown argument": ("block", "os.system", "does not have"),
    "too few levels": ("strides", [[1, 1]], "make no network"),
    "no number": ("n_stages", "x", "cannot be read"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_plans_name_nothing_that_is_looked_up(planned, tmp_path, case):
    key, value, message = HOSTILE[case]
    theirs = _results(planned, tmp_path)
    plans = read_json(theirs / "plans.json")
    architecture = plans["configurations"]["2d"]["architecture"]
    place = architecture if key == "network_class_name" else architecture["arch_kwargs"]
    place[key] = value
    write_json(theirs / "plans.json", plans)
    with pytest.raises(BadDataError, match=message):
        import_models(theirs, tmp_path)
    assert not list((tmp_path / "results").rglob("*.json"))


def test_weights_of_another_network_are_refused_by_name(planned, tmp_path):
    theirs = _results(planned, tmp_path)
    file = theirs / "fold_0" / "checkpoint_final.pth"
    content = torch.load(file, weights_only=False)
    weights = content["network_weights"]
    key = next(iter(weights))
    for change, message in (
        (lambda w: w.pop(key), "lacks|has "),
        (lambda w: w.update(more=torch.ones(1)), "has more"),
        (lambda w: w.update({key: torch.ones(1, 1)}), "another shape of|has "),
    ):
        changed = dict(weights)
        change(changed)
        torch.save({**content, "network_weights": changed}, file)
        with pytest.raises(BadDataError, match=message):
            import_models(theirs, tmp_path)
    torch.save({"state_dict": {}}, file)
    with pytest.raises(BadDataError, match="no checkpoint of nnU-Net v2"):
        import_models(theirs, tmp_path)


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "note.txt").write_text("x")
    for source in (tmp_path, tmp_path / "note.txt"):
        with pytest.raises(BadDataError, match=r"Expected a model|no model of nnU-Net"):
            import_models(source, tmp_path / "home")


def test_an_imported_model_starts_a_training(planned, tmp_path):
    (made,) = import_models(_results(planned, tmp_path), tmp_path)
    network = NETWORKS.build(**made.network)
    moved = transfer(network, made.folder)
    assert (moved.new, moved.left) == ((), {})
    assert len(moved.moved) == len(network.state_dict())


def test_old_plans_and_a_network_of_ours_come_in(planned, tmp_path):
    plans = _plans(planned, "2d")
    settings = plans["configurations"]["2d"]
    arguments = settings["architecture"]["arch_kwargs"]
    theirs = _results(planned, tmp_path, plans=plans)
    depth = arguments["n_stages"]
    settings.pop("architecture")
    settings |= {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "unet_max_num_features": 16,
        "n_conv_per_stage_encoder": arguments["n_conv_per_stage"],
        "n_conv_per_stage_decoder": arguments["n_conv_per_stage_decoder"],
        "num_pool_per_axis": [depth - 1] * 2,
        "pool_op_kernel_sizes": arguments["strides"],
        "conv_kernel_sizes": arguments["kernel_sizes"],
    }
    write_json(theirs / "plans.json", plans)
    with pytest.warns(UserWarning, match="old nnU-Net plans"):
        (made,) = import_models(theirs, tmp_path)
    assert made.network["features"] == arguments["features_per_stage"]
    own = {"name": "unet", "channels": [4, 8], "strides": [2], "residual_units": 0}
    ours = _plans(planned, "3d_fullres")
    ours["configurations"]["3d_fullres"]["architecture"] = {
        "network_class_name": CLASS_PATH,
        "arch_kwargs": {"network": own, "strides": [[1, 1, 1]] * 3},
        "_kw_requires_import": [],
    }
    (made,) = import_models(_results(planned, tmp_path, "3d_fullres", plans=ours), tmp_path)
    assert made.network["name"] == "unet"
