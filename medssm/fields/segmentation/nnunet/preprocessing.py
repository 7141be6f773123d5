"""One case through nnU-Net's own preprocessing into its blosc2 store, each file whole or absent."""

import os
import pickle
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from medssm.core.files import TEMPORARY_MARK, sha256, sync_folder
from medssm.fields.segmentation.plan_file import Plan

# the properties come last: stock nnU-Net and we both take a case without them as absent
_ENDINGS = ("_seg.b2nd", ".b2nd", ".pkl")

_SETTINGS = {"codec": blosc2.Codec.LZ4HC, "clevel": 5, "nthreads": 1}


def run_case(
    images: Sequence[Path], label: Path | None, plan: Plan
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Crop, normalise and resample one case.

    Args:
        images: One file a channel.
        label: The label map, or None for an image to predict.
        plan: The plan.

    Returns:
        Image (C, *S) float32, label (1, *S), and what leads back to the image's own grid.
    """
    manager = PlansManager(dict(plan.plans))
    image, segmentation, properties = DefaultPreprocessor(verbose=False).run_case(
        [str(file) for file in images],
        str(label) if label else None,
        manager,
        manager.get_configuration(plan.configuration),
        dict(plan.dataset),
    )
    return image.astype(np.float32, copy=False), segmentation, properties


def store_case(name: str, images: Sequence[Path], label: Path, plan: Plan, folder: Path) -> None:
    """Preprocess a case and put its three files into the store under their final names.

    Args:
        name: The case.
        images: One file a channel.
        label: The label map.
        plan: The plan.
        folder: The store.
    """
    image, segmentation, properties = run_case(images, label, plan)
    segmentation = segmentation.astype(np.int16, copy=False)
    partial = folder / f"{TEMPORARY_MARK}{secrets.token_hex(4)}-{name}"
    try:
        for ending, array in (("_seg.b2nd", segmentation), (".b2nd", image)):
            _write_array(array, partial.with_name(partial.name + ending), plan.patch_size)
        with partial.with_name(f"{partial.name}.pkl").open("wb") as stream:
            pickle.dump(properties, stream)
        for ending in _ENDINGS:
            _sync(partial.with_name(partial.name + ending))
        for ending in _ENDINGS:
            partial.with_name(partial.name + ending).replace(folder / (name + ending))
        sync_folder(folder)
    finally:
        for ending in _ENDINGS:
            partial.with_name(partial.name + ending).unlink(missing_ok=True)


def _write_array(array: np.ndarray, file: Path, patch: Sequence[int]) -> None:
    """Stock nnU-Net's format, and the same bytes every time.

    Stock compresses a chunk's blocks in several threads and stores them in the order in which
    they are done.
    """
    blocks, chunks = comp_blosc2_params(array.shape, patch, array.itemsize)
    blosc2.set_nthreads(1)
    blosc2.asarray(
        np.ascontiguousarray(array),
        urlpath=str(file),
        chunks=chunks,
        blocks=blocks,
        cparams=_SETTINGS | {"filters": [smaller_filter(array, blocks, chunks)]},
    )


def smaller_filter(
    array: np.ndarray, blocks: Sequence[int], chunks: Sequence[int]
) -> blosc2.Filter:
    """The filter that packs the middle chunk of an array better; nnU-Net's rule since 2.8.

    Shuffled bytes pack resampled intensities better, plain bytes those of few values.
    """
    size = [min(full, chunk) for full, chunk in zip(array.shape, chunks, strict=True)]
    middle = tuple(
        slice((full - each) // 2, (full - each) // 2 + each)
        for full, each in zip(array.shape, size, strict=True)
    )
    chunk = np.ascontiguousarray(array[middle])
    inner = [min(block, each) for block, each in zip(blocks, size, strict=True)]

    def packed(chosen: blosc2.Filter) -> int:
        trial = blosc2.asarray(
            chunk, chunks=size, blocks=inner, cparams=_SETTINGS | {"filters": [chosen]}
        )
        return int(trial.schunk.cbytes)

    return min((blosc2.Filter.NOFILTER, blosc2.Filter.SHUFFLE), key=packed)


def _sync(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def stored_files(name: str, folder: Path) -> list[Path]:
    """The files of a case in the store."""
    return [folder / (name + ending) for ending in _ENDINGS]


def hashes(name: str, folder: Path) -> Mapping[str, str]:
    """sha256 of a case's files in the store."""
    return {file.name: sha256(file) for file in stored_files(name, folder)}
