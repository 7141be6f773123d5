"""Pickled checkpoints, on request: arrays and containers come out, nothing runs."""

import collections
import functools
import io
import operator
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from medssm.core.errors import BadDataError
from medssm.core.files import sha256
from medssm.networks.keymaps import read_checkpoint_file
from medssm.networks.keymaps.trusted import TensorUnpickler, plain, read_trusted


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
        TensorUnpickler(io.BytesIO(pickle.dumps({"a": Call(*GADGETS[gadget])}))).load()


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


def test_trust_names_the_hash_and_runs_nothing(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("medssm.core.log.LOGGER.propagate", True)
    caplog.set_level("INFO", logger="medssm")
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


def _legacy(content):
    """A file of torch's oldest format still read, around a pickle written by hand."""
    start = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True})
    return b"".join(pickle.dumps(each, 2) for each in start) + content + pickle.dumps([], 2)


def _text(word):
    return b"X" + len(word).to_bytes(4, "little") + word.encode()


def test_a_module_of_an_old_file_writes_no_patch(tmp_path):
    canary, file = tmp_path / "canary.patch", tmp_path / "old.pth"
    # a function whose name is changed to a path, as the class of a module whose source is "new"
    function = b"ctorch._utils\n_rebuild_tensor\nq\x00(N}" + _text("dump_patches") + b"\x88s"
    function += _text("__name__") + _text(str(canary.with_suffix(""))) + b"stb"
    module = b"(" + _text("module") + function + _text("old") + _text("new") + b"tQ"
    file.write_bytes(_legacy(b"\x80\x02}" + _text("w") + module + b"s."))
    code = f"import torch; torch.load({str(file)!r}, weights_only=False)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
    # what it is refused for: torch writes where the file says
    assert canary.read_text().endswith("+new")
    canary.unlink()
    with pytest.raises(BadDataError, match="it changes a function"):
        read_trusted(file)
    file.write_bytes(file.read_bytes().replace(function, b"cbuiltins\nlist\n"))
    with pytest.raises(BadDataError, match="'module' is no storage"):
        read_trusted(file)
    assert not canary.exists()
