"""The native kernels among threads and processes: forks, workers, Python threads, thread counts."""

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from medssm.ops.backends import prefer
from medssm.ops.conv import causal_conv1d
from medssm.ops.native import build
from medssm.ops.scan import cpu, selective_scan
from tests.support.scans import scan_tensors, values_and_gradients

pytestmark = pytest.mark.skipif(cpu.missing() is not None, reason=str(cpu.missing()))
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def _tensors(seed=0):
    return scan_tensors(b=2, length=300, d=40, seed=seed, dtype=torch.float32)


TASKS = Path("/proc/self/task")
TAPS = torch.ones(1, 40, 3)


def _scan(tensors):
    with prefer("cpu"):
        return causal_conv1d(selective_scan(**tensors), TAPS, None)


def _into(queue, tensors):
    # the kernels alone: torch's own threads (OpenMP) do not outlive a fork
    torch.set_num_threads(2)
    out = _scan(tensors)
    torch.set_num_threads(1)
    queue.put(out.numpy())


@forks
def test_a_forked_child_gathers_its_own_threads():
    tensors = _tensors()
    true = _scan(tensors)  # the parent's threads sleep by now
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_into, args=(queue, tensors))
    child.start()
    ours = torch.from_numpy(queue.get(timeout=60))
    child.join(60)
    assert child.exitcode == 0
    assert torch.equal(ours, true)
    assert torch.equal(_scan(tensors), true)


class _Scans(Dataset):
    def __init__(self):
        self.inputs = [_tensors(seed) for seed in range(4)]

    def __len__(self):
        return 4

    def __getitem__(self, index):
        torch.set_num_threads(2)
        out = _scan(self.inputs[index])
        torch.set_num_threads(1)
        return out


@forks
def test_workers_of_a_data_loader_may_scan():
    scans = _Scans()
    true = [_scan(each) for each in scans.inputs]
    loader = DataLoader(scans, batch_size=1, num_workers=2, multiprocessing_context="fork")
    for index, ours in enumerate(loader):
        assert torch.equal(ours[0], true[index])


def test_python_threads_may_scan_at_once():
    inputs = [_tensors(seed) for seed in range(4)]
    true = [_scan(each) for each in inputs]
    with ThreadPoolExecutor(4) as crew:
        ours = list(crew.map(_scan, inputs * 8))
    assert all(torch.equal(each, true[i % 4]) for i, each in enumerate(ours))


def test_the_same_threads_give_the_same_bits():
    first = values_and_gradients("cpu", _tensors())
    second = values_and_gradients("cpu", _tensors())
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("threads", [1, 3, 4])
def test_outputs_and_gradients_along_the_length_do_not_depend_on_the_threads(threads):
    """Where nothing is split; only sums over channels are added in another order."""
    true = values_and_gradients("cpu", _tensors())
    torch.set_num_threads(threads)
    ours = values_and_gradients("cpu", _tensors())
    for name in ("out", "last", "u", "delta", "A", "D", "delta_bias", "z", "initial_state"):
        assert torch.equal(ours[name], true[name]), name
    for name in ("B", "C"):
        scale = float(true[name].abs().max())
        assert float((ours[name] - true[name]).abs().max()) <= 1e-6 * scale


def _threads_of_this_process():
    return len(list(TASKS.iterdir()))


def _count(queue, threads):
    torch.set_num_threads(1)  # of torch; the kernels are asked for more below
    tensors = _tensors()
    _scan(tensors)
    before = _threads_of_this_process()
    torch.set_num_threads(threads)
    with prefer("cpu"):
        for _ in range(20):
            selective_scan(**tensors)
    queue.put(_threads_of_this_process() - before)


@pytest.mark.skipif(not TASKS.is_dir(), reason="needs /proc")
@pytest.mark.parametrize("threads", [1, 3])
def test_threads_are_as_many_as_torch_was_told_and_stay(threads):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=_count, args=(queue, threads))
    child.start()
    assert queue.get(timeout=120) <= threads - 1
    child.join(60)


def test_the_library_is_found_without_a_second_build():
    assert build.library_for(cpu.SOURCE) == build.library_for(cpu.SOURCE)
