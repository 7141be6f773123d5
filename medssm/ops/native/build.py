"""Find or build the shared library of one C++ source: from the wheel, the cache, or a compiler.

Standard library only: the build hook of the wheel compiles with the functions of this file.
"""

import contextlib
import functools
import hashlib
import logging
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from medssm.ops.native.variants import NoCompilerError, Variant, choose

PACKAGE = Path(__file__).parent
PREBUILT = PACKAGE / "prebuilt"
FLAGS = (
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
    "-Wno-psabi",
)
# libstdc++ and the half-float conversions of libgcc go inside, hidden: GCC 12's condition variables
# ask for GLIBCXX_3.4.30, which no manylinux tag tells and old systems lack
LINK = (
    "-static-libstdc++",
    "-Wl,--push-state,-Bstatic,-lgcc,--pop-state",
    "-Wl,--exclude-libs,ALL",
    "-Wl,--gc-sections",
)
COMPILE_SECONDS = 900  # a machine under heavy load takes minutes
_LOG = logging.getLogger("medssm")


def variant() -> Variant:
    """The instruction set of this process.

    Raises:
        NoCompilerError: As `variants.choose`.
    """
    return choose(_built_names())


@functools.cache  # each call of an operator asks
def _built_names() -> frozenset[str]:
    return frozenset(file.stem.rsplit("-", 1)[-1] for file in PREBUILT.glob("*-*.so"))


def compiler() -> str | None:
    """Find a C++ compiler: $CXX and nothing else where it is set, else g++, clang++ or c++."""
    asked = os.environ.get("CXX", "").strip()
    if asked:  # it may hold arguments, as in "ccache g++"
        return asked if shutil.which(shlex.split(asked)[0]) else None
    return next(filter(None, map(shutil.which, ("g++", "clang++", "c++"))), None)


def library_for(source: Path) -> Path:
    """Give the path of the shared library of a source, building it when there is none.

    Args:
        source: A C++ file; it may include headers beside it and those of this folder.

    Returns:
        The library of the wheel, else one built earlier, else a fresh one. A build goes into a
        file of its own that is renamed when it is whole; concurrent first calls wait for it.

    Raises:
        NoCompilerError: Nothing is built and nothing here can build it.
    """
    chosen = variant()
    prebuilt = PREBUILT / f"{source.stem}-{chosen.name}.so"
    if prebuilt.exists():
        return prebuilt
    name = f"{source.stem}-{chosen.name}-{_key(source, chosen)}.so"
    for folder in _folders():
        if (folder / name).is_file() and _is_mine(folder):
            return folder / name
    cxx = compiler()
    if cxx is None:
        looked = os.environ.get("CXX") or "g++, clang++, c++"
        raise NoCompilerError(
            f"no C++ compiler found (looked for {looked}); install g++ for scans many times faster"
        )
    for folder in _folders():
        with contextlib.suppress(OSError):  # a home that cannot be written: the next folder
            return _build_in(folder, name, cxx, source, chosen)
    raise NoCompilerError(
        f"no folder for the built library can be written (tried"
        f" {', '.join(map(str, _folders()))}); set XDG_CACHE_HOME to one that can"
    )


def compile_library(cxx: str, source: Path, chosen: Variant, out: Path) -> None:
    """Compile a source into a shared library.

    Args:
        cxx: The compiler.
        source: The C++ file.
        chosen: Its flags are added to the common ones.
        out: The file to write.

    Raises:
        NoCompilerError: The compiler fails; the message ends as its own does.
    """
    command = [*shlex.split(cxx), *FLAGS, *chosen.flags, f"-I{PACKAGE}", f"-I{source.parent}"]
    done = _run([*command, str(source), *LINK, "-o", str(out)])
    if done.returncode:  # a linker without these words, or no static libraries
        done = _run([*command, str(source), "-o", str(out)])
    if done.returncode:
        raise NoCompilerError(
            f"{cxx} could not build {source.name} for {chosen.name}: {done.stderr[-2000:].strip()}"
        )


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=COMPILE_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise NoCompilerError(f"{command[0]} took over {COMPILE_SECONDS} s") from error


def _key(source: Path, chosen: Variant) -> str:
    """A hash of everything that the library depends on: texts and flags."""
    headers = sorted({*PACKAGE.glob("*.h"), *source.parent.glob("*.h")})
    text = b"\0".join(file.read_bytes() for file in (source, *headers))
    return hashlib.sha256(text + " ".join((*FLAGS, *LINK, *chosen.flags)).encode()).hexdigest()[:16]


def _folders() -> tuple[Path, Path]:
    """Where built libraries are kept: the user's cache, or a private temporary folder."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    temporary = Path(tempfile.gettempdir()) / f"medssm-native-{_user()}"
    return Path(base) / "medssm" / "native", temporary


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


def _is_mine(folder: Path) -> bool:
    """Nobody loads code from a folder that another user made; root's cache may be shared."""
    return folder.stat().st_uid in {_user(), 0}


def _build_in(folder: Path, name: str, cxx: str, source: Path, chosen: Variant) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not _is_mine(folder):
        raise PermissionError(f"{folder} belongs to another user")
    out = folder / name
    with _alone(folder / f"{name}.lock"):
        if out.is_file():
            return out
        handle, fresh = tempfile.mkstemp(prefix="building-", suffix=".so", dir=folder)
        os.close(handle)
        _LOG.warning(
            "building the native kernel %s for %s, once, about half a minute (%s); kept in %s",
            source.stem, chosen.name, Path(cxx).name, folder,
        )  # fmt: skip
        try:
            compile_library(cxx, source, chosen, Path(fresh))
            Path(fresh).replace(out)
        finally:
            Path(fresh).unlink(missing_ok=True)
    return out


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Hold a lock that dies with its process; without one where the system has none."""
    with file.open("w") as stream:
        try:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX)
        except (ImportError, OSError):
            pass  # some network homes: each process then builds, and the last rename wins
        yield
