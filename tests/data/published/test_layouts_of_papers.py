"""Data sets lie on disk as their authors hand them out, and come in with one command each."""

import json
import sys
import types

import imageio.v3 as imageio
import nibabel
import numpy as np
import pytest

from medssm.core.errors import BadDataError, MachineError, UsageError
from medssm.data.integrity import check_manifest
from medssm.data.layouts import ImportOptions, import_dataset
from medssm.data.readers import reader_of
from medssm.data.splits import make_splits

SEED = 0


def _picture(file, shape):
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEED)
    imageio.imwrite(file, rng.integers(0, 256, shape).astype(np.uint8))


def _mask(file, shape, box, bright=255):
    file.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(shape, np.uint8)
    mask[box] = bright
    imageio.imwrite(file, mask)


def _isic(root, images, masks, names, shape=(30, 40)):
    for name in names:
        _picture(root / images / f"{name}.jpg", (*shape, 3))
        _mask(root / masks / f"{name}_segmentation.png", shape, np.s_[10:20, 10:30])


def _nifti(file, voxels):
    file.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), file)


def _errors(manifest):
    return [found for found in check_manifest(manifest, workers=1) if found.severity == "error"]


def test_isic_becomes_colour_and_binary_png_with_the_folds_of_its_folders(tmp_path):
    source = tmp_path / "isic17"
    _isic(source, "ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth",
          ["ISIC_0000000", "ISIC_0000001"])  # fmt: skip
    _isic(source, "ISIC-2017_Validation_Data", "ISIC-2017_Validation_Part1_GroundTruth",
          ["ISIC_0000002"])  # fmt: skip
    _isic(source, "ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth",
          ["ISIC_0000003"])  # fmt: skip
    _mask(source / "ISIC-2017_Training_Data" / "ISIC_0000000_superpixels.png", (30, 40), 0)
    options = ImportOptions(name="Dataset811_ISIC17")
    manifest = import_dataset("isic", source, tmp_path / "home", options)
    assert list(manifest.cases) == ["ISIC_0000000", "ISIC_0000001", "ISIC_0000002"]
    assert manifest.labels.names == {"background": 0, "lesion": 1}
    assert _errors(manifest) == []
    case = manifest.cases["ISIC_0000000"]
    assert imageio.imread(case.images[0]).shape == (30, 40, 3)
    assert imageio.imread(case.label).sum() == 10 * 20
    fold = {"train": ["ISIC_0000000", "ISIC_0000001"], "val": ["ISIC_0000002"]}
    assert make_splits(manifest) == [fold]
    assert (manifest.folder / "imagesTs" / "ISIC_0000003_0000.png").is_file()
    assert (manifest.folder / "labelsTs" / "ISIC_0000003.png").is_file()


def test_pictures_are_resized_and_the_mask_stays_in_its_place(tmp_path):
    _isic(tmp_path / "isic", "input", "truth", ["ISIC_1", "ISIC_2"], shape=(60, 80))
    manifest = import_dataset("isic", tmp_path / "isic", tmp_path / "h", ImportOptions(size=20))
    case = manifest.cases["ISIC_1"]
    assert imageio.imread(case.images[0]).shape == (20, 20, 3)
    mask = imageio.imread(case.label)
    # rows 10..20 of 60 and columns 10..30 of 80, in squares of 3 by 4 pixels
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    assert (rows[0], rows[-1]) == (3, 6)
    assert (columns[0], columns[-1]) in ((2, 7), (3, 7), (3, 6))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: _picture(f, (30, 40, 3)), "a picture in colour"),
        (lambda f: _picture(f, (30, 40)), "neither dark nor bright"),
        (lambda f: _mask(f, (20, 40), 0), r"40 x 20 pixels. Expected 40 x 30"),
        (lambda f: f.write_bytes(f.read_bytes()[:60]), "cut off"),
    ],
)
def test_a_mask_that_is_none_is_named(tmp_path, spoil, message):
    _isic(tmp_path / "isic", "input", "truth", ["ISIC_1", "ISIC_2"])
    spoil(tmp_path / "isic" / "truth" / "ISIC_2_segmentation.png")
    with pytest.raises(BadDataError, match=f"ISIC_2_segmentation.*{message}"):
        import_dataset("isic", tmp_path / "isic", tmp_path / "home")
    # mended, it comes in under the number that the first attempt would have had
    _mask(tmp_path / "isic" / "truth" / "ISIC_2_segmentation.png", (30, 40), np.s_[1:9, 1:9])
    assert import_dataset("isic", tmp_path / "isic", tmp_path / "home").name == "Dataset501_isic"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("isic", "ISIC_\\*.jpg with its"),
        ("lungs", "ManualMask/leftMask"),
        ("synapse", "train_npz"),
        ("acdc", "patient001_frame01_gt"),
        ("lits", "volume-N.nii"),
    ],
)
def test_an_empty_folder_is_answered_with_the_layout(tmp_path, kind, expected):
    (tmp_path / "source").mkdir()
    with pytest.raises(BadDataError, match=expected):
        import_dataset(kind, tmp_path / "source", tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_lungs_are_the_union_of_both_masks(tmp_path):
    source = tmp_path / "xray"
    _picture(source / "MontgomerySet" / "CXR_png" / "MCUCXR_0001_0.png", (20, 24))
    masks = source / "MontgomerySet" / "ManualMask"
    _mask(masks / "leftMask" / "MCUCXR_0001_0.png", (20, 24), np.s_[5:10, 2:8])
    _mask(masks / "rightMask" / "MCUCXR_0001_0.png", (20, 24), np.s_[5:10, 12:20])
    for name in ("CHNCXR_0001_0", "CHNCXR_0002_0"):
        _picture(source / "ChinaSet_AllFiles" / "CXR_png" / f"{name}.png", (22, 20, 3))
    _mask(source / "mask" / "CHNCXR_0001_0_mask.png", (22, 20), np.s_[4:8, 4:8])
    manifest = import_dataset("lungs", source, tmp_path / "home")
    assert list(manifest.cases) == ["CHNCXR_0001_0", "MCUCXR_0001_0"]
    label = imageio.imread(manifest.cases["MCUCXR_0001_0"].label)
    assert label.sum() == 5 * 6 + 5 * 8
    assert imageio.imread(manifest.cases["MCUCXR_0001_0"].images[0]).shape == (20, 24, 3)
    assert _errors(manifest) == []
    (masks / "rightMask" / "MCUCXR_0001_0.png").unlink()
    with pytest.raises(BadDataError, match=r"leftMask.*the mask of the other lung is missing"):
        import_dataset("lungs", source, tmp_path / "home")


def test_acdc_keeps_a_patient_on_one_side_and_copies_the_test(tmp_path):
    rng = np.random.default_rng(SEED)
    for part, patients in (("training", (1, 2, 3)), ("testing", (101,))):
        for patient in patients:
            folder = tmp_path / "ACDC" / "database" / part / f"patient{patient:03d}"
            _nifti(folder / f"patient{patient:03d}_4d.nii.gz", rng.normal(size=(6, 6, 3, 2)))
            for frame in (1, 12):
                stem = f"patient{patient:03d}_frame{frame:02d}"
                _nifti(folder / f"{stem}.nii.gz", rng.normal(size=(6, 6, 3)))
                _nifti(folder / f"{stem}_gt.nii.gz", rng.integers(0, 4, (6, 6, 3)).astype(np.uint8))
    manifest = import_dataset("acdc", tmp_path / "ACDC", tmp_path / "home")
    assert len(manifest.cases) == 6
    assert manifest.cases["patient002_frame12"].patient == "patient002"
    assert _errors(manifest) == []
    copied = sorted(file.name for file in (manifest.folder / "imagesTs").iterdir())
    assert copied == ["patient101_frame01_0000.nii.gz", "patient101_frame12_0000.nii.gz"]
    (tmp_path / "ACDC/database/training/patient001/patient001_frame01.nii.gz").unlink()
    with pytest.raises(BadDataError, match=r"its image patient001_frame01\.nii\.gz is missing"):
        import_dataset("acdc", tmp_path / "ACDC", tmp_path / "home")


def test_lits_is_paired_by_number_in_any_folders(tmp_path):
    rng = np.random.default_rng(SEED)
    for number in (0, 3, 10):
        batch = tmp_path / "LiTS" / f"Training_Batch{1 + (number > 5)}"
        _nifti(batch / f"volume-{number}.nii", rng.normal(size=(5, 6, 7)))
        _nifti(batch / f"segmentation-{number}.nii", rng.integers(0, 3, (5, 6, 7)).astype(np.uint8))
    _nifti(tmp_path / "LiTS" / "test" / "volume-11.nii", rng.normal(size=(5, 6, 7)))
    manifest = import_dataset("lits", tmp_path / "LiTS", tmp_path / "home")
    assert list(manifest.cases) == ["liver_000", "liver_003", "liver_010"]
    assert manifest.cases["liver_010"].label.name == "segmentation-10.nii"
    assert _errors(manifest) == []


def _synapse(root, cases=("case0005", "case0006"), depth=4):
    (root / "train_npz").mkdir(parents=True)
    volumes = {}
    rng = np.random.default_rng(SEED)
    for case in cases:
        image = rng.random((depth, 10, 12)).astype(np.float32)
        label = rng.integers(0, 9, (depth, 10, 12)).astype(np.float32)
        volumes[case] = image, label
        for index in range(depth):
            file = root / "train_npz" / f"{case}_slice{index:03d}.npz"
            np.savez(file, image=image[index], label=label[index])
    return volumes


def test_synapse_slices_are_stacked_to_volumes(tmp_path):
    volumes = _synapse(tmp_path / "Synapse")
    manifest = import_dataset("synapse", tmp_path / "Synapse", tmp_path / "home")
    assert manifest.labels.foreground[:2] == ("aorta", "gallbladder")
    assert list(manifest.channels.values()) == ["noNorm"]
    case = manifest.cases["case0006"]
    image = reader_of(case.images[0]).array(case.images[0])
    np.testing.assert_array_equal(image.transpose(2, 1, 0), volumes["case0006"][0])
    label = reader_of(case.label).array(case.label)
    np.testing.assert_array_equal(label.transpose(2, 1, 0), volumes["case0006"][1])
    assert _errors(manifest) == []


def test_synapse_test_volumes_are_read_from_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py, of the extra synapse, is not installed")
    _synapse(tmp_path / "Synapse")
    (tmp_path / "Synapse" / "test_vol_h5").mkdir()
    voxels = np.random.default_rng(1).random((3, 10, 12)).astype(np.float32)
    with h5py.File(tmp_path / "Synapse" / "test_vol_h5" / "case0001.npy.h5", "w") as file:
        file["image"], file["label"] = voxels, np.rint(8 * voxels)
    folder = import_dataset("synapse", tmp_path / "Synapse", tmp_path / "home").folder
    found = folder / "imagesTs" / "case0001_0000.nii.gz"
    np.testing.assert_array_equal(reader_of(found).array(found).transpose(2, 1, 0), voxels)


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    _synapse(tmp_path / "Synapse")
    (tmp_path / "Synapse" / "case0001.npy.h5").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MachineError, match=r"medssm\[synapse\]"):
        import_dataset("synapse", tmp_path / "Synapse", tmp_path / "home")


def test_damaged_slices_are_named(tmp_path, monkeypatch):
    _synapse(tmp_path / "Synapse")
    file = tmp_path / "Synapse" / "train_npz" / "case0005_slice002.npz"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(BadDataError, match=r"case0005_slice002\.npz: not readable"):
        import_dataset("synapse", tmp_path / "Synapse", tmp_path / "home")
    np.savez(file, image=np.zeros((10, 12)), label=np.full((10, 12), 9))
    with pytest.raises(BadDataError, match="labels 0 to 8"):
        import_dataset("synapse", tmp_path / "Synapse", tmp_path / "home")
    broken = types.SimpleNamespace(File=lambda *_: (_ for _ in ()).throw(OSError("no HDF5")))
    monkeypatch.setitem(sys.modules, "h5py", broken)
    file.unlink()
    (tmp_path / "Synapse" / "case0001.npy.h5").write_bytes(b"")
    with pytest.raises(BadDataError, match=r"case0001\.npy\.h5: not readable"):
        import_dataset("synapse", tmp_path / "Synapse", tmp_path / "home")


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("acdc", ImportOptions(size=64), "isic, lungs"),
        ("isic", ImportOptions(size=4), "8 or more"),
        ("isic", ImportOptions(labels=("mole",)), "are known"),
    ],
)
def test_an_option_that_a_layout_does_not_take_is_refused(tmp_path, kind, options, message):
    with pytest.raises(UsageError, match=message):
        import_dataset(kind, tmp_path, tmp_path / "home", options)


def test_the_command_takes_a_size(tmp_path, capsys):
    from medssm.cli.main import main

    _isic(tmp_path / "isic", "input", "truth", ["ISIC_1", "ISIC_2"])
    words = ["import", "isic", str(tmp_path / "isic"), "--home", str(tmp_path / "home"), "--json"]
    assert main([*words, "--size", "16"]) == 0
    assert json.loads(capsys.readouterr().out)["cases"] == 2
    assert main([*words, "--size", "big"]) == 2
