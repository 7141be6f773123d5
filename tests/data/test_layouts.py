"""Data sets are read where they lie."""

import json
import shutil

import nibabel
import numpy as np
import pytest

from medssm.core.errors import BadDataError, UsageError
from medssm.data.labels import read_labels
from medssm.data.layouts import ImportOptions, import_dataset, recognise_layout, renew_import
from medssm.data.manifest import read_manifest
from medssm.data.phantom import PhantomShape, make_phantom_dataset
from medssm.data.splits import check_splits, make_splits
from medssm.runs.workspace import open_workspace

SMALL = PhantomShape(size=(8, 12, 12))


@pytest.fixture
def plain(tmp_path):
    make_phantom_dataset(tmp_path / "x", cases=4, held_back=0, shape=SMALL)
    folder = tmp_path / "plain"
    (tmp_path / "x" / "imagesTr").rename(_made(folder) / "images")
    (tmp_path / "x" / "labelsTr").rename(folder / "labels")
    for path in (folder / "images").iterdir():
        path.rename(path.with_name(path.name.replace("_0000", "")))
    return folder


def _made(folder):
    folder.mkdir()
    return folder


def test_a_plain_folder_is_imported_without_copying(plain, tmp_path):
    manifest = import_dataset("folder", plain, tmp_path / "home")
    assert list(manifest.cases) == [f"phantom_{i:03d}" for i in range(4)]
    assert manifest.cases["phantom_000"].images[0].parent == plain / "images"
    assert manifest.labels.foreground == ("label_1", "label_2", "label_3")
    assert [p.name for p in manifest.folder.iterdir()] == ["dataset.json"]


def test_the_same_folder_keeps_its_number(plain, tmp_path):
    names = {import_dataset("folder", plain, tmp_path / "home").name for _ in range(2)}
    assert len(names) == 1


def test_cases_that_came_or_left_since_the_import_are_taken_in(plain, tmp_path):
    home = tmp_path / "home"
    options = ImportOptions(labels=("liver", "kidney", "cyst"))
    folder = import_dataset("folder", plain, home, options).folder
    for kind in ("images", "labels"):
        (plain / kind / "phantom_003.nii.gz").rename(plain / kind / "phantom_009.nii.gz")
    for dataset in (str(plain), folder.name):
        manifest = read_manifest(open_workspace(dataset, home).raw_folder)
        assert sorted(manifest.cases) == [f"phantom_00{i}" for i in (0, 1, 2, 9)]
        assert manifest.labels.foreground == ("liver", "kidney", "cyst")


def test_a_case_that_came_after_patients_were_named_is_refused(plain, tmp_path):
    options = ImportOptions(patient=r"(phantom_00[0-3])")
    folder = import_dataset("folder", plain, tmp_path / "home", options).folder
    for kind in ("images", "labels"):
        shutil.copy(plain / kind / "phantom_003.nii.gz", plain / kind / "phantom_009.nii.gz")
    with pytest.raises(BadDataError, match=r"phantom_009 came after the import.*--patient"):
        renew_import(folder)


def test_a_copy_stays_as_it_was_copied(plain, tmp_path):
    folder = import_dataset("folder", plain, tmp_path / "home", ImportOptions(copy=True)).folder
    before = (folder / "dataset.json").read_bytes()
    (plain / "images" / "phantom_003.nii.gz").unlink()
    renew_import(folder)
    assert (folder / "dataset.json").read_bytes() == before


def test_copying_is_done_when_asked(plain, tmp_path):
    options = ImportOptions(name="Dataset007_Copy", copy=True, labels=("a", "b", "c"))
    manifest = import_dataset("folder", plain, tmp_path / "home", options)
    assert manifest.cases["phantom_001"].images[0].is_relative_to(tmp_path / "home")
    assert manifest.labels.names == {"background": 0, "a": 1, "b": 2, "c": 3}


def test_a_name_of_another_form_is_refused(plain, tmp_path):
    with pytest.raises(UsageError, match="DatasetNNN_Name"):
        import_dataset("folder", plain, tmp_path, ImportOptions(name="liver"))


def test_layouts_are_recognised(plain, tmp_path):
    assert recognise_layout(plain) == "folder"
    assert recognise_layout(tmp_path) is None
    assert recognise_layout(tmp_path / "x") == "nnunet"


def _decathlon(folder, modality, channels=2):
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    shape = (6, 7, 8, channels) if channels else (6, 7, 8)
    for case in range(2):
        image = nibabel.Nifti1Image(rng.normal(size=shape).astype(np.float32), np.eye(4))
        nibabel.save(image, folder / "imagesTr" / f"c{case}.nii.gz")
        label = nibabel.Nifti1Image(rng.integers(0, 2, (6, 7, 8)).astype(np.uint8), np.eye(4))
        nibabel.save(label, folder / "labelsTr" / f"c{case}.nii.gz")
    training = [
        {"image": f"./imagesTr/c{i}.nii.gz", "label": f"./labelsTr/c{i}.nii.gz"} for i in range(2)
    ]
    content = {"labels": {"0": "background", "1": "tumour"}, "training": training}
    if modality is not None:
        content["modality"] = modality
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


TWO = {"0": "T1", "1": "T2"}


@pytest.mark.parametrize(
    ("modality", "names"), [(TWO, ["T1", "T2"]), (None, ["channel_0", "channel_1"])]
)
def test_a_decathlon_folder_with_two_channels_is_split(tmp_path, modality, names):
    source = _decathlon(tmp_path / "Task99_Two", modality)
    assert recognise_layout(source) == "msd"
    manifest = import_dataset("msd", source, tmp_path / "home")
    assert list(manifest.channels.values()) == names
    assert len(manifest.cases["c1"].images) == 2
    whole = np.asarray(nibabel.load(source / "imagesTr" / "c1.nii.gz").dataobj)
    second = np.asarray(nibabel.load(manifest.cases["c1"].images[1]).dataobj)
    assert np.array_equal(second, whole[..., 1])


@pytest.mark.parametrize(
    ("modality", "channels", "found", "named"),
    [
        ({"0": "MRI"}, 2, "2 channels", r"names 1 under modality \(MRI\)"),
        (TWO, 0, "1 channels", r"names 2 under modality \(T1, T2\)"),
        (TWO, 3, "3 channels", r"names 2 under modality \(T1, T2\)"),
    ],
)
def test_modalities_that_are_not_the_fourth_axis_are_refused_with_both(
    tmp_path, modality, channels, found, named
):
    source = _decathlon(tmp_path / "Task99_Two", modality, channels)
    with pytest.raises(BadDataError, match=rf"c0\.nii\.gz: {found}.*dataset\.json {named}"):
        import_dataset("msd", source, tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_patients_are_read_from_names_and_stay_on_one_side(plain, tmp_path):
    with pytest.raises(UsageError, match="regular expression"):
        import_dataset("folder", plain, tmp_path / "h", ImportOptions(patient="("))
    manifest = import_dataset(
        "folder", plain, tmp_path / "home", ImportOptions(patient=r"^(phantom_0)")
    )
    with pytest.raises(BadDataError, match="one patient"):
        make_splits(manifest)


def test_patients_are_read_from_a_table_and_stay_on_one_side(plain, tmp_path):
    table = tmp_path / "patients.csv"
    rows = ["case, patient, age", *(f"phantom_{i:03d}, P{i // 2}, 60" for i in range(4))]
    # as a spreadsheet writes it
    table.write_text("\n".join(rows), encoding="utf-8-sig")
    manifest = import_dataset("folder", plain, tmp_path / "home", ImportOptions(patients=table))
    assert [case.patient for case in manifest.cases.values()] == ["P0", "P0", "P1", "P1"]
    for split in make_splits(manifest):
        sides = ({manifest.cases[name].patient for name in split[side]} for side in split)
        assert not set.intersection(*sides)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,patient\na,b\n", "Expected the columns case,patient"),
        ("case,patient\nphantom_00,P\n", "line 2: no case 'phantom_00'; did you mean"),
        ("case,patient\nphantom_000,P\n", "3 cases have no row"),
        ("case,patient\nphantom_000,\n", "'phantom_000' has no patient"),
        ("case,patient\nphantom_000,P\nphantom_000,Q\n", "line 3.*'Q' here and to 'P' above"),
        (None, "not readable as CSV"),
    ],
)
def test_a_table_of_patients_with_a_slip_names_the_line(plain, tmp_path, content, message):
    table = tmp_path / "patients.csv"
    if content is not None:
        table.write_text(content)
    with pytest.raises(BadDataError, match=message):
        import_dataset("folder", plain, tmp_path / "home", ImportOptions(patients=table))


def test_a_pattern_and_a_table_of_patients_exclude_each_other(plain, tmp_path):
    options = ImportOptions(patient="x", patients=tmp_path / "y.csv")
    with pytest.raises(UsageError, match="not both"):
        import_dataset("folder", plain, tmp_path / "home", options)


def test_splits_are_nnunets_own_where_cases_are_patients(tmp_path):
    from sklearn.model_selection import KFold

    manifest = make_phantom_dataset(tmp_path / "Dataset001_P", cases=11, held_back=0, shape=SMALL)
    names = np.array(sorted(manifest.cases))
    folds = KFold(5, shuffle=True, random_state=12345).split(names)
    expected = [{"train": list(names[a]), "val": list(names[b])} for a, b in folds]
    assert make_splits(manifest) == expected


def test_splits_that_leak_a_patient_or_invent_a_case_are_refused(tmp_path):
    manifest = make_phantom_dataset(tmp_path / "Dataset001_P", cases=3, held_back=0, shape=SMALL)
    a, b, c = manifest.cases
    with pytest.raises(BadDataError, match="train and in val"):
        check_splits([{"train": [a, b], "val": [b]}], manifest, "splits")
    with pytest.raises(BadDataError, match="lacks: nobody"):
        check_splits([{"train": [a], "val": ["nobody"]}], manifest, "splits")
    assert check_splits([{"train": [a, b], "val": [c]}], manifest, "splits")


@pytest.mark.parametrize(
    ("labels", "extra", "message"),
    [
        ({"0": "background", "1": "liver"}, {}, "value: name"),
        ({"liver": 1}, {}, '"background"'),
        ({"background": 0, "a": 1, "b": 5}, {}, "without a gap"),
        ({"background": 0, "a": 2, "ignore": 1}, {}, "highest"),
        ({"background": 0}, {}, "nothing to segment"),
        ({"background": 0, "whole": [1, 2], "core": [2]}, {}, "regions_class_order"),
        ({"background": 0, "a": 0.5}, {}, "whole number"),
        ({}, {}, '"labels" is missing'),
    ],
)
def test_labels_that_break_a_rule_are_refused_with_the_rule(labels, extra, message):
    with pytest.raises(BadDataError, match=message):
        read_labels({"labels": labels, **extra}, "dataset.json")


def test_regions_have_a_channel_each_and_classes_one_more():
    regions = read_labels(
        {"labels": {"background": 0, "whole": [1, 2], "core": [2]}, "regions_class_order": [1, 2]},
        "f",
    )
    assert (regions.num_outputs, regions.has_regions) == (2, True)
    assert regions.mask(np.array([0, 1, 2]), "whole").tolist() == [False, True, True]
    classes = read_labels({"labels": {"background": 0, "a": 1, "ignore": 2}}, "f")
    assert (classes.num_outputs, classes.ignore, classes.foreground) == (2, 2, ("a",))


def test_dataset_json_cut_off_names_the_file(tmp_path):
    (tmp_path / "dataset.json").write_text('{"labels": {')
    with pytest.raises(BadDataError, match=r"dataset\.json: not valid JSON"):
        read_manifest(tmp_path)
