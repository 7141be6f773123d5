"""The Triton backends say why they do not run, and never need Triton to be imported."""

import subprocess
import sys

import pytest
import torch

from medssm.ops.backends import BackendRefusedError, prefer
from medssm.ops.conv import causal_conv1d
from medssm.ops.scan import selective_scan, triton_backend
from medssm.ops.scan.triton_operators import scan
from tests.support.scans import scan_tensors

HIDDEN = """
import sys
sys.modules["triton"] = None
import torch
import medssm.ops
from medssm.ops.backends import explain
from medssm.ops.scan import selective_scan
t = torch.ones
y = selective_scan(t(1, 3, 2), t(1, 1, 3, 2), -t(1, 2, 1), t(1, 1, 3, 1), t(1, 1, 3, 1))
assert y.shape == (1, 3, 2)
assert [row.reason for row in explain() if row.backend == "triton"][0]
"""


def test_nothing_needs_triton():
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_importing_the_operators_does_not_import_triton():
    program = "import sys, medssm.ops.scan, medssm.ops.conv; assert 'triton' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device")
def test_no_device_is_said_in_words():
    with prefer("triton"), pytest.raises(BackendRefusedError, match="CUDA"):
        selective_scan(**scan_tensors(dtype=torch.float32))
    with prefer("triton"), pytest.raises(BackendRefusedError, match="CUDA"):
        causal_conv1d(torch.zeros(1, 4, 2), torch.zeros(1, 2, 4), None)


def test_a_tensor_on_the_cpu_is_refused_in_words():
    assert "not on a CUDA" in (triton_backend.refuses_place(torch.zeros(1)) or "")


def test_a_type_that_is_not_computed_is_refused_in_words():
    reason = triton_backend.refuses_types(u=torch.zeros(1), z=torch.zeros(1, dtype=torch.float64))
    assert reason is not None
    assert reason.startswith("z is torch.float64")


class Layer(torch.nn.Module):
    def forward(self, u, delta, A, B, C):
        return scan(u, delta, A, B, C, *[None] * 6, True, True, 0, False)[0]


def test_export_keeps_one_node_of_any_length():
    t = scan_tensors(b=2, k=2, length=8, d=4, n=2, dtype=torch.float32)
    inputs = (t["u"][:, None], t["delta"], t["A"], t["B"], t["C"])
    length = torch.export.Dim("length", min=2, max=4096)
    axes = ({2: length}, {2: length}, {}, {2: length}, {2: length})
    graph = torch.export.export(Layer(), inputs, dynamic_shapes=axes).graph
    assert [str(n.target) for n in graph.nodes].count("medssm.scan_triton.default") == 1
