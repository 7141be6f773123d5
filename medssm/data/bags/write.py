"""Bags written for others and for us: HDF5 of CLAM, TRIDENT and ours, and plain .pt tensors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.errors import BadArgumentError, nearest
from medssm.core.extras import require
from medssm.core.files import atomic_path
from medssm.data.bags.slide_table import slide_id

LAYOUTS = ("medssm", "clam", "trident", "pt")
# CLAM appends in blocks of 32 rows, TRIDENT keeps one row a chunk
_CLAM_CHUNK, _TRIDENT_CHUNK = 32, 1
_OURS_CHUNK = 256
# a file that TRIDENT reads has these beside coords
_TRIDENT_FACTS = (
    "patch_size", "patch_size_level0", "level0_magnification", "target_magnification", "overlap",
    "level0_width", "level0_height",
)  # fmt: skip


def write_bag(
    file: Path,
    features: np.ndarray,
    coords: np.ndarray | None,
    facts: Mapping[str, Any] | None = None,
    layout: str = "medssm",
) -> Path:
    """Write the features of a slide, whole or not at all.

    Args:
        file: The file; its folder is made.
        features: One row a tile.
        coords: Top left corners x, y, pixels of level 0; None for "pt", and where there are none.
        facts: What is told beside: all of it in "medssm", TRIDENT's part in "trident".
        layout: "medssm" (which CLAM and TRIDENT read as well), "clam", "trident" or "pt".

    Raises:
        BadArgumentError: No such layout, or features and coords of different number.
        MachineError: h5py is not installed.

    Shape:
        features: (N, D); coords: (N, 2).
    """
    if layout not in LAYOUTS:
        raise BadArgumentError(f"there is no layout {layout!r}; {nearest(layout, LAYOUTS)}")
    features = np.asarray(features, dtype=np.float32)
    if layout == "pt":
        return _write_pt(file, features)
    if (coords is None and layout != "medssm") or (
        coords is not None and coords.shape != (len(features), 2)
    ):
        found = None if coords is None else coords.shape
        raise BadArgumentError(
            f"{len(features)} features and coords of the shape {found}; expected "
            f"({len(features)}, 2)."
        )
    name = str((facts or {}).get("name") or slide_id(file.name))
    h5py: Any = require("h5py", "pathology")
    with atomic_path(file) as partial, h5py.File(partial, "w") as content:
        if layout == "clam":
            _put(content, "features", features, _CLAM_CHUNK)
            _put(content, "coords", np.asarray(coords, dtype=np.int32), _CLAM_CHUNK)
            return file
        known = {key: stored_attribute(value) for key, value in (facts or {}).items()}
        rows = _TRIDENT_CHUNK if layout == "trident" else _OURS_CHUNK
        encoder = known.get("encoder", "None")
        if layout == "trident":
            known = {key: known[key] for key in _TRIDENT_FACTS if key in known}
            known["savetodir"] = file.parent.name
        _put(content, "features", features, rows).attrs.update({"name": name, "encoder": encoder})
        if layout == "trident":
            content["features"].attrs["savetodir"] = file.parent.name
        # bags that are no slides have no places; what is told of them stands on the file
        places = content
        if coords is not None:
            places = _put(content, "coords", np.asarray(coords, dtype=np.int64), rows)
        places.attrs.update({**known, "name": name})
    return file


def stored_attribute(value: Any) -> Any:
    """Plain data as an HDF5 attribute: None as "None" and nested data as JSON, as in TRIDENT."""
    if value is None:
        return "None"
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value)
    return str(value) if isinstance(value, Path) else value


def _put(content: Any, name: str, values: np.ndarray, rows: int) -> Any:
    chunks = (max(1, min(rows, len(values))), max(1, values.shape[1]))
    return content.create_dataset(
        name, data=values, chunks=chunks, maxshape=(None, values.shape[1])
    )


def _write_pt(file: Path, features: np.ndarray) -> Path:
    import torch

    with atomic_path(file) as partial:
        torch.save(torch.from_numpy(features.copy()), partial)
    return file
