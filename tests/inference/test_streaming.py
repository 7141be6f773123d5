import errno
import subprocess
import sys

import numpy as np
import pytest
import torch

from medssm.core.errors import MachineError
from medssm.inference import streaming
from medssm.inference.streaming import Scratch, SlabMerger

MEASURE = """
import sys
from pathlib import Path
import torch
from torch import nn
from medssm.inference.streaming import Scratch
from medssm.inference.windows import WindowSettings, predict_logits

class Tile(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.scale = nn.Parameter(torch.arange(float(classes)).view(1, -1, 1, 1, 1))
    def forward(self, x):
        return x * self.scale

def high_water():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024

torch.set_num_threads(1)
classes, folder = int(sys.argv[1]), Path(sys.argv[2])
image, settings = torch.rand(1, 64, 96, 96), WindowSettings((16, 16, 16))
with predict_logits(Tile(2), image[:, :16, :16, :16], settings, Scratch(folder)) as warm:
    warm[0]
Path("/proc/self/clear_refs").write_text("5")
before = high_water()
with predict_logits(Tile(classes), image, settings, Scratch(folder, slab_bytes=2**24)) as logits:
    best = logits[0]
    for scores in logits:
        best = torch.maximum(torch.from_numpy(scores), torch.as_tensor(best))
print(high_water() - before)
"""


def growth(classes, folder):
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(classes), str(folder)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_peak_memory_does_not_grow_with_the_number_of_classes(tmp_path):
    voxels = 64 * 96 * 96
    few, many = growth(4, tmp_path), growth(64, tmp_path)
    held = voxels * (64 - 4) * 4
    # two files may each hold the 17 MB they were allowed; the classes would take 142 MB
    assert many - few < held / 3, (few, many)


def merger(scratch, shape=(1, 2, 8, 4, 4), window=(4, 4, 4)):
    return SlabMerger(shape, shape, torch.ones(window), (0, 0, 0), scratch)


def test_overlapping_windows_are_averaged_by_their_weights(tmp_path):
    sums = SlabMerger((1, 1, 3), (1, 1, 3), torch.tensor([1.0, 3.0]), (0,), Scratch(tmp_path))
    sums.aggregate(torch.tensor([[[2.0, 2.0]]]), (0,))
    sums.aggregate(torch.tensor([[[6.0, 6.0]]]), (1,))
    with sums.finalize() as logits:
        np.testing.assert_allclose(logits[0], [2, (3 * 2 + 1 * 6) / 4, 6])


def test_windows_out_of_order_are_refused(tmp_path):
    sums = merger(Scratch(tmp_path))
    sums.aggregate(torch.zeros(1, 2, 4, 4, 4), (4, 0, 0))
    with pytest.raises(ValueError, match="ordered"):
        sums.aggregate(torch.zeros(1, 2, 4, 4, 4), (0, 0, 0))


def test_a_class_handed_out_is_a_copy_that_outlives_the_file(tmp_path):
    sums = merger(Scratch(tmp_path))
    for start in (0, 4):
        sums.aggregate(torch.ones(1, 2, 4, 4, 4), (start, 0, 0))
    with sums.finalize() as logits:
        assert logits.shape == (2, 8, 4, 4)
        scores = logits[1]
    assert (scores == 1).all()


def test_a_full_disk_is_named_with_the_size_that_was_needed(tmp_path, monkeypatch):
    def full(handle, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(streaming, "_reserve", full)
    with pytest.raises(MachineError, match=r"GiB of temporary data.*No space left"):
        Scratch(tmp_path).array((3, 8, 8), "float32")
