"""The library of a process is one that its CPU can run."""

import re
import shutil
import subprocess

import pytest

from medssm.ops.native import variants
from medssm.ops.native.build import PACKAGE
from medssm.ops.native.variants import NoCompilerError, choose, instruction_set, variants_of

CLOUD = {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma", "f16c", "sse2"}
ALL = frozenset({"avx512", "avx2", "baseline"})


@pytest.fixture
def cpu(monkeypatch):
    def pretend(features, machine="x86_64"):
        variants._choose.cache_clear()
        monkeypatch.setattr(variants, "cpu_features", lambda: frozenset(features))
        monkeypatch.setattr(variants.platform, "machine", lambda: machine)
        monkeypatch.delenv(variants.VARIABLE, raising=False)

    yield pretend
    variants._choose.cache_clear()


@pytest.mark.parametrize(
    ("features", "machine", "expected"),
    [
        (CLOUD, "x86_64", "avx512"),
        (CLOUD - {"avx512vl"}, "x86_64", "avx2"),  # a Xeon Phi
        ({"avx2", "sse2"}, "x86_64", "baseline"),  # no fused multiply-add
        (set(), "x86_64", "baseline"),
        (CLOUD, "AMD64", "avx512"),  # as Windows spells it
        (set(), "aarch64", "neon"),
        (set(), "arm64", "neon"),
        (set(), "riscv64", "baseline"),
    ],
)
def test_the_fastest_variant_that_the_cpu_has_is_taken(cpu, features, machine, expected):
    cpu(features, machine)
    assert choose(frozenset()).name == expected


def test_a_wheel_without_the_fastest_variant_gives_the_next(cpu):
    cpu(CLOUD)
    assert choose(frozenset({"avx2", "baseline"})).name == "avx2"


def test_the_variable_asks_for_a_slower_variant(cpu, monkeypatch):
    cpu(CLOUD)
    monkeypatch.setenv("MEDSSM_NATIVE", "AVX2")
    assert choose(ALL).name == "avx2"


def test_the_innermost_wish_of_a_test_wins(cpu, monkeypatch):
    cpu(CLOUD)
    monkeypatch.setenv("MEDSSM_NATIVE", "avx2")
    with instruction_set("avx512"), instruction_set("baseline"):
        assert choose(ALL).name == "baseline"
    assert choose(ALL).name == "avx2"


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ("none", "switched off by MEDSSM_NATIVE=none"),
        ("avx1024", "unknown; take auto, avx512, avx2, neon, baseline, none"),
        ("avx512", r"lacks or is: avx512bw, .*; take avx2, baseline"),
        ("neon", "take avx2, baseline"),
    ],
)
def test_a_wish_that_would_crash_is_refused_in_words(cpu, wish, message):
    cpu({"avx2", "fma", "f16c"})
    with instruction_set(wish), pytest.raises(NoCompilerError, match=message):
        choose(ALL)


def test_the_features_of_this_cpu_come_from_the_system(tmp_path, monkeypatch):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nflags\t\t: fpu avx2 fma f16c\nprocessor\t: 1\nflags\t: fpu\n")
    monkeypatch.setattr(variants, "CPUINFO", file)
    assert variants.cpu_features.__wrapped__() == {"fpu", "avx2", "fma", "f16c"}


@pytest.mark.parametrize(
    ("capability", "expected"), [("AVX512", "avx512"), ("AVX2", "avx2"), ("DEFAULT", "baseline")]
)
def test_a_system_without_cpuinfo_is_asked_through_torch(
    tmp_path, monkeypatch, capability, expected
):
    import torch

    monkeypatch.setattr(variants, "CPUINFO", tmp_path / "absent")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    has = variants.cpu_features.__wrapped__()
    assert next(v.name for v in variants_of("x86_64") if v.needs <= has) == expected


@pytest.mark.parametrize("variant", variants_of("x86_64"), ids=lambda v: v.name)
def test_python_and_the_header_agree_on_the_width_of_a_vector(variant):
    compiler = shutil.which("g++")
    if (
        compiler is None
        or "x86" not in subprocess.check_output([compiler, "-dumpmachine"]).decode()
    ):
        pytest.skip("needs g++ for x86")
    command = [compiler, "-std=c++17", "-E", "-dM", *variant.flags, str(PACKAGE / "simd.h")]
    macros = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"#define VBYTES (\d+)", macros)
    assert found
    assert int(found[1]) == variant.vector_bytes
