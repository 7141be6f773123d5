"""Find or build the shared library of one C++ source, once per machine and source text."""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

PACKAGE = Path(__file__).parent
HEADER = PACKAGE / "simd.h"
PREBUILT = PACKAGE / "prebuilt"
FLAGS = [
    "-O3",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-std=c++17",
    "-shared",
    "-fPIC",
    "-pthread",
    "-fvisibility=hidden",
    "-w",
]
# instruction set -> compiler flags; torch's own word for the machine chooses the row
VARIANTS = {
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mf16c"],
    "avx2": ["-mavx2", "-mfma", "-mf16c"],
    "baseline": [],
}
VECTOR_BYTES = {"avx512": 64, "avx2": 32, "baseline": 32}


class NoCompilerError(RuntimeError):
    """There is neither a built library nor a compiler to make one."""


def variant() -> str:
    """Name the fastest instruction set that this machine has a variant for."""
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return "baseline"  # on ARM the compiler's default already has NEON
    capability = torch.backends.cpu.get_cpu_capability().lower()
    return capability if capability in VARIANTS else "baseline"


def compiler() -> str | None:
    """Find a C++ compiler: $CXX, g++, clang++ or c++."""
    for name in (os.environ.get("CXX", ""), "g++", "clang++", "c++"):
        found = shutil.which(name) if name else None
        if found:
            return found
    return None


def cache_folder() -> Path:
    """The folder of this user where built libraries are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base) / "medssm" / "native"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    private = Path(tempfile.gettempdir()) / f"medssm-native-{os.getuid()}"
    private.mkdir(mode=0o700, exist_ok=True)
    if private.stat().st_uid != os.getuid():
        raise NoCompilerError(
            f"{private} belongs to another user; set XDG_CACHE_HOME to a folder of yours."
        )
    return private


def library_for(source: Path) -> Path:
    """Give the path of the shared library of a source, building it when there is none.

    Args:
        source: A C++ file that includes `simd.h` at most.

    Returns:
        The prebuilt library of the wheel, else the cached one, else a fresh one. Concurrent
        first calls each build into a file of their own and rename it: the last one wins.

    Raises:
        NoCompilerError: Nothing is built and nothing here can build it.
    """
    instruction_set = variant()
    prebuilt = PREBUILT / f"{source.stem}-{instruction_set}.so"
    if prebuilt.exists():
        return prebuilt
    command = [*FLAGS, *VARIANTS[instruction_set], f"-I{HEADER.parent}"]
    text = source.read_bytes() + HEADER.read_bytes()
    key = hashlib.sha256(text + " ".join(FLAGS + VARIANTS[instruction_set]).encode()).hexdigest()
    out = cache_folder() / f"{source.stem}-{instruction_set}-{key[:16]}.so"
    if not out.exists():
        _compile(command, source, out)
    return out


def _compile(flags: list[str], source: Path, out: Path) -> None:
    cxx = compiler()
    if cxx is None:
        raise NoCompilerError("no C++ compiler found (looked for $CXX, g++, clang++, c++)")
    handle, name = tempfile.mkstemp(suffix=".so", dir=out.parent)
    os.close(handle)
    try:
        done = subprocess.run(
            [cxx, *flags, str(source), "-o", name], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise NoCompilerError(f"{cxx} could not build {source.name}: {done.stderr[-2000:]}")
        Path(name).replace(out)
    finally:
        Path(name).unlink(missing_ok=True)
