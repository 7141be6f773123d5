"""Load a native library and describe tensors to it: the Python side of `simd.h`."""

import ctypes
import threading
from pathlib import Path

import torch
from torch import Tensor

from medssm.ops.native.build import PREBUILT, library_for, variant

CHUNK = 32  # steps in a tile, as in simd.h
KINDS = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
_LOADED: dict[tuple[Path, str], ctypes.CDLL] = {}
_LOCK = threading.Lock()


class View(ctypes.Structure):
    """A strided tensor of up to four axes; no data means that it is absent."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("stride", ctypes.c_int64 * 4),
        ("kind", ctypes.c_int64),
    )


def load(source: Path) -> ctypes.CDLL:
    """Load the library of a source, building it at most once.

    Raises:
        NoCompilerError: There is no library and nothing here can build one.
        OSError: The system cannot load the library.
    """
    key = (source, variant().name)
    library = _LOADED.get(key)
    if library is None:
        with _LOCK:
            library = _LOADED.get(key)
            if library is None:
                library = _LOADED[key] = _open(source)
    return library


def _open(source: Path) -> ctypes.CDLL:
    file = library_for(source)
    try:
        return ctypes.CDLL(str(file))  # calls release the GIL
    except OSError:
        if file.parent == PREBUILT:
            raise
        # a cached file that a full disk or a power cut has damaged
        file.unlink(missing_ok=True)
        return ctypes.CDLL(str(library_for(source)))


def lanes(dtype: torch.dtype) -> int:
    """Channels in one vector: of double for float64, of float for every other type."""
    return variant().vector_bytes // (8 if dtype == torch.float64 else 4)


def put(view: View, tensor: Tensor | None, share_routes: bool = False) -> None:
    """Describe a tensor (batch, route, position, channel) in a view.

    Args:
        view: The structure to fill in.
        tensor: The tensor; None leaves the view absent.
        share_routes: All routes read or write the one tensor (route stride 0).
    """
    if tensor is None:
        return
    b, k, p, d = tensor.stride()
    view.data = tensor.data_ptr()
    view.stride[:] = (b, 0 if share_routes or tensor.shape[1] == 1 else k, p, d)
    view.kind = KINDS[tensor.dtype]
