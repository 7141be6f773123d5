"""`medssm show network` says what a network truly costs."""

import json
from typing import Any

import pytest

from medssm.cli.main import main
from medssm.runs.compose import groups


def shown(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["show", "network", *words, "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


# SEGMODELS 7.1: measured parameters, GMACs and GFLOPs of scans
@pytest.mark.parametrize(
    ("name", "size", "channels", "classes", "parameters", "gmacs", "gflops"),
    [
        ("vm_unet", "256,256", 3, 1, 27_427_561, 5.29, 2.97),
        ("vm_unet", "224,224", 3, 9, 27_427_761, 4.06, 2.27),
        ("mhs_vm_3h", "256,256", 3, 1, 17_386_153, 3.33, 1.48),
        ("mhs_vm_4h", "256,256", 3, 1, 17_257_129, 3.32, 1.48),
        ("msvm_unet_tiny", "224,224", 3, 9, 35_925_513, 7.70, 0.105),
        ("msvm_unet_small", "224,224", 3, 9, 54_689_289, 11.36, 0.141),
    ],
)
def test_parameters_and_operations_are_the_measured_ones(
    name, size, channels, classes, parameters, gmacs, gflops, capsys
) -> None:
    words = [name, "--size", size, "--channels", str(channels), "--classes", str(classes)]
    (row,) = shown(words, capsys)["costs"]
    assert row["counted"]["parameters"] == parameters
    assert row["counted"]["macs"] / 1e9 == pytest.approx(gmacs, rel=2e-3)
    assert row["counted"]["scan_flops"] / 1e9 == pytest.approx(gflops, rel=5e-3)


def test_the_twins_scan_nothing(capsys) -> None:
    twins = [name for name in groups()["network"] if name.endswith("_no_ssm")]
    assert {"vm_unet_no_ssm", "mhs_vm_no_ssm", "msvm_unet_tiny_no_ssm"} <= set(twins)
    for name in twins:
        size = "16,16,16" if "hybrid" in name else "64,64"
        (row,) = shown([name, "--size", size], capsys)["costs"]
        assert row["counted"]["scan_flops"] == 0


def test_sizes_source_and_arguments_are_told(capsys) -> None:
    assert main(["show", "network", "vm_unet"]) == 0
    said = capsys.readouterr().out
    assert "2D: sizes in multiples of 32, 32; others are refused" in said
    assert "decoder_depths" in said
    assert "JCruan519/VM-UNet" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["vmunet"], "did you mean 'vm_unet'"),
        (["vm_unet", "--size", "7"], "expected e.g. 224,224"),
        (["msvm_unet", "--size", "32,32"], "take a larger patch or batch"),
    ],
)
def test_a_slip_is_answered(words, message, capsys) -> None:
    assert main(["show", "network", *words]) == 2
    assert message in capsys.readouterr().err
