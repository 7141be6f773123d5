"""Files are whole or absent."""

import json

import pytest

from medssm.core.errors import BadDataError
from medssm.core.files import (
    RECORDS,
    TEMPORARY_MARK,
    atomic_path,
    digest,
    is_temporary,
    read_json,
    remove_temporaries,
    sha256,
    write_json,
    write_text,
)


def _write_half(target):
    with atomic_path(target) as partial:
        partial.write_text("half of the n")
        raise RuntimeError("power")


def test_a_failed_write_leaves_the_old_content_and_no_temporary_file(tmp_path):
    target = tmp_path / "plan.json"
    write_text(target, "old")
    with pytest.raises(RuntimeError, match="power"):
        _write_half(target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_temporary_name_keeps_the_ending_and_is_recognised(tmp_path):
    with atomic_path(tmp_path / "case.nii.gz") as partial:
        assert partial.name.endswith("case.nii.gz")
        assert is_temporary(partial)
        assert partial.parent == tmp_path
        partial.write_bytes(b"x")
    assert not is_temporary(tmp_path / "case.nii.gz")


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path):
    (tmp_path / ".medssm-partial-0123abcd-a.json").write_text("half")
    (tmp_path / ".medssm-partial-notes.txt").write_text("a user's file")
    (tmp_path / "a.json").write_text("{}")
    assert remove_temporaries(tmp_path) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [".medssm-partial-notes.txt", "a.json"]


@pytest.mark.parametrize("content", ['{"a": 1', "", "\xff\xfe"])
def test_broken_json_is_refused_with_the_file_name(tmp_path, content):
    file = tmp_path / "dataset.json"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(BadDataError, match=r"dataset\.json"):
        read_json(file)


def test_missing_json_is_refused_with_the_file_name(tmp_path):
    with pytest.raises(BadDataError, match=r"nowhere\.json: the file does not exist"):
        read_json(tmp_path / "nowhere.json")


def test_json_takes_numpy_and_paths(tmp_path):
    numpy = pytest.importorskip("numpy")
    content = {"n": numpy.int64(3), "a": numpy.arange(2), "p": tmp_path}
    write_json(tmp_path / "x.json", content)
    assert json.loads((tmp_path / "x.json").read_text()) == {
        "n": 3,
        "a": [0, 1],
        "p": str(tmp_path),
    }


def test_json_refuses_what_is_no_data(tmp_path):
    with pytest.raises(TypeError, match="object"):
        write_json(tmp_path / "x.json", object())
    assert not list(tmp_path.iterdir())


def test_digests_depend_on_content_and_not_on_order(tmp_path):
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256(tmp_path / "f").startswith("ba7816bf")


def test_what_killed_writers_left_goes_from_a_folder_and_its_records_and_nowhere_else(tmp_path):
    name = f"{TEMPORARY_MARK}0123abcd-a.json"
    places = [tmp_path, tmp_path / RECORDS / "predictions", tmp_path / "of_another"]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        (place / name).touch()
        (place / "a.json").touch()
    assert remove_temporaries(tmp_path) == 2
    assert [(place / name).exists() for place in places] == [False, False, True]
    assert all((place / "a.json").exists() for place in places)
