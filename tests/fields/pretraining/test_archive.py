"""An archive with every trap in it: each file and volume ends where it should, voxel for voxel."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import TEMPORARY_MARK, read_json
from medssm.fields.pretraining.archive import (
    ensure_store,
    import_archive,
    plan_pretraining,
    preprocess_pretraining,
    recognise,
)
from medssm.fields.pretraining.archive_fill import at_work
from medssm.fields.pretraining.archive_study import open_study
from medssm.fields.pretraining.store import open_store
from medssm.runs.field import ImportRequest, StudyRequest
from tests.support.ct_archive import make_archive, nifti, phantom
from tests.support.shared import shared_folder

NATIVE = ("preprocess.spacing_mm=null", "preprocess.crop_body=false")


class Study:
    """An archive under a home of its own."""

    def __init__(self, source, home, *words):
        self.source, self.home = source, home
        answer = import_archive(ImportRequest("archive", source, home))
        self.request = StudyRequest(answer.facts["dataset"], home, words)
        self.folder = home / "preprocessed" / answer.facts["dataset"]

    def run(self, *words):
        request = StudyRequest(self.request.dataset, self.home, (*self.request.overrides, *words))
        return preprocess_pretraining(request)

    @property
    def files(self):
        """Path to its row in private/files.csv."""
        return {row["path"]: row for row in _rows(self.folder / "private/files.csv")}

    @property
    def volumes(self):
        """Volume to its row in ledger.csv."""
        rows = _rows(self.folder / "ledger.csv")
        return {row["item"]: row for row in rows if row["stage"] == "prepare"}

    @property
    def store(self):
        return open_store(open_study(self.request).workspace)


def _rows(file):
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def trapped(tmp_path_factory):
    """The archive of all traps, prepared on its own grid."""
    place = tmp_path_factory.mktemp("archive")
    blocked = place / "downstream"
    expected = make_archive(place / "scans", blocked)
    assert sum(path.is_file() for path in (place / "scans").rglob("*")) >= 300
    study = Study(place / "scans", place / "home", *NATIVE, f"archive.block=[{blocked}]")
    answer = study.run()
    return study, expected, answer


def test_every_volume_is_found_with_orientation_and_hu_right_to_the_voxel(trapped):
    study, expected, _ = trapped
    store, files = study.store, study.files
    for name, (file, voxels, affine) in expected.volumes.items():
        matches = [
            volume
            for volume in files[file]["volume"].split()
            if store.volumes[volume].shape == voxels.shape
            and np.array_equal(store.read(volume, (0, 0, 0), voxels.shape), voxels)
        ]
        assert len(matches) == 1, name
        record = read_json(store.sidecar(matches[0]))
        np.testing.assert_allclose(record["affine"], affine, atol=1e-4, err_msg=name)
        assert store.volumes[matches[0]].kind == "hu"
        assert expected.flags[name] <= set(store.volumes[matches[0]].flags), name
    assert len(store.volumes) == len(expected.volumes)


def test_every_file_left_out_has_its_reason_and_every_other_is_in_a_volume(trapped):
    study, expected, _ = trapped
    files = study.files
    on_disk = {
        path.relative_to(study.source).as_posix()
        for path in study.source.rglob("*")
        if (path.is_file() or path.is_symlink()) and path.name != "up"
    }
    assert on_disk <= files.keys()
    found = {path: row["reason"] for path, row in files.items() if row["reason"]}
    assert found == expected.left_out
    for path, row in files.items():
        assert row["reason"] or row["volume"] or path.endswith(".zip"), path


def test_every_volume_that_is_refused_has_its_reason(trapped):
    study, expected, _ = trapped
    files, volumes = study.files, study.volumes
    for name, (file, reason) in expected.refused.items():
        assert volumes[files[file]["volume"]]["reason"] == reason, name
    refused = [row for row in volumes.values() if row["status"] != "stored"]
    assert len(refused) == len(expected.refused)


def test_the_answer_counts_what_the_ledger_holds(trapped):
    study, expected, answer = trapped
    assert answer.facts["used"] == len(expected.volumes)
    assert sum(answer.facts["files_left_out"].values()) == len(expected.left_out)
    assert sum(answer.facts["volumes_left_out"].values()) == len(expected.refused)
    assert answer.facts["corpus_hash"] == study.store.corpus_hash
    # three of forty-five cannot be decoded, more than the 5 % that are let pass
    assert answer.exit_code == 3


def test_a_second_run_changes_nothing_and_appends_nothing(trapped):
    study, _, _ = trapped
    before = _bytes(study.folder)
    study.run()
    assert _bytes(study.folder) == before


def test_what_may_leave_the_site_names_no_person_and_no_path(trapped):
    study, _, _ = trapped
    words = (b"Name^", str(study.source).encode(), b"1.2.826.0.1", b"kernels", b".nii")
    for path in study.folder.rglob("*"):
        if path.is_file() and "private" not in path.parts and path.suffix != ".b2nd":
            content = path.read_bytes()
            assert not [word for word in words if word in content], path
    assert (study.folder / "private").stat().st_mode & 0o077 == 0


def test_scans_of_one_person_and_doubles_are_on_one_side(trapped):
    study, _, _ = trapped
    files, store = study.files, study.store
    together = (
        ("nifti/las.nii.gz", "nifti/las-other-kernel.nii.gz"),
        ("kernels-a/00-0", "kernels-b/00-0"),
    )
    for seed in range(6):
        study.run(f"preprocess.seed={seed}", "preprocess.val_share=0.5")
        store = study.store
        assert set(store.ids("train")) | set(store.ids("val")) == set(store.ids())
        assert len(store.ids("val")) > 5
        for pair in together:
            assert len({store.volumes[files[name]["volume"]].split for name in pair}) == 1
    study.run()


def test_shards_do_each_their_own_part_and_end_equal(trapped, tmp_path):
    study, _, _ = trapped
    other = Study(study.source, tmp_path, *study.request.overrides, f"archive.secret={_key(study)}")
    counts = [other.run(f"preprocess.shard={part}/3").facts["pending"] for part in range(3)]
    assert counts[0] > counts[1] > counts[2] == 0
    _same(study, other)


def _key(study):
    return study.home / "archive_secret.key"


def _bytes(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _same(one, other):
    """The same volumes, tables and ledger; parts of the ledger tell times and processes."""
    for name in ("store", "volumes.csv", "splits.json", "ledger.csv", "report.json"):
        first, second = one.folder / name, other.folder / name
        if first.is_dir():
            assert _bytes(first) == _bytes(second)
        else:
            assert first.read_bytes() == second.read_bytes(), name


@pytest.mark.parametrize("backend", ["process", "dask"])
def test_other_backends_give_the_same_store(trapped, tmp_path, backend):
    if backend == "dask":
        pytest.importorskip("distributed")
    study, _, _ = trapped
    other = Study(study.source, tmp_path, *study.request.overrides, f"archive.secret={_key(study)}")
    other.run(f"preprocess.backend={backend}", "preprocess.workers=2")
    _same(study, other)


def test_new_and_changed_files_are_taken_in_and_gone_ones_let_go(tmp_path):
    source = tmp_path / "scans"
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    for seed in range(3):
        nifti(source / f"{seed}.nii.gz", phantom(seed), affine)
    study = Study(source, tmp_path / "home")
    assert study.run().facts["used"] == 3
    nifti(source / "3.nii.gz", phantom(3), affine)
    nifti(source / "0.nii.gz", phantom(9), affine)
    (source / "1.nii.gz").unlink()
    before = set(study.store.ids())
    assert study.run().facts["used"] == 3
    assert len(before & set(study.store.ids())) == 1


def test_a_damaged_store_file_is_made_again(tmp_path):
    source = tmp_path / "scans"
    for seed in range(2):
        nifti(source / f"{seed}.nii.gz", phantom(seed), np.diag([4.0, 4.0, 4.0, 1.0]))
    study = Study(source, tmp_path / "home")
    study.run()
    before = _bytes(study.folder / "store")
    file = next(study.folder.rglob("*.b2nd"))
    file.write_bytes(file.read_bytes()[:-100])
    study.run()
    assert _bytes(study.folder / "store") == before


def test_a_store_without_its_archive_is_taken_as_it_is(tmp_path, caplog):
    for seed in range(2):
        nifti(tmp_path / f"scans/{seed}.nii.gz", phantom(seed), np.diag([4.0, 4.0, 4.0, 1.0]))
    study = Study(tmp_path / "scans", tmp_path / "home")
    study.run()
    (tmp_path / "scans").rename(tmp_path / "elsewhere")
    workspace = ensure_store(study.request)
    assert len(open_store(workspace).volumes) == 2
    with pytest.raises(BadDataError, match="is not there"):
        study.run()


def test_a_training_needs_no_repetition_of_what_was_said(tmp_path):
    for seed in range(2):
        nifti(tmp_path / f"scans/{seed}.nii.gz", phantom(seed), np.diag([4.0, 4.0, 4.0, 1.0]))
    study = Study(tmp_path / "scans", tmp_path / "home")
    study.run("preprocess.spacing_mm=3", "archive.patient='(.)'", "preprocess.val_share=0.3")
    before = _bytes(study.folder)
    ensure_store(replace(study.request, overrides=("preprocess.shard=0/7",)))
    assert _bytes(study.folder) == before


def test_nobody_sweeps_where_another_works(tmp_path):
    nifti(tmp_path / "scans/0.nii.gz", phantom(0), np.diag([4.0, 4.0, 4.0, 1.0]))
    study = Study(tmp_path / "scans", tmp_path / "home")
    study.run()
    part = study.folder / "store" / f"{TEMPORARY_MARK}01234567-x.b2nd"
    part.touch()
    with at_work(study.folder) as alone:
        assert alone
        study.run()
        assert part.exists()
    study.run()
    assert not part.exists()


def test_a_patient_pattern_keeps_files_of_one_person_together(tmp_path):
    source = tmp_path / "scans"
    for person in "abcd":
        for seed in range(2):
            voxels = phantom(ord(person) + 50 * seed)
            nifti(source / person / f"{seed}.nii.gz", voxels, np.diag([4.0, 4.0, 4.0, 1.0]))
    study = Study(source, tmp_path / "home", "archive.patient='^(.)/'", "preprocess.val_share=0.5")
    assert study.run().facts["patients"] == 4
    assert len(study.store.ids("val")) == 4


def test_magnetic_resonance_alone_is_kept_and_marked(tmp_path):
    source = tmp_path / "scans"
    rng = np.random.default_rng(0)
    images = {}
    for seed in range(3):
        voxels = np.abs(phantom(seed)).astype(np.float32) / 7 + rng.random((28, 26, 22)) * 20
        images[seed] = voxels.astype(np.float32)
        nifti(source / f"{seed}.nii.gz", voxels, np.eye(4), np.float32)
        nifti(source / f"{seed}-seg.nii.gz", voxels > 60, np.eye(4), np.uint8)
    study = Study(source, tmp_path / "home", "preprocess.spacing_mm=null")
    answer = study.run()
    assert answer.facts["modality"] == "any"
    assert answer.facts["volumes_left_out"] == {"label-map": 3}
    store = study.store
    for seed, voxels in images.items():
        name = study.files[f"{seed}.nii.gz"]["volume"]
        facts = store.volumes[name]
        assert facts.kind == "other"
        read = store.values(name, (0, 0, 0), voxels.shape)
        assert np.abs(read - voxels).max() <= facts.slope
        window = store.windowed(name, (0, 0, 0), voxels.shape)
        assert window.min() == 0
        assert window.max() == 1


def test_the_real_files_go_through(tmp_path):
    ct = Study(shared_folder("data/ct"), tmp_path)
    facts = ct.run().facts
    assert (facts["used"], facts["volumes_left_out"]) == (3, {"label-map": 1})
    for each in ct.store.volumes.values():
        assert each.kind == "hu"
        np.testing.assert_allclose(each.spacing_mm, 1.5, rtol=0.05)
    mixed = Study(shared_folder("data/dicom"), tmp_path)
    facts = mixed.run().facts
    assert facts["used"] == 1
    assert facts["files_left_out"] == {"wrong-modality": 84}
    everything = mixed.run("archive.modality=any").facts
    assert everything["used"] == 4
    assert everything["kinds"] == {"hu": 1, "other": 3}


def test_a_missing_slice_of_the_real_series_is_interpolated(tmp_path):
    source = tmp_path / "series"
    source.mkdir()
    files = sorted(shared_folder("data/dicom/ct_series").iterdir())
    for index, file in enumerate(files):
        if index != 7:
            (source / f"{index:03d}").symlink_to(file)
    whole = Study(shared_folder("data/dicom/ct_series"), tmp_path / "a", *NATIVE)
    part = Study(source, tmp_path / "b", *NATIVE)
    whole.run()
    part.run()
    (one,), (other,) = whole.store.volumes.values(), part.store.volumes.values()
    assert one.shape == other.shape
    assert "missing-slices-interpolated" in other.flags
    full = whole.store.read(one.id, (0, 0, 0), one.shape)
    holed = part.store.read(other.id, (0, 0, 0), other.shape)
    different = {int(z) for z in np.unique(np.argwhere(full != holed)[:, 2])}
    assert len(different) == 1


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("preprocess.shard=4/4", "i/n"),
        ("preprocess.backend=ray", "one of"),
        ("preprocess.spacing_mm=0", "0.1 to 20"),
        ("archive.modality=MR", "one of"),
        ("archive.modalty=CT", "did you mean 'modality'"),
        ("archive.block=[/nowhere/at/all]", "not there"),
        ("archive.patient='('", "no regular expression"),
    ],
)
def test_a_wrong_word_is_refused_with_the_mend(tmp_path, word, said):
    nifti(tmp_path / "scans/0.nii.gz", phantom(0), np.diag([4.0, 4.0, 4.0, 1.0]))
    with pytest.raises((UsageError, BadDataError), match=said):
        Study(tmp_path / "scans", tmp_path / "home").run(word)


def test_an_archive_without_a_volume_says_what_it_holds(tmp_path):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans/notes.txt").write_text("nothing")
    study = Study(tmp_path / "scans", tmp_path / "home")
    with pytest.raises(BadDataError, match="1 not-an-image"):
        plan_pretraining(study.request)


def test_planning_decodes_nothing_and_says_the_next_command(trapped):
    study, expected, _ = trapped
    answer = plan_pretraining(study.request)
    assert answer.facts["volumes"] == len(expected.volumes) + len(expected.refused)
    assert answer.next_command[:3] == ("medssm", "preprocess", study.request.dataset)
    assert json.loads((study.folder / "plan.json").read_text())["modality"] == "CT"


def test_a_raw_folder_is_recognised_by_its_files(tmp_path, trapped):
    study, _, _ = trapped
    assert recognise(study.source) == "archive"
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("a")
    assert recognise(tmp_path / "notes") is None
    for part in ("images", "labels"):
        nifti(tmp_path / "task" / part / "0.nii.gz", phantom(0), np.eye(4))
    assert recognise(tmp_path / "task") is None
