"""A model of any field as one checked zip, there and back."""

import json
import zipfile

import pytest
import torch
from safetensors.torch import save, save_file

from medssm.bundle.package import MANIFEST, import_package, write_package
from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import read_json, sha256, write_json

NETWORKS = {
    "segmentation": "unet",
    "ecg": "xresnet1d101",
    "reconstruction": "recurrent_varnet",
    "pathology": "attention_mil",
    "pretraining": "mamba_mim",
}


@pytest.fixture
def model(tmp_path):
    return make_model(tmp_path)


def make_model(root, field="segmentation"):
    folder = root / "results" / "Dataset001_Some" / "run_2d"
    content = {"format": 1, "field": field, "dataset": "Dataset001_Some", "raw_folder": "/a/raw"}
    write_json(folder / "model.json", {**content, "network": {"name": NETWORKS[field]}})
    plan = {"source": str(root), "spacing_mm": [1.0, 2.0]}
    if field == "pathology":
        plan["bags"] = {"s1": {"patient": "Anna"}}
    write_json(folder / "plan.json", plan)
    if field == "segmentation":
        write_json(folder / "dataset.json", {"patients": {"c1": "Anna"}, "labels": {"a": 0}})
    write_json(folder / "fold_0" / "validation" / "summary.json", {"Dice": 0.9})
    write_json(folder / "fold_0" / "environment.json", {"command": "medssm train /a/b"})
    save_file({"w": torch.arange(4.0)}, folder / "fold_0" / "weights.safetensors")
    (folder / "fold_0" / "metrics.csv").write_text("epoch,loss\n")
    (folder / "fold_0" / "test.csv").write_text("patient,event\nAnna,1\n")
    torch.save({"epoch": 1}, folder / "fold_0" / "checkpoint_latest.pt")
    (folder / "fold_0" / ".medssm-partial-0123abcd-x.json").write_text("{")
    (folder / "fold_0" / "link.json").symlink_to("/etc/hostname")
    return folder


def changed(archive, change):
    """The same zip with its members changed: a mapping of names to bytes in, one out."""
    with zipfile.ZipFile(archive) as opened:
        content = {name: opened.read(name) for name in opened.namelist()}
    with zipfile.ZipFile(archive, "w") as opened:
        for name, each in change(content).items():
            opened.writestr(name, each)
    return archive


def listed(content, **members):
    """Members put in, and listed in the manifest as they are."""
    import hashlib

    manifest = json.loads(content[MANIFEST])
    for name, each in members.items():
        facts = {"sha256": hashlib.sha256(each).hexdigest(), "size": len(each)}
        manifest["files"][name] = facts
    return {**content, **members, MANIFEST: json.dumps(manifest).encode()}


@pytest.mark.parametrize("field", NETWORKS)
def test_a_model_of_every_field_goes_round(field, tmp_path):
    model = make_model(tmp_path, field)
    packed = write_package(model, tmp_path / "model.zip")
    folder, package = import_package(tmp_path / "model.zip", tmp_path / "home")
    assert folder == tmp_path / "home" / "results" / "Dataset001_Some" / "run_2d"
    assert (package.field, package) == (field, packed)
    assert sorted({*package.files} - {"dataset.json"}) == [
        "fold_0/metrics.csv", "fold_0/validation/summary.json",
        "fold_0/weights.safetensors", "model.json", "plan.json",
    ]  # fmt: skip
    weights = "fold_0/weights.safetensors"
    assert (folder / weights).read_bytes() == (model / weights).read_bytes()
    assert read_json(folder / "fold_0" / "validation" / "summary.json") == {"Dice": 0.9}


def test_no_folder_of_this_machine_travels(model, tmp_path):
    write_package(model, tmp_path / "model.zip")
    folder, _ = import_package(tmp_path / "model.zip", tmp_path / "home")
    assert read_json(folder / "model.json")["raw_folder"] == "raw"
    assert read_json(folder / "plan.json") == {"source": tmp_path.name, "spacing_mm": [1.0, 2.0]}


@pytest.mark.parametrize("field", ["segmentation", "pathology"])
def test_no_patient_travels(field, tmp_path):
    write_package(make_model(tmp_path, field), tmp_path / "model.zip")
    folder, _ = import_package(tmp_path / "model.zip", tmp_path / "home")
    texts = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert [text for text in texts if b"Anna" in text] == []


def test_the_same_model_gives_the_same_bytes(model, tmp_path):
    for name in ("a.zip", "b.zip"):
        write_package(model, tmp_path / name)
    assert sha256(tmp_path / "a.zip") == sha256(tmp_path / "b.zip")


HOSTILE = {
    "a file that the manifest does not list": (
        lambda c: {**c, "more.json": b"{}"}, r"more\.json: not in its manifest"),
    "a file that is gone": (
        lambda c: {k: v for k, v in c.items() if k != "plan.json"},
        r"plan\.json: in its manifest and not in it"),
    "a changed file": (
        lambda c: {**c, "plan.json": c["plan.json"].replace(b"2.0", b"3.0")}, "size or sha256"),
    "a pickle": (
        lambda c: listed(c, **{"fold_0/weights.pt": b"x"}), "its ending is unknown"),
    "YAML": (lambda c: listed(c, **{"config.yaml": b"_target_: os.system"}), "ending is unknown"),
    "a pickle that is called safetensors": (
        lambda c: listed(c, **{"fold_0/weights.safetensors": b"\x80\x04N."}),
        "not a whole safetensors file"),
    "_target_": (
        lambda c: listed(c, **{"plan.json": b'{"a": [{"_target_": "os.system"}]}'}),
        r"a\[0\]\._target_ holds '_target_'"),
    "$": (lambda c: listed(c, **{"plan.json": b'{"a": "$import os"}'}), "holds '.import os'"),
    "an interpolation": (
        lambda c: listed(c, **{"plan.json": b'{"a": "x${oc.env:HOME}"}'}), "oc.env"),
    "a network of nobody": (
        lambda c: listed(c, **{"model.json": c["model.json"].replace(b'"unet"', b'"os.system"')}),
        "network is 'os.system'"),
    "a way out": (
        lambda c: {**c, MANIFEST: c[MANIFEST].replace(b'"run_2d"', b'"../../x"')}, "run is"),
    "another way out": (
        lambda c: {**c, MANIFEST: c[MANIFEST].replace(b"Dataset001_Some", b"../../Dataset")},
        "dataset is"),
    "no manifest": (lambda c: {k: v for k, v in c.items() if k != MANIFEST}, "holds no manifest"),
    "a manifest of others": (
        lambda c: {**c, MANIFEST: b'{"kind": "x"}'}, "of kind 'x', format None"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_what_the_manifest_does_not_vouch_for_is_refused(case, model, tmp_path):
    archive, (change, message) = tmp_path / "model.zip", HOSTILE[case]
    write_package(model, archive)
    with pytest.raises(BadDataError, match=message) as caught:
        import_package(changed(archive, change), tmp_path / "home")
    assert "model.zip" in str(caught.value) or "model.json" in str(caught.value)
    assert list((tmp_path / "home" / "results").iterdir()) == []


def test_a_model_that_is_there_stays_without_force(model, tmp_path):
    write_package(model, tmp_path / "model.zip")
    with pytest.raises(UsageError, match="--force"):
        write_package(model, tmp_path / "model.zip")
    folder, _ = import_package(tmp_path / "model.zip", tmp_path / "home")
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        import_package(tmp_path / "model.zip", tmp_path / "home")
    assert (folder / "mine.txt").exists()
    import_package(tmp_path / "model.zip", tmp_path / "home", force=True)
    assert not (folder / "mine.txt").exists()
    second, _ = import_package(tmp_path / "model.zip", tmp_path / "home", name="second")
    assert second.name == "second"
    with pytest.raises(UsageError, match="without folders"):
        import_package(tmp_path / "model.zip", tmp_path / "home", name="../second")


def test_a_folder_without_weights_and_one_without_a_model_are_refused(model, tmp_path):
    with pytest.raises(BadDataError, match="no model folder"):
        write_package(tmp_path, tmp_path / "out.zip")
    (model / "fold_0" / "weights.safetensors").write_bytes(save({})[:4])
    with pytest.raises(BadDataError, match="not a whole safetensors"):
        write_package(model, tmp_path / "out.zip")
    (model / "fold_0" / "weights.safetensors").unlink()
    with pytest.raises(BadDataError, match="no weights"):
        write_package(model, tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()
