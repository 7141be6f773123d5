"""What a pre-trained model can be applied to: volumes of the store, or image files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import sha256
from medssm.fields.pretraining.model_folder import PretrainedModel
from medssm.fields.pretraining.store import open_store
from medssm.fields.pretraining.volume_input import images_in, name_of, read_scaled
from medssm.runs.workspace import open_workspace

CasesName = Literal["validation", "train", "all"]


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
    files = [source] if source.is_file() else sorted(images_in(source))
    if not files:
        raise UsageError(f"{source}: no image file found; expected e.g. .nii.gz, .mha or .nrrd.")
    window, spacing = tuple(model.content["window_hu"]), model.content.get("spacing_mm")

    def reader(file: Path) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
        return lambda: read_scaled(file, (float(window[0]), float(window[1])), spacing)

    return [
        InputVolume(name_of(file), str(file.absolute()), sha256(file), reader(file))
        for file in files
    ]
