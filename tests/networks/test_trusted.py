"""Pickled checkpoints, on request: arrays and containers come out, nothing runs."""

import collections
import functools
import io
import operator
import os
import pickle

import numpy as np
import pytest
import torch

from medssm.core.errors import BadDataError
from medssm.core.files import sha256
from medssm.networks.keymaps import read_checkpoint_file
from medssm.networks.keymaps.trusted import PlainUnpickler, plain, read_trusted


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


GADGETS = {
    "os.system": (os.system, "true"),
    "eval": (eval, "1"),
    "getattr": (getattr, "x", "upper"),
    "import": (__import__, "os"),
    "open": (open, "/dev/null"),
    "partial": (functools.partial, os.system),
    "attrgetter": (operator.attrgetter, "a"),
    "torch.load": (torch.load, "x"),
    "torch.hub": (torch.hub.load, "a", "b"),
    "torch storage file": (torch.UntypedStorage.from_file, "/dev/null"),
    "np.load": (np.load, "x"),
    "np.fromfile": (np.fromfile, "/dev/null"),
    "module": (torch.nn.Linear, 1, 1),
}


@pytest.mark.parametrize("gadget", GADGETS)
def test_nothing_but_data_is_made(gadget):
    with pytest.raises(pickle.UnpicklingError, match="no array, tensor or container"):
        PlainUnpickler(io.BytesIO(pickle.dumps({"a": Call(*GADGETS[gadget])}))).load()


@pytest.fixture
def old(tmp_path):
    """What old trainers wrote: arrays and sets beside the tensors."""
    content = {
        "state_dict": collections.OrderedDict(w=torch.arange(6.0).reshape(2, 3).t()),
        "curve": np.arange(3, dtype=np.float64),
        "classes": {1, 2},
        "names": np.array(["a", "b"], dtype=object),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "nested": [{"lr": np.float32(0.5)}],
    }
    torch.save(content, tmp_path / "old.pth")
    torch.save(content, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    return content


@pytest.mark.parametrize("name", ["old.pth", "legacy.pth"])
def test_arrays_and_sets_are_refused_and_come_out_with_trust(name, old, tmp_path):
    with pytest.raises(BadDataError, match="--trust"):
        read_checkpoint_file(tmp_path / name)
    found = read_checkpoint_file(tmp_path / name, trust=True)
    assert torch.equal(found["state_dict"]["w"], old["state_dict"]["w"])
    assert torch.equal(found["curve"], torch.arange(3, dtype=torch.float64))
    assert found["classes"] == [1, 2]
    assert found["names"] == ["a", "b"]
    assert found["nested"] == [{"lr": 0.5}]


def test_trust_names_the_hash_and_runs_nothing(tmp_path, caplog):
    canary, file = tmp_path / "canary", tmp_path / "bad.pth"
    torch.save({"state_dict": {"w": torch.ones(1)}, "x": Call(os.system, f"touch {canary}")}, file)
    with pytest.raises(BadDataError, match=r"refused even with --trust.*system is no array"):
        read_trusted(file)
    assert not canary.exists()
    assert sha256(file) in caplog.text


def test_a_program_of_torch_is_no_checkpoint(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), tmp_path / "program.pt")
    # what it is refused for: torch.load gives a program back
    with pytest.warns(UserWarning, match="TorchScript archive"):
        program = torch.load(tmp_path / "program.pt", weights_only=False)
    assert isinstance(program, torch.jit.ScriptModule)
    with pytest.raises(BadDataError, match="a TorchScript program"):
        read_trusted(tmp_path / "program.pt")


def test_what_is_no_data_is_left_out():
    assert plain({"a": object(), 1: b"x", ("t",): 2, "d": torch.float16}) == {
        "a": None, 1: None, "d": "torch.float16",
    }  # fmt: skip
