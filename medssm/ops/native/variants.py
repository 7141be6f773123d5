"""Which instruction set the native library of this process uses: what the CPU has, or the wish.

Standard library only: the build hook of the wheel reads the table without torch.
"""

import contextlib
import functools
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "MEDSSM_NATIVE"
AUTO, NONE = "auto", "none"
CPUINFO = Path("/proc/cpuinfo")


class NoCompilerError(RuntimeError):
    """No native library for this process: nothing built, nothing to build it, or switched off."""


@dataclass(frozen=True)
class Variant:
    """One build of the native library.

    Args:
        name: As written in MEDSSM_NATIVE and in file names.
        machines: Values of `platform.machine()` it is for; none means every machine.
        flags: For the compiler, on top of the common ones.
        needs: What the CPU must have, in the words of /proc/cpuinfo.
        vector_bytes: Width of the vectors, as `simd.h` sets VBYTES under these flags.
    """

    name: str
    machines: tuple[str, ...]
    flags: tuple[str, ...]
    needs: frozenset[str]
    vector_bytes: int


_X86 = ("x86_64", "amd64")
# the fastest first
VARIANTS = (
    Variant(
        "avx512",
        _X86,
        ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-mf16c"),
        frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma", "f16c"}),
        64,
    ),
    Variant("avx2", _X86, ("-mavx2", "-mfma", "-mf16c"), frozenset({"avx2", "fma", "f16c"}), 32),
    # every 64-bit ARM has NEON and the compilers use it unasked
    Variant("neon", ("aarch64", "arm64"), (), frozenset(), 16),
    Variant("baseline", (), (), frozenset(), 16),
)


def variants_of(machine: str) -> tuple[Variant, ...]:
    """The variants worth building for a kind of machine, the fastest first."""
    machine = machine.lower()
    own = tuple(each for each in VARIANTS if machine in each.machines)
    # on ARM the plain build is the NEON build
    return own if "neon" in {each.name for each in own} else (*own, VARIANTS[-1])


@functools.cache
def cpu_features() -> frozenset[str]:
    """What this CPU and its system offer, in the words of /proc/cpuinfo."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return _features_by_torch()
    for line in lines:
        name, _, words = line.partition(":")
        if name.strip() == "flags":
            return frozenset(words.split())
    return frozenset()


def _features_by_torch() -> frozenset[str]:
    """For systems without /proc: torch tells the family, which implies FMA and half floats."""
    import torch

    capability = torch.backends.cpu.get_cpu_capability().lower()
    return next((each.needs for each in VARIANTS if each.name == capability), frozenset())


def supported() -> tuple[Variant, ...]:
    """The variants that this CPU can run, the fastest first."""
    has = cpu_features()
    return tuple(each for each in variants_of(platform.machine()) if each.needs <= has)


_WISHES: list[str] = []


def wished() -> str:
    """The variant asked for by `instruction_set` or MEDSSM_NATIVE; "auto" when none is."""
    return _WISHES[-1] if _WISHES else os.environ.get(VARIABLE, "").lower() or AUTO


@contextlib.contextmanager
def instruction_set(name: str) -> Iterator[None]:
    """Use one variant inside the `with`, for tests; not while other threads call operators.

    Args:
        name: A variant's name, "auto" or "none".
    """
    _WISHES.append(name)
    try:
        yield
    finally:
        _WISHES.pop()


def choose(built: frozenset[str]) -> Variant:
    """Choose the variant of this process.

    Args:
        built: Names of the variants that the wheel brought; empty for a source install.

    Returns:
        The wished variant, else the fastest one that the CPU runs and the wheel holds.

    Raises:
        NoCompilerError: The wish is "none", unknown, or nothing that this CPU can run.
    """
    return _choose(wished(), built)


@functools.cache
def _choose(wish: str, built: frozenset[str]) -> Variant:
    can = supported()
    if wish == AUTO:
        return next((each for each in can if each.name in built), can[0])
    if wish == NONE:
        raise NoCompilerError(f"switched off by {VARIABLE}={NONE}")
    known = {each.name: each for each in VARIANTS}
    if wish not in known:
        raise NoCompilerError(
            f"{VARIABLE}={wish} is unknown; take {', '.join([AUTO, *known, NONE])}"
        )
    if known[wish] not in can:
        lacks = ", ".join(sorted(known[wish].needs - cpu_features())) or platform.machine()
        raise NoCompilerError(
            f"{VARIABLE}={wish} cannot run on this CPU (lacks or is: {lacks});"
            f" take {', '.join(each.name for each in can)}"
        )
    return known[wish]
