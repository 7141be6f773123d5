"""A dirty folder through the commands: each fault named with its remedy, the rest trained on."""

import json
import shutil

import nibabel
import numpy as np
import pytest

from medssm.cli.main import main
from medssm.core.files import read_json
from medssm.data.phantom import PhantomShape, make_phantom_dataset
from tests.support.shared import shared_folder

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TINY = (
    "network=lightm_unet", "network.init_filters=8", "network.blocks_down=[1,1]",
    "network.blocks_up=[1]", "patch_size=[8,16,16]", "trainer.max_time=null",
    "trainer.max_epochs=1", "trainer.steps_per_epoch=2", "trainer.workers=0",
    "trainer.accelerator=cpu", "trainer.precision=32-true", "budget=cpu",
    "trainer.threads=1", "planner.workers=1", "preprocess.workers=1",
)  # fmt: skip


def _changed(path, change):
    image = nibabel.load(path)
    voxels, affine = change(np.asarray(image.dataobj).copy(), image.affine.copy())
    header = image.header.copy()
    header.set_data_dtype(voxels.dtype)
    nibabel.save(nibabel.Nifti1Image(voxels, affine, header), path)


def truncate(images, labels, case):
    file = images / f"{case}.nii.gz"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return file


def put_nan(images, labels, case):
    def change(voxels, affine):
        voxels = voxels.astype(np.float32)
        voxels[3, 3, 3] = np.nan
        return voxels, affine

    _changed(images / f"{case}.nii.gz", change)
    return images / f"{case}.nii.gz"


def put_undeclared_value(images, labels, case):
    def change(voxels, affine):
        voxels[4, 4, 4] = 9
        return voxels, affine

    _changed(labels / f"{case}.nii.gz", change)
    return labels / f"{case}.nii.gz"


def shift_label(images, labels, case):
    def change(voxels, affine):
        affine[0, 3] += 5
        return voxels, affine

    _changed(labels / f"{case}.nii.gz", change)
    return labels / f"{case}.nii.gz"


def blank_image(images, labels, case):
    _changed(images / f"{case}.nii.gz", lambda voxels, affine: (voxels * 0, affine))
    return images / f"{case}.nii.gz"


FAULTS = {
    truncate: ("truncated", "copy it again from its source"),
    put_nan: ("not finite", "replace them at the source"),
    put_undeclared_value: ("undeclared value", "correct the label"),
    shift_label: ("origin", "resample onto the image's grid"),
    blank_image: ("all zero", "leave the case out"),
}


def plain_folder(root, cases):
    """images/ and labels/ of phantoms."""
    raw = root / "Dataset009_Made"
    make_phantom_dataset(raw, cases=cases, held_back=0, shape=PhantomShape(size=(8, 18, 18)))
    plain = root / "plain"
    (plain / "images").mkdir(parents=True)
    for image in sorted((raw / "imagesTr").iterdir()):
        image.rename(plain / "images" / image.name.replace("_0000", ""))
    (raw / "labelsTr").rename(plain / "labels")
    return plain


def found(said, problem, file):
    """The rows of the table that name a problem and a file."""
    return [row for row in said.splitlines() if problem in row and str(file) in row]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_refused_with_the_name_of_its_file_and_the_remedy(tmp_path, capsys, fault):
    plain = plain_folder(tmp_path, cases=4)
    file = fault(plain / "images", plain / "labels", "phantom_001")
    home = tmp_path / "home"
    assert main(["train", str(plain), *TINY, "--home", str(home)]) == 3
    said = capsys.readouterr().err
    problem, remedy = FAULTS[fault]
    (row,) = found(said, problem, file)
    assert remedy in row
    assert "phantom_001" in row
    assert " error " in row
    assert "--skip-bad" in said
    assert not (home / "results").exists()


def test_skip_bad_trains_on_the_rest_and_lists_what_it_left_out(tmp_path, capsys):
    plain = plain_folder(tmp_path, cases=9)
    images, labels = plain / "images", plain / "labels"
    bad = {f"phantom_{index:03d}": fault for index, fault in enumerate(FAULTS, start=1)}
    files = {case: fault(images, labels, case) for case, fault in bad.items()}
    (labels / "phantom_006.nii.gz").unlink()
    (images / ".DS_Store").write_bytes(b"stray")
    (images / "notes.txt").write_text("stray")
    shutil.copy(labels / "phantom_007.nii.gz", labels / "lonely.nii.gz")
    home = ("--home", str(tmp_path / "home"))
    assert main(["import", "folder", str(plain), "--name", "Dataset005_Dirty", *home]) == 0
    said = capsys.readouterr().err
    for file, remedy in (
        (images / ".DS_Store", "move it away"),
        (images / "notes.txt", "move it away"),
        (labels / "lonely.nii.gz", "add its image"),
        (images / "phantom_006.nii.gz", "--skip-bad"),
    ):
        assert len(found(said, remedy, file)) == 1
    assert main(["train", "5", *TINY, *home]) == 3
    capsys.readouterr()
    assert main(["train", "5", "--skip-bad", *TINY, *home, "--json"]) == 0
    spoken = capsys.readouterr()
    for case, fault in bad.items():
        assert found(spoken.err, FAULTS[fault][0], files[case]), case
    assert found(spoken.err, "no label", images / "phantom_006.nii.gz")
    assert found(spoken.err, "stray file", images / ".DS_Store")
    assert found(spoken.err, "no image", labels / "lonely.nii.gz")
    assert "without 6 of 9 cases" in spoken.err
    folder = tmp_path / "home" / "preprocessed" / "Dataset005_Dirty"
    kept = {"phantom_000", "phantom_007", "phantom_008"}
    splits = read_json(folder / "splits_final.json")
    assert {name for fold in splits for part in fold.values() for name in part} == kept
    skipped = read_json(folder / "medssmPlans.json")["medssm"]["skipped"]
    assert skipped == sorted({*bad, "phantom_006"})
    model = json.loads(spoken.out)["model"]
    # the same command again keeps saying what it trains without
    assert main(["train", "5", "--skip-bad", *TINY, *home, "--json"]) == 0
    assert "6 cases with errors were left out" in capsys.readouterr().err
    out = tmp_path / "out"
    words = ["predict", model, "-i", str(images), "-o", str(out), "device=cpu", "--json"]
    assert main(words) == 3
    answer = json.loads(capsys.readouterr().out)
    assert set(answer["failed"]) == {"phantom_001", "phantom_002", "phantom_005"}
    assert all(str(files[case]) in reason for case, reason in answer["failed"].items())
    assert len(answer["done"]) == 6


def test_the_real_dirty_folder_is_trained_on_without_its_bad_case(tmp_path, capsys):
    source = shared_folder("data/hippocampus_dirty").resolve()
    home = ("--home", str(tmp_path))
    assert main(["import", "folder", str(source), "--name", "Dataset004_Dirty", *home]) == 0
    capsys.readouterr()
    # large windows, no mirror images: the images are real, the network need not be good
    words = [*(word for word in TINY if "patch_size" not in word), "validate=false"]
    words += ["patch_size=[32,48,32]", "planner.max_voxels_3d=65536"]
    assert main(["train", "4", *words, *home]) == 3
    said = capsys.readouterr().err
    for problem, name, remedy in (
        ("no label", "images/hippocampus_118.nii.gz", "add the label"),
        ("stray file", "images/.DS_Store", "move it away"),
        ("no image", "labels/hippocampus_010.nii.gz", "add its image"),
        ("wrong file", "labels/hippocampus_281.nii.gz", "move it away"),
    ):
        (row,) = found(said, problem, source / name)
        assert remedy in row
    assert main(["train", "4", "--skip-bad", *words, *home, "--json"]) == 0
    model = json.loads(capsys.readouterr().out)["model"]
    out = str(tmp_path / "out")
    words = ["predict", model, "-i", str(source / "images"), "-o", out, "device=cpu", "--json"]
    assert main([*words, "mirroring=false", "step_size=1.0"]) == 0
    assert len(json.loads(capsys.readouterr().out)["done"]) == 7
