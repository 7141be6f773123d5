"""Pickled checkpoints, on request alone: read by a process that can only make arrays and lists.

`torch.load(weights_only=True)` refuses what old programs put beside their tensors, NumPy arrays
for one. What is asked for with ``--trust`` is read here: in a process of its own, by an unpickler
that knows tensors, arrays and containers and refuses every other name. Tensors, numbers, text and
containers come back; nothing else does.
"""

import builtins
import codecs
import collections
import pickle
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from medssm.core.errors import BadDataError, MachineError
from medssm.core.files import sha256
from medssm.core.log import warn
from medssm.data.plain_pickle import Maker, PlainUnpickler

_CONTAINERS = (
    "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "set",
    "slice", "str", "tuple",
)  # fmt: skip
_REBUILD = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")
ADMITTED: Mapping[tuple[str, str], Any] = {
    # Python 2 called builtins so
    **{
        (base, name): getattr(builtins, name)
        for base in ("builtins", "__builtin__")
        for name in _CONTAINERS
    },
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): collections.defaultdict,
    # protocol 2 writes bytes as encoded text
    ("_codecs", "encode"): Maker(codecs.encode),
    **{("torch._utils", name): Maker(getattr(torch._utils, name)) for name in _REBUILD},
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("torch.serialization", "_get_layout"): Maker(torch.serialization._get_layout),
}
_SECONDS = 600
_REFUSED = 3


class TensorUnpickler(PlainUnpickler):
    """Makes tensors, arrays and containers; any other name is an error."""

    admitted = ADMITTED

    def find_class(self, module: str, name: str) -> Any:
        """Admit what is data, refuse what could run."""
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        return super().find_class(module, name)

    def __setattr__(self, name: str, value: Any) -> None:
        # torch hands its reader of storages over this way
        super().__setattr__(name, _storages(value) if name == "persistent_load" else value)


def _storages(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Storages alone: of a module, torch's oldest reader writes a patch where the file says."""

    def checked(key: Any) -> Any:
        word = key[0] if isinstance(key, tuple) and key else None
        if word not in ("storage", b"storage"):
            raise pickle.UnpicklingError(f"{word!r} is no storage of numbers")
        return read(key)

    return checked


def _load(stream: Any, **options: Any) -> Any:
    return TensorUnpickler(stream, **options).load()


# torch asks its `pickle_module` for these; torch's own wrapper adds its storages by name
_PICKLE = SimpleNamespace(__name__=__name__, Unpickler=TensorUnpickler, load=_load)


def read_trusted(path: Path) -> Mapping[str, Any]:
    """Read a pickled checkpoint in a process of its own, arrays and containers only.

    Args:
        path: The checkpoint; the user has said ``--trust``.

    Returns:
        Tensors, numbers, text, lists and dicts.

    Raises:
        BadDataError: It holds something else, or is damaged.
        MachineError: The process did not end in time, or died.
    """
    warn("%s is read because of --trust; its sha256 is %s", path, sha256(path))
    with tempfile.TemporaryDirectory(prefix="medssm-trusted-") as folder:
        result = Path(folder) / "plain.pt"
        # -I: neither the user's variables nor the folder it runs in change what is imported
        command = [sys.executable, "-I", "-m", __name__, str(path.absolute()), str(result)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_SECONDS, check=False, cwd=folder
            )
        except subprocess.TimeoutExpired:
            raise MachineError(f"{path}: reading it took more than {_SECONDS} s.") from None
        told = (done.stderr.strip().splitlines() or ["no word"])[-1]
        if done.returncode == _REFUSED:
            raise BadDataError(
                f"{path}: refused even with --trust: {told}. Expected tensors, arrays, numbers, "
                "text and containers; save its state dict alone with torch.save where it was made."
            )
        if done.returncode or not result.is_file():
            raise MachineError(f"{path}: the reading process ended with {done.returncode}: {told}")
        content = torch.load(result, map_location="cpu", weights_only=True)
    if not isinstance(content, dict):
        raise BadDataError(f"{path} holds a {type(content).__name__}, expected a state dict")
    return content


def _refuse_program(*_: Any, **__: Any) -> None:
    raise pickle.UnpicklingError("a TorchScript program, no checkpoint")


def _read(path: Path) -> Any:
    """What a file holds, by the plain unpickler; for a process that does nothing else."""
    if tarfile.is_tarfile(path):
        # the oldest format unpacks members to disk
        raise pickle.UnpicklingError("a tar archive of torch before 0.1.10")
    # a file of TorchScript is a program, and torch.load would hand it over
    torch.jit.load = _refuse_program
    loaded: Any = torch.load(
        path, map_location="cpu", pickle_module=_PICKLE, weights_only=False, mmap=False
    )
    return loaded


def plain(value: Any) -> Any:
    """Reduce to what `weights_only=True` reads; what is none of it becomes None."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return (
            torch.from_numpy(value.copy()) if value.dtype.kind in "biuf" else plain(value.tolist())
        )
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, Mapping):
        known = (bool, int, float, str)
        return {key: plain(each) for key, each in value.items() if isinstance(key, known)}
    if isinstance(value, (list, tuple, set, frozenset, collections.deque)):
        return [plain(each) for each in value]
    if isinstance(value, (torch.device, torch.dtype)):
        return str(value)
    return value if isinstance(value, (bool, int, float, str)) else None


def main(source: str, target: str) -> int:
    """Read one file and write it as plain data; the exit code says whether it was admitted."""
    try:
        torch.save(plain(_read(Path(source))), target)
    except Exception as error:
        sys.stderr.write(f"{type(error).__name__}: {str(error).splitlines()[0]}\n")
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
