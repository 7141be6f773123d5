"""A bag of tile features: read from the HDF5 of CLAM, TRIDENT or ours, or from a .pt file."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from medssm.core.errors import BadDataError
from medssm.core.extras import require
from medssm.core.log import warn
from medssm.data.bags.slide_table import slide_id
from medssm.data.hdf5_links import REMEDY, member_elsewhere
from medssm.data.readers.size import check_memory

HDF5 = (".h5", ".hdf5")
_WORST_NAN_SHARE = 0.01


@dataclass(frozen=True)
class Bag:
    """The tiles of one slide as features.

    Args:
        name: The slide's id.
        features: One row a tile, float32, finite.
        coords: Top left corners x, y in pixels of level 0, or None where the file has none.
        facts: Attributes of the file by name.
        source: The file.
        dropped: Rows that were left out because they hold NaN or Inf.

    Shape:
        features: (N, D); coords: (N, 2).
    """

    name: str
    features: np.ndarray
    coords: np.ndarray | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    source: Path = Path()
    dropped: int = 0

    @property
    def width(self) -> int:
        """Numbers a tile."""
        return int(self.features.shape[1])

    @property
    def encoder(self) -> str | None:
        """What made the features, where the file says it."""
        return encoder_of(self.facts)

    def __len__(self) -> int:
        """Tiles."""
        return len(self.features)


@dataclass(frozen=True)
class BagHeader:
    """What a feature file says without its features being read.

    Args:
        count: Tiles.
        width: Numbers a tile; 0 where an empty slide does not tell.
        encoder: What made them, where the file says it.
        facts: Attributes of the file by name.
    """

    count: int
    width: int
    encoder: str | None
    facts: Mapping[str, Any] = field(default_factory=dict)


def encoder_of(facts: Mapping[str, Any]) -> str | None:
    """The encoder's name among the attributes of a file."""
    name = facts.get("encoder")
    return str(name) if name not in (None, "") else None


def read_bag(
    file: Path, width: int | None = None, worst_nan_share: float = _WORST_NAN_SHARE
) -> Bag:
    """Read a feature file; few rows with NaN or Inf are left out with a warning.

    Args:
        file: An .h5 of CLAM, TRIDENT or ours, a .pt that holds one tensor, or an .npz with
            features and perhaps coords.
        width: The numbers a tile that a network expects.
        worst_nan_share: The share of rows with NaN or Inf above which the slide is refused.

    Raises:
        BadDataError: Not readable, no features, the wrong width, features and places of different
            number, or too many rows that are not finite.
        MachineError: h5py is not installed.
    """
    file = Path(file)
    features, coords, facts = _read(file)
    features = _matrix(features, file)
    if len(features) and width is not None and features.shape[1] != width:
        made_by = encoder_of(facts) or "not named in the file"
        raise BadDataError(
            f"{file}: {features.shape[1]} numbers a tile, expected {width} (encoder: {made_by}). "
            "Take features of the encoder that the model was trained with."
        )
    if coords is not None and len(coords) != len(features):
        raise BadDataError(
            f"{file}: {len(features)} features and {len(coords)} coords. Expected one place for "
            "each row of features; make the file again."
        )
    if coords is not None and coords.shape != (len(features), 2):
        raise BadDataError(f"{file}: coords of the shape {coords.shape}. Expected (N, 2).")
    keep = _finite(features, file, worst_nan_share)
    dropped = int(len(keep) - keep.sum())
    return Bag(
        name=slide_id(slide_id(file.name)),
        features=np.ascontiguousarray(features[keep], dtype=np.float32),
        coords=None if coords is None else coords[keep].astype(np.int64),
        facts=facts,
        source=file,
        dropped=dropped,
    )


def bag_header(file: Path) -> BagHeader:
    """Look into a feature file without reading the features (a .pt has to be read).

    Raises:
        BadDataError: Not readable, no features.
        MachineError: h5py is not installed.
    """
    file = Path(file)
    if not is_hdf5(file):
        features = _matrix(_read(file)[0], file)
        return BagHeader(len(features), features.shape[1] if len(features) else 0, None)
    with opened_hdf5(file) as content:
        shape = _dataset(content, file).shape
        facts = _facts(content)
    rows = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
    width = int(rows[1]) if len(rows) == 2 else 0
    return BagHeader(int(rows[0]), width, encoder_of(facts), facts)


def is_hdf5(file: Path) -> bool:
    """Whether a file is HDF5 by its ending."""
    return file.suffix.lower() in HDF5


@contextmanager
def opened_hdf5(file: Path) -> Iterator[Any]:
    """Open an HDF5 file; what is missing or cut off becomes a sentence.

    Raises:
        BadDataError: It cannot be read.
        MachineError: h5py is not installed.
    """
    h5py: Any = require("h5py", "pathology")
    if not file.is_file():
        raise BadDataError(f"{file}: the file does not exist.")
    try:
        with h5py.File(file, "r") as content:
            linked = member_elsewhere(content)
            if linked is not None:
                raise BadDataError(f"{file}: {linked} lies in another file. {REMEDY}.")
            yield content
    except (OSError, RuntimeError, KeyError) as error:
        raise BadDataError(
            f"{file}: not readable as HDF5 ({str(error).splitlines()[0]}; {file.stat().st_size} "
            "bytes). Expected a whole file; copy it again, or make it again."
        ) from None


def _read(file: Path) -> tuple[np.ndarray, np.ndarray | None, dict[str, Any]]:
    if is_hdf5(file):
        return _read_hdf5(file)
    features, coords = _read_npz(file) if file.suffix.lower() == ".npz" else _read_pt(file)
    return features, coords, {}


def _read_hdf5(file: Path) -> tuple[np.ndarray, np.ndarray | None, dict[str, Any]]:
    with opened_hdf5(file) as content:
        stored = _dataset(content, file)
        check_memory(file, stored.shape, stored.dtype.itemsize)
        features = np.asarray(stored)
        coords = np.asarray(content["coords"]) if "coords" in content else None
        facts = _facts(content)
    if coords is not None and coords.ndim == 3 and coords.shape[0] == 1:
        coords = coords[0]
    return features, coords, facts


def _dataset(content: Any, file: Path) -> Any:
    for name in ("features", "feats"):
        if name in content:
            return content[name]
    raise BadDataError(
        f"{file}: holds {', '.join(content) or 'nothing'}. Expected the dataset features (N, D)"
        + ("; this file has places of tiles only." if "coords" in content else ".")
    )


def _facts(content: Any) -> dict[str, Any]:
    """Attributes of the file, of coords and of features; TRIDENT writes None and dicts as text."""
    facts: dict[str, Any] = {}
    for part in ("", "coords", "features"):
        if part and part not in content:
            continue
        for key, value in (content[part] if part else content).attrs.items():
            facts[key] = plain_attribute(value)
    return facts


def plain_attribute(value: Any) -> Any:
    """An HDF5 attribute as plain data."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if hasattr(value, "tolist"):
        value = value.tolist()
    if value == "None":
        return None
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value


def _read_npz(file: Path) -> tuple[np.ndarray, np.ndarray | None]:
    if not file.is_file():
        raise BadDataError(f"{file}: the file does not exist.")
    try:
        with np.load(file, allow_pickle=False) as content:
            for each in content.zip.infolist():
                check_memory(file, (each.file_size,), 1)
            arrays = {name: content[name] for name in ("features", "coords") if name in content}
    except (OSError, ValueError, EOFError, MemoryError, BadZipFile) as error:
        raise BadDataError(
            f"{file}: not readable as .npz ({error}). Expected the array features (N, D), and "
            "coords (N, 2) where the places are known; objects are not opened."
        ) from None
    if "features" not in arrays:
        raise BadDataError(f"{file}: has no array features. Expected features (N, D).")
    return arrays["features"], arrays.get("coords")


def _read_pt(file: Path) -> tuple[np.ndarray, None]:
    import torch

    if not file.is_file():
        raise BadDataError(f"{file}: the file does not exist.")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise BadDataError(
            f"{file}: not readable as a tensor ({type(error).__name__}; {file.stat().st_size} "
            "bytes). Expected one tensor (N, D) saved with torch.save; files with other objects "
            "are not opened."
        ) from None
    if not isinstance(content, torch.Tensor):
        raise BadDataError(f"{file}: holds {type(content).__name__}. Expected one tensor (N, D).")
    return content.detach().float().numpy(), None


def _matrix(features: np.ndarray, file: Path) -> np.ndarray:
    if features.ndim == 3 and features.shape[0] == 1:
        features = features[0]
    # TRIDENT writes (0,) for a slide without tiles where it does not know the width
    if features.shape == (0,):
        return np.zeros((0, 0), dtype=np.float32)
    if features.ndim != 2 or features.dtype.kind not in "fiu":
        raise BadDataError(
            f"{file}: features of the shape {features.shape} and type {features.dtype}. Expected "
            "numbers (N, D), one row a tile."
        )
    return features


def _finite(features: np.ndarray, file: Path, worst_share: float) -> np.ndarray:
    keep = np.isfinite(features).all(axis=1) if features.size else np.ones(len(features), bool)
    bad = int(len(keep) - keep.sum())
    if not bad:
        return keep
    note = " (float16 holds nothing above 65504)" if features.dtype == np.float16 else ""
    told = f"{file}: {bad} of {len(keep)} rows hold NaN or Inf{note}"
    if bad > worst_share * len(keep):
        raise BadDataError(
            f"{told}. Expected at most {worst_share:.1%}; make the features again, in float32."
        )
    warn("%s; they are left out.", told)
    return keep
