"""Checkpoints are data, whole or absent; a damaged one falls back to the one before."""

import pickle

import pytest
import torch

from medssm.core.errors import BadDataError
from medssm.training.checkpoints import LATEST, PREVIOUS, CheckpointFiles, read_checkpoint


@pytest.fixture
def files(tmp_path):
    files = CheckpointFiles(tmp_path)
    for step in (1, 2):
        files.save_checkpoint({"step": step, "w": torch.full((64,), step)}, tmp_path / LATEST)
    return files


def test_the_last_two_are_kept(files):
    assert read_checkpoint(files.folder / LATEST)["step"] == 2
    assert read_checkpoint(files.folder / PREVIOUS)["step"] == 1
    assert len(list(files.folder.iterdir())) == 2


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_cut_checkpoint_falls_back_to_the_one_before(files, share, caplog):
    latest = files.folder / LATEST
    content = latest.read_bytes()
    latest.write_bytes(content[: int(len(content) * share)])
    assert files.last()["step"] == 1


def test_a_flipped_bit_falls_back_to_the_one_before(files):
    latest = files.folder / LATEST
    content = bytearray(latest.read_bytes())
    place = content.index(torch.full((64,), 2).numpy().tobytes())
    content[place + 5] ^= 1
    latest.write_bytes(bytes(content))
    assert files.last()["step"] == 1


def test_two_damaged_checkpoints_are_an_error_that_names_the_folder(files):
    for name in (LATEST, PREVIOUS):
        (files.folder / name).write_bytes(b"")
    with pytest.raises(BadDataError, match="no checkpoint can be read"):
        files.last()


def test_no_checkpoint_is_a_fresh_start(tmp_path):
    assert CheckpointFiles(tmp_path).last() is None


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self):
            return (canary.touch, ())

    torch.save({"x": Evil()}, tmp_path / LATEST, pickle_module=pickle)
    with pytest.raises(BadDataError, match=LATEST):
        read_checkpoint(tmp_path / LATEST)
    assert not canary.exists()


def test_what_is_no_data_cannot_be_saved(tmp_path):
    with pytest.raises(TypeError, match="plain data"):
        CheckpointFiles(tmp_path).save_checkpoint({"x": object()}, tmp_path / LATEST)
    assert not list(tmp_path.iterdir())
