"""Build hook of the wheel: compile the native library once per instruction set, without torch.

The wheel is then tagged py3-none-PLATFORM: it fits every Python and every torch. Without a
compiler, or with MEDSSM_NO_NATIVE=1, it is py3-none-any and holds the sources only.
"""

import os
import platform
import re
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = ("medssm/ops/scan/scan_cpu.cpp", "medssm/ops/conv/conv_cpu.cpp")
PREBUILT = "medssm/ops/native/prebuilt"


class NativeHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts one library per source and instruction set into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the files are collected; an editable install builds on first use."""
        if version == "editable" or os.environ.get("MEDSSM_NO_NATIVE"):
            return
        sys.path.insert(0, self.root)
        try:
            from medssm.ops.native import build, variants
        finally:
            sys.path.remove(self.root)
        cxx = build.compiler()
        if cxx is None:
            self.app.display_warning(
                "no C++ compiler: the wheel holds no native library, scans run in plain PyTorch"
                " until one is built on first use"
            )
            return
        # kept until this process ends: the files are read after the hook
        self._folder = tempfile.TemporaryDirectory(prefix="medssm-wheel-")
        jobs = [
            (Path(self.root, source), chosen, Path(self._folder.name, _name(source, chosen.name)))
            for source in SOURCES
            for chosen in variants.variants_of(_machine())
        ]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for done in [pool.submit(build.compile_library, cxx, *job) for job in jobs]:
                done.result()
        files = [out for _, _, out in jobs]
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform(files)}"
        build_data["force_include"].update({str(f): f"{PREBUILT}/{f.name}" for f in files})


def _name(source: str, variant: str) -> str:
    return f"{Path(source).stem}-{variant}.so"


def _machine() -> str:
    # a 32-bit Python on a 64-bit system says so here and not in platform.machine()
    return _system().rsplit("-", 1)[-1].replace("amd64", "x86_64")


def _system() -> str:
    return sysconfig.get_platform().replace("universal2", platform.machine())


def _platform(files: list[Path]) -> str:
    """The platform tag: manylinux by the youngest glibc symbol asked for, on other systems theirs.

    The libraries ask for the C library, libm and libgcc_s, which the manylinux policy allows from
    2_17 on; only the version of glibc decides.
    """
    own = _system().replace("-", "_").replace(".", "_")
    if platform.libc_ver()[0] != "glibc" or not own.startswith("linux_"):
        return own
    words = {word for file in files for word in re.findall(rb"GLIBC_2\.(\d+)", file.read_bytes())}
    return own.replace("linux_", f"manylinux_2_{max([17, *map(int, words)])}_", 1)
