"""A long bag is scanned in little more memory than its result, each call in a fresh process."""

import json
import subprocess
import sys

import pytest

MEASURE = """
import json, resource, sys
import torch
from medssm.ops.backends import prefer
from medssm.ops.scan import selective_scan

backend, length, d, n, training = json.loads(sys.argv[1])
torch.set_num_threads(1)


def tensors(length):
    g = torch.Generator().manual_seed(0)
    shapes = [(1, length, d), (1, 1, length, d), (1, d, n), (1, 1, length, n), (1, 1, length, n)]
    made = [torch.randn(shape, generator=g) for shape in shapes]
    made[2].abs_().neg_()
    return [x.requires_grad_(training) for x in made]


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def scan(inputs):
    y = selective_scan(*inputs, z=inputs[0])
    if training:
        y.backward(y.detach())


with prefer(backend), torch.set_grad_enabled(training):
    scan(tensors(64))  # whatever libraries are loaded once
    inputs = tensors(length)
    before = peak()
    scan(inputs)
print(peak() - before)
"""


def _growth_mib(*what) -> float:
    command = [sys.executable, "-c", MEASURE, json.dumps(what)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("backend", ["cpu", "chunked"])
def test_inference_over_a_long_bag_needs_little_beyond_its_result(backend):
    # a tenth of a bag of 200,000 tokens, which has 1.5 GB beyond its input
    assert _growth_mib(backend, 20_000, 1024, 16, False) < 150


@pytest.mark.parametrize("backend", ["cpu", "chunked"])
def test_training_keeps_no_state_of_every_step(backend):
    # every state would be 156 MiB; the gradients of u, delta and z and the result are 40
    assert _growth_mib(backend, 20_000, 128, 16, True) < 110
