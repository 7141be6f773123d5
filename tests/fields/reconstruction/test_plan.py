import json

import h5py
import numpy as np
import pytest

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import read_json
from medssm.data.kspace_writers import write_fastmri
from medssm.fields.reconstruction.importing import case_files, import_kspace, recognise
from medssm.fields.reconstruction.plan import ensure_plan, plan_reconstruction
from medssm.runs.field import ImportRequest, StudyRequest
from tests.support.kspace import calgary_file, columns, fastmri_file, multi_coil


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "brains"
    folder.mkdir()
    for seed in range(4):
        fastmri_file(folder / f"file{seed}.h5", seed=seed, patient_id=f"patient{seed // 2}")
    return folder


def _import(source, home, **words):
    answer = import_kspace(ImportRequest("kspace", source, home, **words))
    return answer.facts["dataset"]


def _plan(source, tmp_path, *overrides, **words):
    name = _import(source, tmp_path / "home")
    return StudyRequest(name, tmp_path / "home", overrides, **words)


def test_a_folder_is_recognised_by_its_content(source, tmp_path):
    assert recognise(source) == "kspace"
    for name, content in (("a.npy", np.zeros((4, 4))), ("b.npy", np.zeros(3, np.complex64))):
        folder = tmp_path / name
        folder.mkdir()
        np.save(folder / name, content)
        assert recognise(folder) is None
    with h5py.File(tmp_path / "a.npy" / "bag.h5", "w") as file:
        file["features"] = np.zeros((3, 4))
    assert recognise(tmp_path / "a.npy") is None


def test_an_import_copies_nothing_and_keeps_its_number(source, tmp_path):
    home = tmp_path / "home"
    first = _import(source, home, name="Dataset007_Brains")
    assert first == "Dataset007_Brains"
    assert [path.name for path in (home / "raw" / first).iterdir()] == ["dataset.json"]
    other = _import(source, tmp_path / "other")
    assert _import(source, tmp_path / "other") == other
    with pytest.raises(UsageError, match="--labels has no meaning"):
        import_kspace(ImportRequest("kspace", source, home, flags={"labels": "a"}))


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    for side in ("multicoil_train", "multicoil_val"):
        (tmp_path / side).mkdir()
        np.save(tmp_path / side / "a.npy", multi_coil()[0])
    np.save(tmp_path / "b.npy", multi_coil()[0])
    assert list(case_files(tmp_path)) == ["b", "multicoil_train_a_npy", "multicoil_val_a_npy"]


def test_the_plan_tells_what_the_headers_say(source, tmp_path):
    request = _plan(source, tmp_path)
    answer = plan_reconstruction(request)
    facts = answer.facts
    assert (facts["cases"], facts["patients"], facts["slices"]) == (4, 2, 8)
    assert facts["shape_classes"] == [{"coils_h_w": [4, 48, 40], "cases": 4, "slices": 8}]
    assert facts["padding_columns"] == [(2, 3)]
    assert (facts["normalisation"], facts["supervision"]) == ("kspace", "measured")
    assert facts["scanned"] == "all"
    content = read_json(answer.written[0])
    assert content["cases"]["file3"]["recon_size"] == [32, 32]
    assert content["cases"]["file3"]["reference"] is True
    assert json.loads(json.dumps(dict(facts), default=list)) is not None
    assert answer.next_command == ("medssm", "preprocess", request.dataset)


def test_folds_keep_patients_whole(source, tmp_path):
    plan_reconstruction(_plan(source, tmp_path))
    splits = read_json(next((tmp_path / "home").glob("preprocessed/*/splits.json")))
    assert [sorted(fold["val"]) for fold in splits] in (
        [["file0", "file1"], ["file2", "file3"]], [["file2", "file3"], ["file0", "file1"]],
    )  # fmt: skip
    for fold in splits:
        assert not set(fold["train"]) & set(fold["val"])


def test_patients_may_come_from_names_or_a_table(source, tmp_path):
    request = _plan(source, tmp_path, "planner.patient='file(\\d)'")
    assert ensure_plan(request)[1].facts()["patients"] == 4
    table = tmp_path / "patients.csv"
    table.write_text("case,patient\n" + "".join(f"file{n},same\n" for n in range(4)))
    name = _import(source, tmp_path / "two", flags={"patients": str(table)})
    answer = plan_reconstruction(StudyRequest(name, tmp_path / "two"))
    assert answer.facts["patients"] == 1
    assert any("one patient" in line for line in answer.lines)


def test_official_folders_are_the_split_and_leaks_are_refused(tmp_path):
    source = tmp_path / "brain"
    for index, side in enumerate(("multicoil_train", "multicoil_train", "multicoil_val")):
        (source / side).mkdir(parents=True, exist_ok=True)
        fastmri_file(source / side / f"f{index}.h5", seed=index)
    request = _plan(source, tmp_path)
    workspace, _ = ensure_plan(request)
    assert read_json(workspace.preprocessed / "splits.json") == [
        {"train": ["f0", "f1"], "val": ["f2"]}
    ]
    fastmri_file(source / "multicoil_val" / "f2.h5", seed=2, patient_id="patient0")
    with pytest.raises(BadDataError, match=r"patients in train and in val: patient0"):
        ensure_plan(request)
    again = StudyRequest(request.dataset, request.home, ("planner.splits=folds",))
    assert len(read_json(ensure_plan(again)[0].preprocessed / "splits.json")) == 2


def test_a_split_of_the_data_set_is_checked(source, tmp_path):
    request = _plan(source, tmp_path)
    own = source / "splits.json"
    own.write_text('[{"train": ["file0", "file1"], "val": ["file2", "file3"]}]')
    workspace, _ = ensure_plan(StudyRequest(request.dataset, request.home))
    assert read_json(workspace.preprocessed / "splits.json")[0]["val"] == ["file2", "file3"]
    own.write_text('[{"train": ["file0"], "val": ["file1"]}]')
    with pytest.raises(BadDataError, match=r"splits.json: fold 0 has patients in train and in val"):
        ensure_plan(StudyRequest(request.dataset, request.home, force=True))
    own.write_text('[{"train": ["file0"], "val": ["nobody"]}]')
    with pytest.raises(BadDataError, match=r"splits.json: fold 0 names cases .*: nobody"):
        ensure_plan(StudyRequest(request.dataset, request.home, force=True))


def _spoil_header(path):
    with h5py.File(path, "r+") as file:
        text = file["ismrmrd_header"][()].decode().replace("encodedSpace", "lostSpace")
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = text.encode()


def _spoil_coils(path):
    with h5py.File(path, "r+") as file:
        kspace = file["kspace"][:, 1:]
        del file["kspace"]
        file["kspace"] = kspace


def _spoil_sample(path):
    with h5py.File(path, "r+") as file:
        file["kspace"][0, 0, 0, 20] = np.nan


def _spoil_centre(path):
    with h5py.File(path, "r+") as file:
        file["mask"] = (np.arange(40) % 3 == 0).astype(float)


def _spoil_end(path):
    path.write_bytes(path.read_bytes()[:-5000])


def _spoil_all(path):
    with h5py.File(path, "r+") as file:
        file["kspace"][...] = 0


SPOILED = [
    (_spoil_header, "lacks encoding/encodedSpace"),
    (_spoil_coils, "kspace has 3 coils"),
    (_spoil_sample, "are NaN or infinite"),
    (_spoil_centre, "is not fully sampled"),
    (_spoil_end, "cut off"),
    (_spoil_all, "all samples are zero"),
]


@pytest.mark.parametrize(("spoil", "words"), SPOILED)
def test_a_bad_file_is_named_and_the_others_go_on(source, tmp_path, spoil, words):
    spoil(source / "file2.h5")
    request = _plan(source, tmp_path)
    with pytest.raises(BadDataError, match=rf"1 of 4 files cannot be used: .*file2.h5: .*{words}"):
        plan_reconstruction(request)
    skipping = StudyRequest(request.dataset, request.home, skip_bad=True)
    answer = plan_reconstruction(skipping)
    assert answer.facts["cases"] == 3
    assert list(answer.facts["left_out"]) == ["file2"]
    assert any(line.startswith("left out: file2:") and words in line for line in answer.lines)
    assert answer.next_command[-1] == "--skip-bad"


def test_a_data_set_without_a_usable_file_is_refused(source, tmp_path):
    for file in source.iterdir():
        _spoil_coils(file)
    request = _plan(source, tmp_path, skip_bad=True)
    with pytest.raises(BadDataError, match="none of 4 files can be used"):
        plan_reconstruction(request)


def test_undersampled_data_are_learned_from_by_simulation(tmp_path):
    (tmp_path / "one").mkdir()
    mask = columns(40)
    write_fastmri(tmp_path / "one" / "a.h5", multi_coil() * mask, mask=mask)
    _, plan = ensure_plan(_plan(tmp_path / "one", tmp_path))
    assert (plan.supervision, plan.normalisation) == ("simulated", "image")
    assert plan.cases["a"].sampling == "undersampled"
    assert plan.cases["a"].acs == (48, 9)
    assert plan.acs_columns == 9
    assert plan.cases["a"].acceleration == pytest.approx(2.5)


def test_undersampled_cases_beside_full_ones_are_in_no_fold(source, tmp_path):
    mask = columns(40)
    write_fastmri(source / "under.h5", multi_coil(seed=8) * mask, mask=mask)
    workspace, plan = ensure_plan(_plan(source, tmp_path))
    assert plan.undersampled == ["under"]
    names = {case for fold in read_json(workspace.preprocessed / "splits.json")
             for side in fold.values() for case in side}  # fmt: skip
    assert names == {"file0", "file1", "file2", "file3"}


def test_single_coils_and_odd_sizes_are_planned(tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    np.save(folder / "odd.npy", multi_coil(size=(33, 27)))
    np.save(folder / "single.npy", multi_coil(coils=1)[:, 0][:1, None])
    _, plan = ensure_plan(_plan(folder, tmp_path))
    assert plan.coils == [1, 4]
    assert plan.normalisation == "image"
    assert any("single-coil" in remark for remark in plan.remarks)


def test_calgary_campinas_is_planned_uncentred_and_not_mixed(tmp_path):
    folder = tmp_path / "cc"
    folder.mkdir()
    calgary_file(folder / "e14089s3_P53248.7.h5", coils=2)
    calgary_file(folder / "e14089s4_P53249.7.h5", coils=2, seed=1)
    request = _plan(folder, tmp_path)
    _, plan = ensure_plan(request)
    assert (plan.centred, plan.coils) == (False, [2])
    assert {case.patient for case in plan.cases.values()} == {"e14089"}
    assert plan.cases["e14089s3_P53248.7"].padding == (0, 25)
    fastmri_file(folder / "f.h5")
    with pytest.raises(BadDataError, match="has centred images and"):
        ensure_plan(request)


def test_a_plan_is_made_again_only_when_something_changed(source, tmp_path):
    request = _plan(source, tmp_path)
    workspace, plan = ensure_plan(request)
    file = workspace.preprocessed / "plan.json"
    before = file.stat().st_mtime_ns
    assert ensure_plan(request)[1] == plan
    assert file.stat().st_mtime_ns == before
    fastmri_file(source / "file9.h5", seed=9)
    assert "file9" in ensure_plan(request)[1].cases
    file.write_text('{"format": 99}')
    with pytest.raises(BadDataError, match=r"plan.json: not a plan of this version.*--force"):
        ensure_plan(request)


def test_wrong_settings_are_named(source, tmp_path):
    with pytest.raises(UsageError, match="planner has no argument 'fold'; did you mean 'folds'"):
        plan_reconstruction(_plan(source, tmp_path, "planner.fold=3"))
    with pytest.raises(UsageError, match=r"planner.folds=1: expected 2 or more"):
        plan_reconstruction(_plan(source, tmp_path, "planner.folds=1"))
    with pytest.raises(UsageError, match="there is no folder and no data set 'Nobody'"):
        plan_reconstruction(StudyRequest("Nobody", tmp_path / "home"))
