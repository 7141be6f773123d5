"""A volume on the grid of another one of the same frame of reference."""

import numpy as np
from scipy import ndimage

from medssm.data.dicom.volumes import StackVolume

_SAME_MM = 1e-3


def on_grid_of(volume: StackVolume, grid: StackVolume) -> StackVolume:
    """Interpolate a volume linearly where the voxels of another one are; the same if they agree.

    Outside of the volume its least value counts, which is air.

    Args:
        volume: What is interpolated.
        grid: Whose shape and affine the result has.
    """
    same = volume.voxels.shape == grid.voxels.shape
    if same and np.abs(volume.affine - grid.affine).max() < _SAME_MM:
        return volume
    way = np.linalg.inv(volume.affine) @ grid.affine
    voxels = ndimage.affine_transform(
        volume.voxels,
        way[:3, :3],
        way[:3, 3],
        output_shape=grid.voxels.shape,
        order=1,
        cval=float(volume.voxels.min()),
    )
    return StackVolume(voxels.astype(np.float32), grid.affine, volume.flags)
