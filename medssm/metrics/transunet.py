"""Dice and HD95 as papers on Synapse and ACDC count them, after TransUNet: only to compare with."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medssm.metrics.masks import Mask, MaskPair, Metric

_RULE = (
    "A prediction where the reference is empty counts 1 and 0 voxels, an empty prediction 0 and 0 "
    "voxels, whether or not there is a reference."
)


def transunet_dice(pair: MaskPair) -> float:
    """Dice, except that a false organ counts 1 and that two empty masks count 0.

    Source:
        Chen et al., "TransUNet", 2021, evaluation; taken over by VM-UNet and MSVM-UNet.
    """
    if pair.verdict == "present":
        total = pair.reference_voxels + pair.predicted_voxels
        return 2 * pair.true_positive / total
    return 1.0 if pair.verdict == "false" else 0.0


def transunet_hd95(pair: MaskPair) -> float:
    """95th percentile of the distances of both borders together, blind to the voxels' size.

    Units:
        Voxels, even where a voxel is no cube; a missed organ counts 0.

    Source:
        As `transunet_dice`, with the definition of the package medpy (hd95).
    """
    if pair.verdict != "present":
        return 0.0
    reference, prediction = _border(pair.reference), _border(pair.prediction)
    distances = np.concatenate(
        [_distances(prediction, reference), _distances(reference, prediction)]
    )
    return float(np.percentile(distances, 95))


def _border(mask: Mask) -> Mask:
    """Voxels of a mask that have a face outside of it; beyond the image is outside."""
    border: Mask = mask & ~ndimage.binary_erosion(mask)
    return border


def _distances(start: Mask, end: Mask) -> NDArray[np.float64]:
    """From each voxel of one border to the nearest voxel of the other."""
    distances: NDArray[np.float64] = ndimage.distance_transform_edt(~end)[start]
    return distances


TRANSUNET_DICE = Metric(
    key="TransUNet_Dice",
    title="Dice as TransUNet",
    unit="",
    better="higher",
    definition=f"Dice of the whole volume with TransUNet's rules. {_RULE}",
    value=transunet_dice,
    convention="synapse",
)
TRANSUNET_HD95 = Metric(
    key="TransUNet_HD95_voxels",
    title="HD95 as TransUNet",
    unit="voxels",
    better="lower",
    definition=(
        "95th percentile of the distances of all border voxels of both masks to the other border "
        f"(medpy's hd95), in voxels although tables of the papers say mm. {_RULE}"
    ),
    value=transunet_hd95,
    convention="synapse",
)
