"""`$`, `_target_`, `${...}` and class paths in files that travel: nothing of it is evaluated."""

import json

import nibabel
import numpy as np
import pytest
import torch
import yaml
from hydra.utils import instantiate
from monai.bundle import ConfigParser
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from omegaconf import OmegaConf

from medssm.bundle.package import write_package
from medssm.core.errors import BadDataError
from medssm.core.files import read_json, write_json
from medssm.runs.compose import compose
from tests.bundle.test_package import changed, listed
from tests.support.canary import code, gone
from tests.support.static_model import make_static_model, static_plans

MAKES = "logging.FileHandler"


def _image(tmp_path):
    image = nibabel.Nifti1Image(np.random.default_rng(0).random((9, 8, 8), np.float32), np.eye(4))
    nibabel.save(image, tmp_path / "a_0000.nii.gz")
    return tmp_path / "a_0000.nii.gz"


def _predict(run, model, tmp_path):
    return run("predict", model, "-i", _image(tmp_path), "-o", tmp_path / "out", "device=cpu")


def _evaluated_by_monai(content, canary):
    """Prove that MONAI makes the canary of a configuration."""
    parser = ConfigParser({"it": content})
    made = parser.get_parsed_content("it")
    if hasattr(made, "close"):
        made.close()
    gone(canary, "")


def _target(canary):
    return {"_target_": MAKES, "filename": str(canary)}


@pytest.mark.parametrize("kind", ["_target_", "$"])
def test_a_description_of_a_model_is_not_evaluated(kind, run, tmp_path, canary):
    model = make_static_model(tmp_path / "model")
    hostile = _target(canary) if kind == "_target_" else f"${code(canary)}"
    _evaluated_by_monai(hostile, canary)
    write_json(model / "model.json", {**read_json(model / "model.json"), "network": hostile})
    assert run("export", model, tmp_path / "bundle")[0] == 3
    assert run("export", model, tmp_path / "package.zip", "--to", "package")[0] == 3
    code_, told = _predict(run, model, tmp_path)
    assert code_ == 3, told
    assert "model.json" in told
    assert "Expected plain data" in told
    assert not canary.exists()


def test_names_of_a_data_set_are_not_evaluated_by_a_bundle(run, tmp_path, canary):
    model = make_static_model(tmp_path / "model")
    hostile = f"${code(canary)}"
    _evaluated_by_monai(hostile, canary)
    dataset = read_json(model / "dataset.json")
    write_json(model / "dataset.json", {**dataset, "channel_names": {"0": hostile}})
    code_, told = run("export", model, tmp_path / "bundle", "prove=false")
    assert code_ == 3, told
    assert "channel_names.0" in told
    assert not canary.exists()


def test_an_ending_that_would_break_out_of_an_expression_is_refused(run, tmp_path, canary):
    model = make_static_model(tmp_path / "model")
    ending = f".nii.gz' + str({code(canary)}) + '"
    _evaluated_by_monai(f"$'a{ending}'", canary)
    write_json(model / "dataset.json", {**read_json(model / "dataset.json"), "file_ending": ending})
    code_, told = run("export", model, tmp_path / "bundle", "prove=false")
    assert code_ == 3, told
    assert "file_ending" in told
    assert not canary.exists()


def test_a_class_path_in_plans_is_not_looked_up(run, tmp_path, canary):
    model = tmp_path / "Dataset001_Some" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    architecture = {"network_class_name": "builtins.exec", "arch_kwargs": {}}
    # stock nnU-Net finds the class by its path and calls it
    with pytest.raises(TypeError, match="exec"):
        get_network_from_plans("builtins.exec", {}, [], 1, 2)
    write_json(model / "plans.json", static_plans(architecture=architecture))
    write_json(
        model / "dataset.json",
        {"channel_names": {"0": "CT"}, "labels": {"background": 0, "a": 1},
         "file_ending": ".nii.gz"},
    )  # fmt: skip
    (model / "fold_0").mkdir()
    torch.save(
        {"network_weights": {}, "init_args": {"configuration": "3d_fullres"}},
        model / "fold_0" / "checkpoint_final.pth",
    )
    code_, told = run("import", "nnunet-model", model)
    assert code_ == 3
    assert "'builtins.exec'" in told
    assert "not looked up" in told


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image_reader_writer", "load_pickle"),
        ("resampling_fn_data", "load_pickle"),
        ("normalization_schemes", ["Popen"]),
        ("data_identifier", "../../../canary"),
        ("data_identifier", "${oc.env:HOME}"),
    ],
)
def test_a_plan_names_nothing_but_what_is_listed(key, value, run, tmp_path):
    model = make_static_model(tmp_path / "model")
    plans = read_json(model / "plans.json")
    place = plans if key in plans else plans["configurations"]["3d_fullres"]
    place[key] = value
    write_json(model / "plans.json", plans)
    code_, told = _predict(run, model, tmp_path)
    assert code_ == 3, told
    assert "plans.json" in told
    assert key in told


def test_a_plan_cannot_read_variables_through_a_configuration(monkeypatch):
    monkeypatch.setenv("SECRET_OF_A_TEST", "told")
    facts = {"spatial_dims": 3, "num_channels": 1, "num_outputs": 2,
             "plans_name": "${oc.env:SECRET_OF_A_TEST}"}  # fmt: skip
    assert OmegaConf.to_container(OmegaConf.create(facts), resolve=True)["plans_name"] == "told"
    with pytest.raises(BadDataError, match="the plan: plans_name"):
        compose("segmentation", [], facts)


def test_config_yaml_of_a_model_folder_is_not_read(run, tmp_path, canary):
    model = make_static_model(tmp_path / "model")
    text = yaml.safe_dump({"network": _target(canary), "seed": "${oc.env:HOME}"})
    (model / "fold_0" / "config.yaml").write_text(text)
    (model / "config.yaml").write_text(text)
    instantiate(yaml.safe_load(text)["network"]).close()
    gone(canary, "")
    code_, told = _predict(run, model, tmp_path)
    assert code_ == 0, told
    assert (tmp_path / "out" / "a.nii.gz").is_file()
    assert not canary.exists()


def test_a_bundle_of_others_is_no_model_folder(run, tmp_path, canary):
    bundle = tmp_path / "bundle"
    content = {"network_def": _target(canary), "run": [f"${code(canary)}"]}
    write_json(bundle / "configs" / "inference.json", content)
    write_json(bundle / "configs" / "metadata.json", {"version": "0.0.1"})
    _evaluated_by_monai(content["run"], canary)
    code_, told = _predict(run, bundle, tmp_path)
    assert code_ == 3, told
    assert "no model folder" in told
    assert not canary.exists()


def test_a_package_with_an_expression_is_refused(run, tmp_path, canary):
    model = make_static_model(tmp_path / "results" / "Dataset001_Some" / "run")
    write_package(model, tmp_path / "model.zip")
    hostile = {"plan": _target(canary)}
    _evaluated_by_monai(hostile["plan"], canary)
    changed(
        tmp_path / "model.zip",
        lambda members: listed(members, **{"fold_0/plan.json": json.dumps(hostile).encode()}),
    )
    code_, told = run("import", "package", tmp_path / "model.zip")
    assert code_ == 3
    assert "_target_" in told
    assert not canary.exists()
