from dataclasses import replace

import h5py
import numpy as np
import pytest

from medssm.core.errors import BadDataError
from medssm.data.kspace_writers import write_fastmri
from medssm.fields.reconstruction import preprocess as module
from medssm.fields.reconstruction.importing import import_kspace
from medssm.fields.reconstruction.plan import ensure_plan
from medssm.fields.reconstruction.preparation import Preparation
from medssm.fields.reconstruction.preprocess import (
    copy_of,
    open_case,
    preprocess_reconstruction,
)
from medssm.fields.reconstruction.samples import MeasuredSamples, SlicePlace, Stream
from medssm.fields.reconstruction.train_config import SamplingConfig
from medssm.runs.field import ImportRequest, StudyRequest
from tests.support.kspace import (
    acquisition,
    columns,
    fastmri_file,
    multi_coil,
    phantom,
    raw_file,
    raw_header,
)

QUICK = ("preprocess.method=cg_sense", "preprocess.iterations=10")


@pytest.fixture
def request_(tmp_path):
    """One full and one undersampled volume of three slices."""
    source = tmp_path / "source"
    source.mkdir()
    fastmri_file(source / "full.h5", seed=1)
    mask = columns(40, acs=10)
    write_fastmri(source / "under.h5", multi_coil(slices=3) * mask, mask=mask)
    made = import_kspace(ImportRequest("kspace", source, tmp_path / "home"))
    return StudyRequest(made.facts["dataset"], tmp_path / "home", QUICK)


def test_undersampled_cases_become_images(request_):
    answer = preprocess_reconstruction(request_)
    assert answer.exit_code == 0
    (file,) = answer.facts["images"]
    images = np.load(file)
    assert (images.dtype, images.shape) == (np.complex64, (3, 48, 40))
    truth = np.abs(phantom((48, 40), 1))
    assert np.corrcoef(np.abs(images[1]).ravel(), truth.ravel())[0, 1] > 0.95


def test_the_same_command_again_does_nothing_and_another_setting_does(request_, monkeypatch):
    (file,) = preprocess_reconstruction(request_).facts["images"]
    first = np.load(file)
    calls = []
    original = module.reconstruct
    monkeypatch.setattr(module, "reconstruct", lambda *a, **k: calls.append(1) or original(*a, **k))
    preprocess_reconstruction(request_)
    assert calls == []
    other = StudyRequest(request_.dataset, request_.home, (*QUICK, "preprocess.lamda=0.5"))
    preprocess_reconstruction(other)
    assert len(calls) == 3
    assert np.abs(np.load(file) - first).max() > 0.01


def test_an_ended_run_goes_on_inside_of_the_volume(request_, monkeypatch):
    original, calls = module.reconstruct, []

    def until_two(*arguments, **words):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(1)
        return original(*arguments, **words)

    monkeypatch.setattr(module, "reconstruct", until_two)
    with pytest.raises(KeyboardInterrupt):
        preprocess_reconstruction(request_)
    home = request_.home
    assert not list(home.glob("preprocessed/*/images/*.npy"))
    calls.clear()
    monkeypatch.setattr(module, "reconstruct", lambda *a, **k: calls.append(1) or original(*a, **k))
    (file,) = preprocess_reconstruction(request_).facts["images"]
    assert len(calls) == 1
    fresh = StudyRequest(request_.dataset, home, QUICK, force=True)
    resumed = np.load(file)
    preprocess_reconstruction(fresh)
    np.testing.assert_array_equal(np.load(file), resumed)
    assert not list(home.glob("preprocessed/*/images/.medssm/parts/*"))


def test_slow_layouts_are_read_from_their_copy(tmp_path):
    source = tmp_path / "raw"
    source.mkdir()
    kspace = multi_coil(slices=2, coils=2, size=(16, 16))
    made = [acquisition(kspace[s, :, :, at], at, slice=s) for s in range(2) for at in range(16)]
    raw_file(source / "scan.h5", raw_header((16, 16, 1), (16, 16, 1), 2), made)
    name = import_kspace(ImportRequest("kspace", source, tmp_path / "home")).facts["dataset"]
    request = StudyRequest(name, tmp_path / "home")
    assert preprocess_reconstruction(request).facts["cached"] == ["scan"]
    workspace, plan = ensure_plan(request)
    volume = open_case(workspace, plan, "scan")
    assert volume.source.path == workspace.preprocessed / "kspace" / "scan.npy"
    np.testing.assert_allclose(volume.read(1), kspace[1], atol=1e-6)
    assert copy_of(workspace, plan, "scan") == volume.source.path
    place = SlicePlace(source / "scan.h5", "scan", 1, (2, 16, 16), copy_of(workspace, plan, "scan"))
    stream = Stream(SamplingConfig(accelerations=(2.0,), center_fractions=(0.4,)), Preparation(), 0)
    plain = MeasuredSamples([replace(place, copy=None)], stream).held_back(1)[0]
    copied = MeasuredSamples([place], stream).held_back(1)[0]
    assert all((plain[key] == copied[key]).all() for key in plain)
    # a copy of another file is not believed
    (source / "scan.h5").touch()
    _, plan = ensure_plan(request)
    assert open_case(workspace, plan, "scan").source.path == source / "scan.h5"


def test_samples_that_the_plan_did_not_see_are_checked(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for seed in range(2):
        fastmri_file(source / f"f{seed}.h5", seed=seed, slices=6)
    with h5py.File(source / "f1.h5", "r+") as file:
        file["kspace"][1, 0, 5, 20] = np.inf
    name = import_kspace(ImportRequest("kspace", source, tmp_path / "home")).facts["dataset"]
    probe = ("planner.scan=probe",)
    with pytest.raises(BadDataError, match=r"1 of 2 cases failed: f1 .*f1.h5: slice 1: 1 of"):
        preprocess_reconstruction(StudyRequest(name, tmp_path / "home", probe))
    skipping = StudyRequest(name, tmp_path / "home", probe, skip_bad=True)
    answer = preprocess_reconstruction(skipping)
    assert answer.exit_code == 3
    assert list(answer.facts["failed"]) == ["f1"]


def test_unknown_methods_are_refused(request_):
    with pytest.raises(Exception, match="preprocess: method='grappa' does not fit"):
        preprocess_reconstruction(
            StudyRequest(request_.dataset, request_.home, ("preprocess.method=grappa",))
        )
