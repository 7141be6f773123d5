"""The library of a source is built once, whatever comes between."""

import ctypes
import logging
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from medssm.ops.native import build, library
from medssm.ops.native.variants import NoCompilerError, instruction_set

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
SOURCE = """#include "number.h"
extern "C" __attribute__((visibility("default"))) int number() { return N; }
"""


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    """A source of two files, an empty cache, and a compiler that counts its calls."""
    (tmp_path / "small.cpp").write_text(SOURCE)
    (tmp_path / "number.h").write_text("#define N 7\n")
    cxx = tmp_path / "cxx"
    cxx.write_text(f'#!/bin/sh\necho call >> {tmp_path}/calls\nexec g++ "$@"\n')
    cxx.chmod(0o755)
    monkeypatch.setenv("CXX", str(cxx))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(build.tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return tmp_path


def _calls(folder):
    file = folder / "calls"
    return len(file.read_text().splitlines()) if file.exists() else 0


def _number(folder):
    return library._open(folder / "small.cpp").number()


def test_the_second_call_compiles_nothing(workshop, caplog):
    with caplog.at_level(logging.WARNING, logger="medssm"):
        assert _number(workshop) == 7
        assert _number(workshop) == 7
    assert _calls(workshop) == 1
    assert [line for line in caplog.messages if "building the native kernel small" in line] == [
        caplog.messages[0]
    ]


def test_a_changed_header_is_a_new_library(workshop):
    assert _number(workshop) == 7
    (workshop / "number.h").write_text("#define N 8\n")
    assert _number(workshop) == 8


def test_each_variant_has_a_library_of_its_own(workshop):
    names = set()
    for name in ("baseline", "auto"):
        with instruction_set(name):
            names.add(build.library_for(workshop / "small.cpp"))
    expected = 1 if build.variant().name == "baseline" else 2
    assert len(names) == expected


def test_a_cache_that_cannot_be_written_gives_way_to_a_private_folder(workshop, monkeypatch):
    (workshop / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(workshop / "file"))
    found = build.library_for(workshop / "small.cpp")
    assert found.parent.parent == workshop / "tmp"
    assert stat.S_IMODE(found.parent.stat().st_mode) == 0o700


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="gives a file away")
def test_a_library_of_another_user_is_not_loaded(workshop):
    found = build.library_for(workshop / "small.cpp")
    os.chown(found.parent, 12345, 12345)
    again = build.library_for(workshop / "small.cpp")
    assert again.parent != found.parent
    assert _calls(workshop) == 2


def test_no_folder_at_all_is_said_with_the_remedy(workshop, monkeypatch):
    (workshop / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(workshop / "file"))
    monkeypatch.setattr(build.tempfile, "tempdir", str(workshop / "file"))
    with pytest.raises(NoCompilerError, match="set XDG_CACHE_HOME"):
        build.library_for(workshop / "small.cpp")


def test_a_damaged_library_is_built_again(workshop):
    found = build.library_for(workshop / "small.cpp")
    found.write_bytes(found.read_bytes()[:100])
    assert _number(workshop) == 7
    assert _calls(workshop) == 2


def test_an_error_of_the_compiler_is_shown_and_leaves_nothing_behind(workshop):
    (workshop / "small.cpp").write_text("#error this is wrong\n")
    with pytest.raises(NoCompilerError, match="this is wrong"):
        build.library_for(workshop / "small.cpp")
    left = list((workshop / "cache" / "medssm" / "native").glob("*.so"))
    assert left == []


def test_a_compiler_may_bring_arguments(workshop, monkeypatch):
    monkeypatch.setenv("CXX", f"env LC_ALL=C {workshop / 'cxx'}")
    assert _number(workshop) == 7


def test_a_compiler_that_is_not_there_is_named(workshop, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(NoCompilerError, match="looked for no-such-compiler"):
        build.library_for(workshop / "small.cpp")


def test_four_first_calls_at_once_compile_once(workshop):
    code = (
        "import sys; from pathlib import Path; from medssm.ops.native.build import library_for;"
        "import ctypes; print(ctypes.CDLL(str(library_for(Path(sys.argv[1])))).number())"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(build.PACKAGE).parents[2])}
    crew = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(workshop / "small.cpp")],
            stdout=subprocess.PIPE, text=True, env=environment,
        )
        for _ in range(4)
    ]  # fmt: skip
    assert [worker.communicate()[0].strip() for worker in crew] == ["7"] * 4
    assert _calls(workshop) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="manylinux is for Linux")
def test_a_library_asks_for_the_c_library_and_an_old_libgcc_only(workshop):
    objdump = shutil.which("objdump")
    if objdump is None:
        pytest.skip("needs objdump")
    source = Path(build.PACKAGE).parent / "conv" / "conv_cpu.cpp"
    out = workshop / "conv.so"
    build.compile_library("g++", source, build.variant(), out)
    command = [objdump, "-T", str(out)]
    words = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    versions = set(re.findall(r"\((GLIBCXX|CXXABI|GCC)_([\d.]+)\)", words))
    assert {family for family, _ in versions} <= {"GCC"}
    assert max([int(version.split(".")[0]) for _, version in versions], default=0) <= 4
    assert ctypes.CDLL(str(out)).medssm_conv_call_size() > 0
