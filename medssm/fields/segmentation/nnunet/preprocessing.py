"""One case through nnU-Net's own preprocessing into its blosc2 store, each file whole or absent."""

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from medssm.core.files import TEMPORARY_MARK, sha256, sync_folder
from medssm.fields.segmentation.plan_file import Plan

# the properties come last: stock nnU-Net and we both take a case without them as absent
_ENDINGS = ("_seg.b2nd", ".b2nd", ".pkl")


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
    patch = plan.patch_size
    blocks, chunks = comp_blosc2_params(image.shape, patch, image.itemsize)
    seg_blocks, seg_chunks = comp_blosc2_params(segmentation.shape, patch, segmentation.itemsize)
    partial = folder / f"{TEMPORARY_MARK}{secrets.token_hex(4)}-{name}"
    try:
        nnUNetDatasetBlosc2.save_case(
            image,
            segmentation,
            properties,
            str(partial),
            chunks=chunks,
            blocks=blocks,
            chunks_seg=seg_chunks,
            blocks_seg=seg_blocks,
        )
        for ending in _ENDINGS:
            partial.with_name(partial.name + ending).replace(folder / (name + ending))
        sync_folder(folder)
    finally:
        for ending in _ENDINGS:
            partial.with_name(partial.name + ending).unlink(missing_ok=True)


def stored_files(name: str, folder: Path) -> list[Path]:
    """The files of a case in the store."""
    return [folder / (name + ending) for ending in _ENDINGS]


def hashes(name: str, folder: Path) -> Mapping[str, str]:
    """sha256 of a case's files in the store."""
    return {file.name: sha256(file) for file in stored_files(name, folder)}
