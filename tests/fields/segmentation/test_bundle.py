"""Bundles of segmentation: proven by MONAI, and each of their configurations runs."""

import shutil
import traceback

import imageio.v3 as imageio
import nibabel
import numpy as np
import pytest
import SimpleITK
from monai.bundle import ConfigParser

from medssm.cli.main import main
from medssm.core.files import read_json, write_json
from medssm.data.manifest import read_manifest
from medssm.fields.segmentation.export import ExportConfig, export
from medssm.fields.segmentation.plan import PlanConfig
from medssm.fields.segmentation.plan import plan as make_plan
from medssm.fields.segmentation.plan_file import read_plan
from medssm.fields.segmentation.predict import PredictConfig, predict
from medssm.runs.workspace import open_workspace
from tests.support.model_folder import make_model_folder
from tests.support.pictures import make_picture_folder
from tests.support.tiny import TINY_NETWORKS

NETWORK = {"name": "lightm_unet", **TINY_NETWORKS["lightm_unet"]}


def bundle_of(planned, folder, **wishes):
    model = make_model_folder(planned.plan, planned.workspace, (0,), run=folder.name)
    return export(ExportConfig(model, folder / "Blobs", **wishes)), model


def run(bundle, name, raw, output, **changes):
    """Run a configuration as `monai.bundle run` does, and give its engine back."""
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / f"{name}.json"))
    parser.update({"bundle_root": str(bundle), "dataset_dir": str(raw / "imagesTr"),
                   "output_dir": str(output), "device": "cpu", **changes})  # fmt: skip
    if "labels_dir" in parser.config and "labels_dir" not in changes:
        parser["labels_dir"] = str(raw / "labelsTr")
    parser.parse(True)
    (engine,) = (key for key in ("evaluator", "train#trainer") if key in parser)
    parser.get_parsed_content("run", eval_expr=True)
    return parser.get_parsed_content(engine)


def read(file):
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(file))


def our_labels(model, raw, folder):
    report = predict(PredictConfig(model=model, input=raw / "imagesTr", output=folder))
    assert report.exit_code == 0
    return {case: read(folder / f"{case}.nii.gz") for case in report.done}


def dice(found, true):
    return 2 * (found & true).sum() / (found.sum() + true.sum())


@pytest.fixture(scope="module")
def classes(planned, tmp_path_factory):
    return bundle_of(planned, tmp_path_factory.mktemp("classes"))


def test_monai_labels_two_channels_of_thick_slices_as_we_do(classes):
    done, _ = classes
    assert done.facts["proven"]
    assert done.facts["least_equal_voxels"] >= 0.999
    text = (done.written / "docs" / "README.md").read_text(encoding="utf-8")
    assert f"least equal voxels: {done.facts['least_equal_voxels']}" in text


def test_a_bundle_has_the_files_that_monai_looks_for(classes):
    names = {path.name for path in (classes[0].written / "configs").iterdir()}
    assert names == {
        "inference.json", "evaluate.json", "train.json", "metadata.json", "logging.conf",
    }  # fmt: skip


def test_a_folder_without_images_is_an_error_that_names_it(classes, tmp_path):
    bundle = classes[0].written
    with pytest.raises(RuntimeError) as caught:
        run(bundle, "inference", tmp_path / "elsewhere", tmp_path)
    assert "elsewhere" in "".join(traceback.format_exception(caught.value))
    text = (bundle / "docs" / "README.md").read_text(encoding="utf-8")
    assert "CASE_0001.nii.gz" in text
    assert "`CASE_0000_seg.nii.gz`" in text


def test_evaluate_gives_our_dice(classes, planned, tmp_path):
    done, model = classes
    raw = planned.workspace.raw_folder
    engine = run(done.written, "evaluate", raw, tmp_path / "out")
    ours = our_labels(model, raw, tmp_path / "ours")
    true = {case: read(raw / "labelsTr" / f"{case}.nii.gz") for case in ours}
    wanted = [[dice(ours[c] == k, true[c] == k) for k in (1, 2)] for c in sorted(ours)]
    found = engine.state.metric_details["val_mean_dice"].numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    assert engine.state.metrics["val_mean_dice"] == pytest.approx(np.mean(wanted), abs=1e-3)
    assert (tmp_path / "out" / "val_mean_dice_raw.csv").is_file()


def test_train_writes_weights_that_inference_loads(classes, planned, tmp_path):
    bundle = shutil.copytree(classes[0].written, tmp_path / "Blobs")
    raw = planned.workspace.raw_folder
    trainer = run(bundle, "train", raw, tmp_path / "out", epochs=1, val_interval=1)
    assert trainer.state.iteration == 2  # three of four cases, two a step
    assert np.isfinite(trainer.state.output[0]["loss"])
    before, after = (bundle / "models" / name for name in ("model.pt", "model_trained.pt"))
    run(bundle, "inference", raw, tmp_path / "out", ckpt_path=str(after))
    assert len(list((tmp_path / "out").glob("*_seg.nii.gz"))) == 4
    assert before.read_bytes() != after.read_bytes()


def test_a_zip_unpacks_into_a_folder_of_its_name(classes, tmp_path):
    _, model = classes
    done = export(ExportConfig(model, tmp_path / "Packed.zip", prove=False, embed=True))
    assert [path.name for path in tmp_path.iterdir()] == ["Packed.zip"]
    shutil.unpack_archive(done.written, tmp_path / "there")
    (folder,) = (tmp_path / "there").iterdir()
    assert folder.name == "Packed"
    assert read_json(folder / "configs" / "metadata.json")["name"] == "Packed"
    own = {path.name for path in (folder / "scripts").glob("*.py")}
    assert own == {"__init__.py", "inferer.py", "transforms.py", "pictures.py"}


def test_voxels_that_a_label_leaves_open_are_not_scored(classes, planned, tmp_path):
    """What is left open counts as right, whatever is predicted there; training is left out."""
    _, model = classes
    model = shutil.copytree(model, tmp_path / "model")
    content = read_json(model / "dataset.json")
    content["labels"]["ignore"] = 3
    write_json(model / "dataset.json", content)
    raw = shutil.copytree(planned.workspace.raw_folder, tmp_path / "raw")
    ours = our_labels(model, raw, tmp_path / "ours")
    for file in (raw / "labelsTr").glob("*.nii.gz"):
        image = nibabel.load(file)
        label = np.asarray(image.dataobj).copy()
        label[:, :12] = 3
        nibabel.save(nibabel.Nifti1Image(label, image.affine, image.header), file)
    bundle = export(ExportConfig(model, tmp_path / "Open", prove=False)).written
    assert not (bundle / "configs" / "train.json").exists()
    engine = run(bundle, "evaluate", raw, tmp_path / "out")
    true = {case: read(raw / "labelsTr" / f"{case}.nii.gz") for case in ours}
    wanted = [
        [dice((ours[c] == k) & (true[c] != 3), true[c] == k) for k in (1, 2)] for c in sorted(ours)
    ]
    found = engine.state.metric_details["val_mean_dice"].numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_a_network_of_planes_labels_volumes_and_is_trained_on_them(planned, tmp_path):
    plan = read_plan(planned.workspace.plans_file(planned.plan.plans_name), "2d")
    model = make_model_folder(plan, planned.workspace, (0,), run="planes")
    bundle = export(ExportConfig(model, tmp_path / "Planes", prove=False)).written
    raw = planned.workspace.raw_folder
    run(bundle, "inference", raw, tmp_path / "out")
    for case, label in our_labels(model, raw, tmp_path / "ours").items():
        assert np.mean(read(tmp_path / "out" / f"{case}_0000_seg.nii.gz") == label) >= 0.999
    trainer = run(bundle, "train", raw, tmp_path / "out", epochs=1, val_interval=1)
    assert np.isfinite(trainer.state.output[0]["loss"])


def test_regions_are_painted_and_scored_as_ours(planned_regions, tmp_path):
    done, model = bundle_of(planned_regions, tmp_path / "regions", prove=False)
    raw = planned_regions.workspace.raw_folder
    engine = run(done.written, "evaluate", raw, tmp_path / "out")
    ours = our_labels(model, raw, tmp_path / "ours")
    for case, label in ours.items():
        assert np.mean(read(tmp_path / "out" / f"{case}_0000_seg.nii.gz") == label) >= 0.999
    true = {case: read(raw / "labelsTr" / f"{case}.nii.gz") for case in ours}
    wanted = [
        [dice(np.isin(ours[c], k), np.isin(true[c], k)) for k in ((1, 2), (2,))]
        for c in sorted(ours)
    ]
    found = engine.state.metric_details["val_mean_dice"].numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    trained = run(done.written, "train", raw, tmp_path / "out", epochs=1, val_interval=1)
    assert np.isfinite(trained.state.output[0]["loss"])


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_pictures_are_read_labelled_scored_and_trained_on(colour, tmp_path):
    source = make_picture_folder(tmp_path / "source", colour, cases=4, new=0)
    home = tmp_path / "home"
    assert main(["import", "folder", str(source), "--name", "Dataset011_Rings", "--home",
                 str(home)]) == 0  # fmt: skip
    workspace = open_workspace("Dataset011_Rings", home)
    manifest = read_manifest(workspace.raw_folder)
    plan = make_plan(PlanConfig(workers=1), NETWORK, manifest, workspace)
    model = make_model_folder(plan, workspace, (0,))
    bundle = export(ExportConfig(model, tmp_path / "Rings", prove=False)).written
    folders = {"dataset_dir": str(source / "images"), "labels_dir": str(source / "labels")}
    engine = run(bundle, "evaluate", source, tmp_path / "out", **folders)
    report = predict(PredictConfig(model=model, input=source / "images", output=tmp_path / "ours"))
    wanted = []
    for case in report.done:
        ours, found = (imageio.imread(tmp_path / name) for name in
                       (f"ours/{case}.png", f"out/{case}_seg.png"))  # fmt: skip
        assert np.mean(ours == found) >= 0.999
        true = imageio.imread(source / "labels" / f"{case}.png")
        wanted.append([dice(ours == k, true == k) for k in (1, 2)])
    assert len(wanted) == 4
    found = engine.state.metric_details["val_mean_dice"].numpy()
    np.testing.assert_allclose(found, wanted, atol=2e-3)
    trainer = run(bundle, "train", source, tmp_path / "out", epochs=1, val_interval=1, **folders)
    assert np.isfinite(trainer.state.output[0]["loss"])
