"""Load a native library: the Python side of `simd.h`."""

import ctypes
import threading
from pathlib import Path

import torch

from medssm.ops.native.build import PREBUILT, library_for, variant

CHUNK = 32  # steps in a tile, as in simd.h
KINDS = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
_LOADED: dict[tuple[Path, str], ctypes.CDLL] = {}
_LOCK = threading.Lock()


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
