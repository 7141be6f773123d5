"""Installing: a wheel never compiles, a source install compiles once or says how to be faster."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from medssm.ops.native.variants import supported

pytestmark = [
    pytest.mark.slow,
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("install"),  # one worker builds the wheels
    pytest.mark.skipif(
        importlib.util.find_spec("hatchling") is None, reason="needs hatchling: pip install .[dev]"
    ),
]
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
ROOT = Path(__file__).resolve().parents[2]
CONV = """
import medssm, pathlib, torch
from medssm.ops.conv import CONV, causal_conv1d
assert "site" in pathlib.Path(medssm.__file__).parts, medssm.__file__
out = causal_conv1d(torch.ones(1, 9, 3), torch.ones(1, 3, 4), None, activation=None)
assert out[0, 0, :, 0].tolist() == [1, 2, 3, 4, 4, 4, 4, 4, 4], out
print("conv by", next(row.backend for row in CONV.rows() if row.available))
"""
SCAN = """
import torch
from medssm.ops.backends import prefer
from medssm.ops.native.build import variant
from medssm.ops.scan import SCAN, selective_scan
torch.manual_seed(0)
u = torch.randn(1, 40, 19, requires_grad=True)
inputs = (u, torch.randn(1, 2, 40, 19), -torch.rand(2, 19, 4), *torch.randn(2, 1, 2, 40, 4))
def both():
    out = selective_scan(*inputs)
    return out, torch.autograd.grad(out.square().sum(), u)[0]
for _ in range(2):
    ours = both()
with prefer("reference"):
    for mine, true in zip(ours, both()):
        assert torch.allclose(mine, true, atol=1e-4), (mine - true).abs().max()
name = next(row.backend for row in SCAN.rows() if row.available)
print("scan by", name, variant().name if name == "cpu" else "")
"""


def _wheel(source, folder, **variables):
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--disable-pip-version-check", "-w", str(folder), source]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


def _site(wheel, folder):
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += ["--disable-pip-version-check", "--target", str(folder / "site"), str(wheel)]
    subprocess.run(command, check=True)
    return folder / "site"


@pytest.fixture(scope="module")
def native_wheel(tmp_path_factory):
    return _wheel(str(ROOT), tmp_path_factory.mktemp("native"), MEDSSM_NO_NATIVE="")


@pytest.fixture(scope="module")
def pure_wheel(tmp_path_factory):
    return _wheel(str(ROOT), tmp_path_factory.mktemp("pure"), MEDSSM_NO_NATIVE="1")


@pytest.fixture(scope="module")
def native_site(native_wheel):
    return _site(native_wheel, native_wheel.parent)


@pytest.fixture(scope="module")
def pure_site(pure_wheel):
    return _site(pure_wheel, pure_wheel.parent)


@pytest.fixture
def machine(tmp_path):
    """A user without compiler: empty PATH, an empty cache, any call of CXX is written down."""
    cxx = tmp_path / "cxx"
    cxx.write_text(f"#!/bin/sh\necho call >> {tmp_path}/calls\nexec /usr/bin/g++ $@\n")
    cxx.chmod(0o755)
    (tmp_path / "empty").mkdir()
    return {
        "PATH": str(tmp_path / "empty"),
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "TMPDIR": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }


def _start(code, site, machine, **variables):
    environment = {**machine, "PYTHONPATH": str(site), **variables}
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=machine["HOME"], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def _run(code, site, machine, **variables):
    process = _start(code, site, machine, **variables)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out.strip(), err


def _calls(machine):
    file = Path(machine["HOME"], "calls")
    return len(file.read_text().splitlines()) if file.exists() else 0


@needs_compiler
def test_the_wheel_fits_any_python_and_holds_each_instruction_set(native_wheel):
    assert re.fullmatch(r"medssm-[\d.]+-py3-none-(?!any).+\.whl", native_wheel.name)
    names = zipfile.ZipFile(native_wheel).namelist()
    built = {n.rsplit("/", 1)[1] for n in names if n.startswith("medssm/ops/native/prebuilt/")}
    wanted = {f"{s}_cpu-{v.name}.so" for s in ("scan", "conv") for v in supported()}
    assert wanted <= built


@needs_compiler
@pytest.mark.skipif(sys.platform != "linux", reason="manylinux is for Linux")
def test_the_platform_tag_says_the_glibc_that_the_libraries_ask_for(native_wheel, tmp_path):
    tagged = re.search(r"manylinux_2_(\d+)_", native_wheel.name)
    assert tagged
    zipfile.ZipFile(native_wheel).extractall(tmp_path)
    asked = {0}
    for file in tmp_path.rglob("*.so"):
        asked |= {int(word) for word in re.findall(rb"GLIBC_2\.(\d+)", file.read_bytes())}
    assert max(asked) <= int(tagged[1])


@needs_compiler
@pytest.mark.parametrize("variant", supported(), ids=lambda v: v.name)
def test_an_installed_wheel_never_calls_a_compiler(native_site, machine, variant):
    variables = {"CXX": f"{machine['HOME']}/cxx", "MEDSSM_NATIVE": variant.name}
    assert _run(CONV, native_site, machine, **variables)[0] == "conv by cpu"
    assert _run(SCAN, native_site, machine, **variables)[0] == f"scan by cpu {variant.name}"
    assert _calls(machine) == 0
    assert not Path(machine["XDG_CACHE_HOME"]).exists()


def test_a_source_install_without_compiler_works_and_says_once_how_to_be_faster(pure_site, machine):
    out, err = _run(SCAN, pure_site, machine)
    assert out == "scan by chunked"
    told = [line for line in err.splitlines() if "plain PyTorch" in line]
    assert len(told) == 1
    assert "no C++ compiler found" in told[0]
    assert "install" in told[0]


@needs_compiler
def test_a_source_install_with_a_compiler_builds_once_and_later_processes_reuse_it(
    pure_site, machine
):
    variables = {"CXX": f"{machine['HOME']}/cxx", "PATH": "/usr/bin:/bin"}
    out, err = _run(SCAN, pure_site, machine, **variables)
    assert out.startswith("scan by cpu")
    assert err.count("building the native kernel scan_cpu") == 1
    again, err = _run(SCAN, pure_site, machine)  # the compiler has gone in the meantime
    assert again == out
    assert err.strip() == ""
    assert _calls(machine) == 1


@needs_compiler
def test_four_first_calls_at_once_share_one_build(pure_site, machine):
    variables = {"CXX": f"{machine['HOME']}/cxx", "PATH": "/usr/bin:/bin"}
    crew = [_start(CONV, pure_site, machine, **variables) for _ in range(4)]
    assert [worker.communicate()[0].strip() for worker in crew] == ["conv by cpu"] * 4
    assert _calls(machine) == 1


def test_the_switch_for_a_pure_wheel_gives_one_for_any_machine(pure_wheel):
    assert pure_wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(pure_wheel).namelist()
    assert not [name for name in names if name.endswith(".so")]
    assert "medssm/ops/scan/scan_cpu.cpp" in names


def test_the_source_archive_installs_without_a_compiler(tmp_path, machine):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.split("/", 1)[1] for name in tar.getnames()}
    assert {"hatch_build.py", "medssm/ops/native/simd.h", "medssm/ops/conv/conv_cpu.cpp"} <= names
    wheel = _wheel(str(archive), tmp_path / "wheels", PATH=machine["PATH"], CXX="")
    assert wheel.name.endswith("-py3-none-any.whl")
