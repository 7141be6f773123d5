"""What a pre-trained model can be applied to: volumes of the store, or image files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import sha256
from medssm.data.readers import ending_of, reader_of
from medssm.fields.pretraining.canonical import Frame, resample, to_canonical
from medssm.fields.pretraining.model_folder import PretrainedModel
from medssm.fields.pretraining.quality import looks_like_hu
from medssm.fields.pretraining.store import open_store
from medssm.runs.workspace import open_workspace

CasesName = Literal["validation", "train", "all"]
_PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True)
class InputVolume:
    """One volume to look at.

    Args:
        name: Of its outputs.
        source: Where it comes from.
        key: Changes where its content changes.
        read: Gives the voxels in 0..1 and the affine to RAS in mm.
    """

    name: str
    source: str
    key: str
    read: Callable[[], tuple[np.ndarray, np.ndarray]]


def stored_volumes(model: PretrainedModel, home: Path, cases: CasesName) -> list[InputVolume]:
    """The volumes of the data set that the model learned from.

    Raises:
        BadDataError: The store is gone, or holds another archive now.
    """
    store = open_store(open_workspace(model.content["dataset"], home))
    if store.corpus_hash != model.content["corpus_hash"]:
        raise BadDataError(
            f"{store.folder}: holds other volumes or another split than {model.folder} learned "
            "from. Train again, or put the archive back as it was."
        )
    split = {"validation": "val", "train": "train", "all": None}[cases]
    window = tuple(model.content["window_hu"])

    def reader(name: str) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
        def read() -> tuple[np.ndarray, np.ndarray]:
            facts = store.volumes[name]
            voxels = store.windowed(name, (0, 0, 0), facts.shape, window)
            return voxels, np.diag([*facts.spacing_mm, 1.0])

        return read

    return [
        InputVolume(name, f"store:{name}", f"{store.corpus_hash}:{name}", reader(name))
        for name in store.ids(split)
    ]


def image_files(model: PretrainedModel, source: Path) -> list[InputVolume]:
    """Image files, or all of a folder.

    Raises:
        UsageError: There is none.
    """
    files = [source] if source.is_file() else sorted(_images(source))
    if not files:
        raise UsageError(f"{source}: no image file found; expected e.g. .nii.gz, .mha or .nrrd.")
    window, spacing = tuple(model.content["window_hu"]), model.content.get("spacing_mm")

    def reader(file: Path) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
        return lambda: _read(file, (float(window[0]), float(window[1])), spacing)

    return [
        InputVolume(_stem(file), str(file.absolute()), sha256(file), reader(file)) for file in files
    ]


def _images(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such file or folder.")
    for file in folder.iterdir():
        if file.is_file() and not file.name.startswith(".") and ending_of(file) is not None:
            yield file


def _stem(file: Path) -> str:
    ending = ending_of(file)
    return file.name[: -len(ending)] if ending else file.stem


def _read(
    file: Path, window_hu: tuple[float, float], spacing_mm: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Voxels in 0..1 on the axes that training saw, windowed as there.

    Raises:
        BadDataError: The file is damaged or no volume.
    """
    reader = reader_of(file)
    affine: Any = reader.header(file).affine
    voxels = reader.array(file)
    if affine is None or voxels.ndim != 3:
        raise BadDataError(
            f"{file}: found shape {voxels.shape}, expected a volume with three axes and a place "
            "in the patient."
        )
    frame = to_canonical(Frame(voxels.astype(np.float32), np.asarray(affine, dtype=float)))
    is_hu = looks_like_hu(frame.voxels)
    if spacing_mm is not None:
        frame = resample(frame, spacing_mm)
    low, high = window_hu if is_hu else np.percentile(frame.voxels, _PERCENTILES)
    scaled = (frame.voxels - low) / max(float(high - low), 1e-6)
    return np.clip(scaled, 0, 1).astype(np.float32), frame.affine
