"""A run that finds another checkpoint than it wrote: it goes on, or says why it does not."""

import re
import zipfile

import pytest
import torch

from medssm.core.errors import BadDataError, InterruptedRunError, UsageError
from medssm.training.checkpoints import LATEST, PREVIOUS, WEIGHTS, read_checkpoint
from medssm.training.engine import Run, fit
from tests.training.test_engine import CONFIG, Numbers, Toy

FACTS = {"name": "toy"}


@pytest.fixture
def stopped(tmp_path):
    """A run that was stopped in its third epoch, and the weights that it would have ended with."""
    fit(Toy(), Numbers(), CONFIG, Run(tmp_path / "whole", 7, 2, FACTS))
    with pytest.raises(InterruptedRunError):
        fit(Toy(), Numbers(stop_at=203), CONFIG, Run(tmp_path / "run", 7, 2, FACTS))
    return tmp_path / "run", (tmp_path / "whole" / WEIGHTS).read_bytes()


def _go_on(folder, facts=FACTS):
    return fit(Toy(), Numbers(), CONFIG, Run(folder, 7, 2, facts))


def _changed(folder, **changes):
    for name in (LATEST, PREVIOUS):
        content = read_checkpoint(folder / name)
        (folder / name).unlink()
        torch.save({**content, **changes}, folder / name)


def test_a_whole_checkpoint_goes_on_to_the_same_bits(stopped):
    folder, expected = stopped
    _go_on(folder)
    assert (folder / WEIGHTS).read_bytes() == expected


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_cut_one_goes_on_from_the_one_before_to_the_same_bits(stopped, share):
    folder, expected = stopped
    content = (folder / LATEST).read_bytes()
    (folder / LATEST).unlink()
    (folder / LATEST).write_bytes(content[: int(len(content) * share)])
    _go_on(folder)
    assert (folder / WEIGHTS).read_bytes() == expected


def test_a_flipped_bit_goes_on_from_the_one_before_to_the_same_bits(stopped):
    folder, expected = stopped
    content = bytearray((folder / LATEST).read_bytes())
    weights = read_checkpoint(folder / LATEST)["network_weights"]["0.weight"]
    content[content.index(weights.numpy().tobytes()) + 3] ^= 4
    (folder / LATEST).unlink()
    (folder / LATEST).write_bytes(content)
    _go_on(folder)
    assert (folder / WEIGHTS).read_bytes() == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"network_weights": {"0.weight": torch.ones(3, 3)}},
        {"network_weights": {"other": torch.ones(1)}},
        {"state": {"unknown": 1}},
        {"elapsed_s": "x"},
    ],
)
def test_one_of_another_network_or_shape_is_refused_with_the_remedy(stopped, changes):
    folder, _ = stopped
    _changed(folder, **changes)
    with pytest.raises(BadDataError, match=r"does not fit this run.*trainer\.resume=false"):
        _go_on(folder)


def test_one_of_other_settings_is_refused(stopped):
    with pytest.raises(UsageError, match="other settings"):
        _go_on(stopped[0], {"name": "other"})


@pytest.mark.parametrize("ranks", [2, 4])
def test_one_of_another_number_of_processes_goes_on_and_says_that_bits_differ(
    stopped, ranks, monkeypatch, caplog
):
    folder, _ = stopped
    _changed(folder, ranks=ranks)
    monkeypatch.setattr("medssm.core.log.LOGGER.propagate", True)
    caplog.set_level("INFO", logger="medssm")
    _go_on(folder)
    assert re.search(rf"\b{ranks}\b.*\b1\b.*uninterrupted run", caplog.text, re.DOTALL)
    assert (folder / WEIGHTS).is_file()


def test_one_that_another_torch_wrote_goes_on_to_the_same_bits(stopped):
    folder, expected = stopped
    for name in (LATEST, PREVIOUS):
        with zipfile.ZipFile(folder / name) as archive:
            members = {each: archive.read(each) for each in archive.namelist()}
        (folder / name).unlink()
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_STORED) as archive:
            # an older torch writes neither of these, and another number
            for each, content in members.items():
                if not each.endswith((".format_version", ".storage_alignment", "serialization_id")):
                    archive.writestr(each, b"3\n" if each.endswith("/version") else content)
    _go_on(folder)
    assert (folder / WEIGHTS).read_bytes() == expected
