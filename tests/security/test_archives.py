"""Ten hostile zips, at every verb that takes one: nothing leaves its folder."""

import stat
import zipfile

import pytest

from medssm.core.archives import ArchiveLimits
from tests.support.canary import gone, naive_unpack
from tests.support.static_model import make_static_model

INSIDE = "Dataset001_Some/nnUNetTrainer__nnUNetPlans__3d_fullres/plans.json"


def _zip(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(INSIDE, "{}")
        for name, content in members:
            archive.writestr(name, content)
    return path


def _swapped(path, old, new):
    path.write_bytes(path.read_bytes().replace(old, new))
    return path


def _mode(name, mode):
    member = zipfile.ZipInfo(name)
    member.create_system, member.external_attr = 3, (mode | 0o777) << 16
    return member


def _absolute(path, canary):
    return _zip(path, (str(canary), b"x"))


def _dots(path, canary):
    return _zip(path, (f"a/../../{canary.name}", b"x"))


def _backslash(path, canary):
    name = f"..Q{canary.name}.json"
    return _swapped(_zip(path, (name, b"x")), b"..Q", b"..\\")


def _drive(path, canary):
    return _zip(path, (f"C:/{canary.name}.json", b"x"))


def _symlink(path, canary):
    link = (_mode("link.json", stat.S_IFLNK), str(canary.parent).encode())
    return _zip(path, link, (f"link.json/{canary.name}", b"x"))


MODELS = ("package", "nnunet-model")


@pytest.fixture
def take(run, tmp_path):
    """Hand a zip to a verb."""

    def handed(verb, archive):
        if verb == "predict":
            model = make_static_model(tmp_path / "model")
            return run("predict", model, "-i", archive, "-o", tmp_path / "out")
        return run("import", verb, archive)

    return handed


ESCAPES = {
    "absolute": _absolute,
    "dots": _dots,
    "backslash": _backslash,
    "drive": _drive,
    "symlink": _symlink,
}


@pytest.mark.parametrize("verb", [*MODELS, "predict"])
@pytest.mark.parametrize("attack", ESCAPES)
def test_a_member_that_leaves_its_folder_is_refused(verb, attack, take, tmp_path, canary, tree):
    archive = ESCAPES[attack](tmp_path / "in.zip", canary)
    outside = canary if attack in ("absolute", "dots", "symlink") else canary.with_suffix(".json")
    naive_unpack(archive, tmp_path / "naive")
    if attack == "drive":
        # on Windows the join gives C:\; here it gives a folder of that name
        outside = next(tmp_path.rglob(outside.name))
    gone(outside, "")
    before = tree()
    code, told = take(verb, archive)
    assert code == 3, told
    assert "in.zip: member" in told
    assert "Nothing was unpacked" in told
    assert not canary.exists()
    assert {each for each in tree() - before if not each.startswith("model/")} == set()


def _twice(path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        return _zip(path, ("a.json", b"first"), ("a.json", b"second"))


def _case(path):
    return _zip(path, ("a.json", b"first"), ("A.json", b"second"))


def _bomb(path):
    return _zip(path, ("a.json", bytes(50_000_000)))


def _crowd(path):
    return _zip(path, *((f"{index}.json", b"") for index in range(ArchiveLimits().max_members)))


def _locked(path):
    content = bytearray(_zip(path, ("a.json", b"x")).read_bytes())
    content[content.index(b"PK\x03\x04") + 6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    return path


# what a careless program is left with, and what we say
OTHERS = {
    "twice": (_twice, lambda files: files["a.json"] == b"second", "there twice"),
    "case": (_case, lambda files: len(files) == 3, "but for the case"),
    "bomb": (_bomb, lambda files: len(files["a.json"]) == 50_000_000, "unpack to"),
    "crowd": (_crowd, lambda files: len(files) > 10_000, "holds 10,001 members"),
    "locked": (_locked, None, "encrypted"),
}


@pytest.mark.parametrize("verb", MODELS)
@pytest.mark.parametrize("attack", OTHERS)
def test_an_archive_that_is_more_than_it_seems_is_refused(verb, attack, take, tmp_path, tree):
    build, harms, message = OTHERS[attack]
    archive = build(tmp_path / "in.zip")
    if harms is None:
        with pytest.raises(RuntimeError, match="encrypted"):
            naive_unpack(archive, tmp_path / "naive")
    else:
        with zipfile.ZipFile(archive) as opened:
            assert harms({name: opened.read(name) for name in opened.namelist()})
    before = tree()
    code, told = take(verb, archive)
    assert code == 3, told
    assert "in.zip" in told
    assert message in told
    assert {each for each in tree() - before if not each.startswith("model/")} == set()
