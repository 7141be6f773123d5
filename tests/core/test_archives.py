"""Archives from outside stay inside, whole or absent."""

import os
import stat
import zipfile
import zlib

import pytest

from medssm.core.archives import ArchiveLimits, unpack
from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import is_temporary


def _zip(path, members, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content, **options)
    return path


def _special(name, mode):
    member = zipfile.ZipInfo(name)
    member.create_system = 3
    member.external_attr = (mode | 0o777) << 16
    return member


def _renamed(path, old, new):
    """Put a name into the bytes that zipfile itself would not write."""
    path.write_bytes(path.read_bytes().replace(old, new))
    return path


def _encrypted(path):
    content = bytearray(_zip(path, [("a.txt", b"hello")]).read_bytes())
    content[content.index(b"PK\x03\x04") + 6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    return path


def _lying(path):
    """A member whose header claims 100 bytes and whose stream holds 10 MB."""
    zeros = bytes(10_000_000)
    content = bytearray(_zip(path, [("a.txt", zeros)]).read_bytes())
    claim = (100).to_bytes(4, "little")
    local, central = content.index(b"PK\x03\x04"), content.index(b"PK\x01\x02")
    content[local + 22 : local + 26] = claim
    content[central + 24 : central + 28] = claim
    crc = zlib.crc32(zeros[:100]).to_bytes(4, "little")
    content[local + 14 : local + 18] = content[central + 16 : central + 20] = crc
    path.write_bytes(content)
    return path


HOSTILE = {
    "absolute": lambda p: _zip(p, [("/etc/canary.txt", b"x")]),
    "dots": lambda p: _zip(p, [("a/../../canary.txt", b"x")]),
    "drive": lambda p: _zip(p, [("C:/canary.txt", b"x")]),
    "backslash": lambda p: _renamed(_zip(p, [("..Qcanary.txt", b"x")]), b"..Q", b"..\\"),
    "nul": lambda p: _renamed(_zip(p, [("a.txtQ.bin", b"x")]), b"txtQ", b"txt\0"),
    "symlink": lambda p: _zip(p, [(_special("a", stat.S_IFLNK), b"/etc"), ("b.txt", b"x")]),
    "device": lambda p: _zip(p, [(_special("a.txt", stat.S_IFCHR), b"")]),
    "pipe": lambda p: _zip(p, [(_special("a.txt", stat.S_IFIFO), b"")]),
    "case": lambda p: _zip(p, [("A.txt", b"x"), ("a.txt", b"y")]),
    "folder case": lambda p: _zip(p, [("A/x.txt", b"x"), ("a/y.txt", b"y")]),
    "file and folder": lambda p: _zip(p, [("a", b"x"), ("a/b.txt", b"y")]),
    "folder and file": lambda p: _zip(p, [("a/b.txt", b"y"), ("a", b"x")]),
    "suffix": lambda p: _zip(p, [("a.txt", b"x"), ("b.pkl", b"y")]),
    "ratio": lambda p: _zip(p, [("a.txt", bytes(10_000_000))]),
    "encrypted": _encrypted,
    "empty part": lambda p: _zip(p, [("a//b.txt", b"x")]),
}
SUFFIXES = (".txt",)


@pytest.mark.parametrize("attack", HOSTILE)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_hostile_member_is_refused_by_name_and_nothing_stays(attack, tmp_path):
    suffixes = None if attack in ("symlink", "file and folder", "folder and file") else SUFFIXES
    archive = HOSTILE[attack](tmp_path / "in.zip")
    with pytest.raises(BadDataError, match=r"in\.zip: member .* expected .* Nothing was unpacked"):
        unpack(archive, tmp_path / "out" / "a", suffixes=suffixes)
    assert list((tmp_path / "out").iterdir()) == []
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in.zip", "out"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_same_name_twice_is_refused(tmp_path):
    archive = _zip(tmp_path / "in.zip", [("a.txt", b"x"), ("a.txt", b"y")])
    with pytest.raises(BadDataError, match="twice"):
        unpack(archive, tmp_path / "out")


def test_no_more_is_written_than_a_header_claims(tmp_path):
    (file,) = unpack(_lying(tmp_path / "in.zip"), tmp_path / "out")
    assert file.stat().st_size == 100


def test_too_many_members_and_too_many_bytes_are_refused(tmp_path):
    archive = _zip(tmp_path / "in.zip", [(f"{i}.txt", os.urandom(100)) for i in range(11)])
    with pytest.raises(BadDataError, match="holds 11 members; expected at most 10"):
        unpack(archive, tmp_path / "out", limits=ArchiveLimits(max_members=10))
    with pytest.raises(BadDataError, match="unpacks to 1,100 bytes; expected at most 1,000"):
        unpack(archive, tmp_path / "out", limits=ArchiveLimits(max_bytes=1000))
    assert len(unpack(archive, tmp_path / "out")) == 11


def test_a_cut_archive_and_a_changed_byte_are_refused(tmp_path):
    content = _zip(tmp_path / "whole.zip", [("a.txt", os.urandom(5000))]).read_bytes()
    cut, changed = tmp_path / "cut.zip", tmp_path / "changed.zip"
    cut.write_bytes(content[: len(content) // 2])
    changed.write_bytes(content[:2000] + bytes([content[2000] ^ 1]) + content[2001:])
    for archive in (cut, changed):
        with pytest.raises(BadDataError, match=archive.name):
            unpack(archive, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_what_is_there_stays_without_force_and_makes_way_with_it(tmp_path):
    archive = _zip(tmp_path / "in.zip", [("sub/a.txt", b"new")])
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        unpack(archive, out)
    assert (out / "mine.txt").read_text() == "mine"
    assert unpack(archive, out, force=True) == [out / "sub" / "a.txt"]
    assert not (out / "mine.txt").exists()
    assert not [each for each in tmp_path.iterdir() if is_temporary(each)]


def test_unpacked_files_carry_no_mode_of_the_archive(tmp_path):
    archive = _zip(tmp_path / "in.zip", [(_special("a.txt", stat.S_IFREG | stat.S_ISUID), b"x")])
    (file,) = unpack(archive, tmp_path / "out")
    assert not file.stat().st_mode & (stat.S_ISUID | stat.S_IXUSR)
