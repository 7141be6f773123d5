"""Pickles where we read files: each would run if it were unpickled, and none is."""

import contextlib
import importlib
import io
import pickle
import zipfile

import blosc2
import h5py
import nibabel
import numpy as np
import pytest
import timm
import torch

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import write_json
from medssm.data.bags import read_bag
from medssm.data.blosc_array import open_array
from medssm.data.ecg.read import read_record
from medssm.fields.pathology.encoders import EncoderConfig, build_encoder
from medssm.fields.segmentation.patches import Store
from medssm.networks import NETWORKS
from medssm.training.checkpoints import LATEST, PREVIOUS, CheckpointFiles
from medssm.training.warm_start import load_initial_weights
from tests.support.canary import Payload, checkpoint, fires_unpickled, gone, pickled
from tests.support.static_model import NETWORK, make_static_model, static_plans


def test_a_training_does_not_resume_from_a_checkpoint_with_code(tmp_path, canary):
    for name in (LATEST, PREVIOUS):
        (tmp_path / name).write_bytes(checkpoint(canary, epoch=1))
    fires_unpickled(tmp_path / LATEST, canary)
    with pytest.raises(BadDataError, match="no checkpoint can be read"):
        CheckpointFiles(tmp_path).last()
    assert not canary.exists()


@pytest.mark.parametrize("flags", [(), ("--trust",)])
@pytest.mark.parametrize("legacy", [False, True])
def test_an_authors_checkpoint_with_code_is_refused(run, tmp_path, canary, flags, legacy):
    file = tmp_path / "best.pth"
    file.write_bytes(pickled(canary) if legacy else checkpoint(canary))
    fires_unpickled(file, canary)
    code, told = run("import", "checkpoint", "vm_unet", file, *flags)
    assert code == 3
    assert "best.pth" in told
    assert "--trust" in told
    assert not canary.exists()


def test_weights_to_start_from_with_code_are_refused(tmp_path, canary):
    file = tmp_path / "init.pt"
    file.write_bytes(checkpoint(canary))
    fires_unpickled(file, canary)
    with pytest.raises(BadDataError, match=r"init\.pt.*Python objects is refused"):
        load_initial_weights(NETWORKS.build(**NETWORK), file)
    assert not canary.exists()


@pytest.mark.parametrize("flags", [(), ("--trust",)])
def test_a_model_of_nnunet_with_code_is_refused(run, tmp_path, canary, flags, tree):
    model = tmp_path / "Dataset001_Some" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    write_json(model / "plans.json", static_plans())
    write_json(model / "dataset.json", {})
    (model / "fold_0").mkdir()
    file = model / "fold_0" / "checkpoint_final.pth"
    file.write_bytes(checkpoint(canary, network_weights={}))
    (model / "postprocessing.pkl").write_bytes(pickled(canary))
    fires_unpickled(file, canary)
    fires_unpickled(model / "postprocessing.pkl", canary)
    before = tree()
    code, told = run("import", "nnunet-model", model, *flags)
    assert code == 3
    assert "checkpoint_final.pth" in told
    assert not canary.exists()
    assert tree() == before


def test_a_bag_of_features_with_code_is_refused(run, tmp_path, canary):
    folder = tmp_path / "bags"
    folder.mkdir()
    for index in range(6):
        (folder / f"s{index}.pt").write_bytes(checkpoint(canary))
    lines = [f"p{index},s{index},{'ab'[index % 2]}" for index in range(6)]
    (folder / "labels.csv").write_text("\n".join(["case_id,slide_id,label", *lines]))
    fires_unpickled(folder / "s0.pt", canary)
    assert run("import", "features", folder, "--name", "Dataset001_Bags")[0] == 0
    code, told = run("preprocess", "Dataset001_Bags", "planner.folds=2")
    assert code == 3, told
    assert "s0" in told
    assert not canary.exists()


def test_a_bag_in_hdf5_with_a_pickle_in_it_is_only_bytes(tmp_path, canary):
    file = tmp_path / "bag.h5"
    with h5py.File(file, "w") as content:
        content["features"] = np.void(pickled(canary))
        content.attrs["encoder"] = np.void(pickled(canary))
    start = file.read_bytes().index(pickled(canary))
    fires_unpickled(file, canary, start)
    with pytest.raises(BadDataError, match=r"bag\.h5"):
        read_bag(file)
    with h5py.File(file, "a") as content:
        del content["features"]
        content["features"] = np.ones((3, 4), np.float32)
    assert len(read_bag(file)) == 3
    assert not canary.exists()


def _objects(canary):
    buffer = io.BytesIO()
    np.save(buffer, np.array([Payload(canary)], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def test_k_space_of_objects_is_refused(run, tmp_path, canary):
    folder = tmp_path / "kspace"
    folder.mkdir()
    (folder / "a.npy").write_bytes(_objects(canary))
    (folder / "a.json").write_text("{}")
    fires_unpickled(folder / "a.npy", canary)
    codes = [run("import", "kspace", folder, "--name", "Dataset001_K")[0]]
    codes.append(run("plan", "Dataset001_K")[0])
    assert 3 in codes
    assert not canary.exists()


def test_an_ecg_of_objects_is_refused(tmp_path, canary):
    (tmp_path / "a.npy").write_bytes(_objects(canary))
    write_json(tmp_path / "a.json", {"leads": ["I"], "rate_hz": 500})
    fires_unpickled(tmp_path / "a.npy", canary)
    with pytest.raises(BadDataError, match=r"a\.npy"):
        read_record(tmp_path / "a.npy")
    assert not canary.exists()


def test_slices_of_synapse_that_are_objects_are_refused(run, tmp_path, canary):
    folder = tmp_path / "Synapse"
    (folder / "train_npz").mkdir(parents=True)
    with zipfile.ZipFile(folder / "train_npz" / "case0005_slice000.npz", "w") as archive:
        archive.writestr("image.npy", _objects(canary))
        archive.writestr("label.json", b"{}")
    fires_unpickled(folder / "train_npz" / "case0005_slice000.npz", canary)
    code, told = run("import", "synapse", folder)
    assert code == 3, told
    assert "case0005" in told
    assert not canary.exists()


def test_properties_of_a_store_with_code_are_refused(tmp_path, canary):
    blosc2.asarray(np.zeros((1, 4, 4, 4), np.float32), urlpath=str(tmp_path / "a.b2nd"))
    blosc2.asarray(np.zeros((1, 4, 4, 4), np.int16), urlpath=str(tmp_path / "a_seg.b2nd"))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"class_locations": Payload(canary)}))
    fires_unpickled(tmp_path / "a.pkl", canary)
    with pytest.raises(BadDataError, match=r"a\.pkl: not readable as plain data"):
        Store(tmp_path, ["a"])["a"]
    assert not canary.exists()


def test_a_stored_array_that_is_a_program_is_refused(tmp_path, canary, monkeypatch):
    (tmp_path / "step_of_an_attack.py").write_text(
        "def step(inputs, output, offset):\n"
        f"    open({str(canary)!r}, 'w').close()\n"
        "    output[:] = inputs[0]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    step = importlib.import_module("step_of_an_attack").step
    array = blosc2.asarray(np.zeros((4, 4)), urlpath=str(tmp_path / "operand.b2nd"), mode="w")
    blosc2.lazyudf(step, (array,), dtype=np.float64).save(urlpath=str(tmp_path / "a.b2nd"))
    canary.unlink(missing_ok=True)
    blosc2.open(str(tmp_path / "a.b2nd"), mode="r", deserialize="full")[:]
    gone(canary, "")
    with pytest.raises(BadDataError, match=r"a\.b2nd: damaged, or no plain array"):
        open_array(tmp_path / "a.b2nd")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({}))
    with pytest.raises(BadDataError, match=r"a\.b2nd"):
        Store(tmp_path, ["a"])
    assert not canary.exists()


def test_the_weights_of_a_model_folder_are_never_unpickled(tmp_path, canary, run):
    model = make_static_model(tmp_path / "model")
    file = model / "fold_0" / "weights.safetensors"
    file.write_bytes(checkpoint(canary))
    fires_unpickled(file, canary)
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 8), np.float32), np.eye(4)),
                 tmp_path / "a_0000.nii.gz")  # fmt: skip
    code, told = run("predict", model, "-i", tmp_path / "a_0000.nii.gz", "-o", tmp_path / "out")
    assert code == 3
    assert "weights.safetensors" in told
    assert not canary.exists()


@pytest.mark.parametrize("how", ["checkpoint_path", "pretrained_cfg"])
def test_a_recipe_of_an_encoder_does_not_have_timm_open_a_file(how, tmp_path, canary):
    file = tmp_path / "encoder.pth"
    file.write_bytes(checkpoint(canary))
    arguments = {"checkpoint_path": str(file)}
    if how == "pretrained_cfg":
        arguments = {"pretrained": True, "pretrained_cfg": {"file": str(file)}}
    with contextlib.suppress(Exception):
        timm.create_model("test_resnet", **arguments)
    gone(canary, "")
    config = EncoderConfig("test_resnet", weights="random", arguments=arguments)
    with pytest.raises(UsageError, match=r"encoder\.arguments\.\w+ is refused"):
        build_encoder(config)
    assert not canary.exists()


def test_the_control_of_the_canary_can_fail(tmp_path, canary):
    torch.save({"w": torch.ones(1)}, tmp_path / "good.pt")
    with pytest.raises(AssertionError):
        fires_unpickled(tmp_path / "good.pt", canary)
    with pytest.raises(AssertionError):
        gone(canary, "")
