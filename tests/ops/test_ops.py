"""The operators can be imported with torch alone, each when it is asked for."""

import subprocess
import sys

import pytest

import medssm.ops

LOOK = """
import sys
import medssm.ops
assert "torch" not in sys.modules
for name in dir(medssm.ops):
    getattr(medssm.ops, name)
import medssm.ops.diagnosis
heavy = {"monai", "lightning", "nnunetv2", "hydra", "scipy", "SimpleITK", "nibabel"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
floors = {name.split(".")[1] for name in sys.modules if name.startswith("medssm.")}
assert floors <= {"ops", "core"}, floors
"""


def test_they_need_torch_alone_and_only_when_used():
    subprocess.run([sys.executable, "-c", LOOK], check=True)


def test_a_name_that_is_none_is_answered_with_those_there_are():
    with pytest.raises(AttributeError, match="selective_scan_fn"):
        medssm.ops.selective_scam  # noqa: B018
