"""What is true of a slice: the stored reconstruction, or that of all its samples."""

from collections.abc import Sequence

import numpy as np

from medssm.data.kspace.volume import KspaceVolume


def centre_crop(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """The centre (h, w) of the last two axes."""
    top, left = (
        have // 2 - want // 2 for have, want in zip(image.shape[-2:], size[-2:], strict=True)
    )
    return image[..., top : top + size[-2], left : left + size[-1]]


def reference_of(volume: KspaceVolume, index: int) -> np.ndarray | None:
    """The true magnitude of a slice, cropped as the header says; None of undersampled data.

    A stored reconstruction is taken as it is, or its centre where k-space has fewer columns than
    the header's size (fastMRI compares the common centre). Else it is the root-sum-of-squares over
    the coils of all samples.

    Shape:
        result: (h, w) float32.
    """
    stored = volume.reference(index)
    if stored is not None:
        common = [min(pair) for pair in zip(stored.shape, volume.image_size, strict=True)]
        return centre_crop(stored, common if volume.shape[3] < stored.shape[1] else stored.shape)
    if volume.mask is not None:
        return None
    return centre_crop(coil_rss(volume.read(index), volume.centred), volume.image_size)


def zero_filled_of(volume: KspaceVolume, index: int, mask: np.ndarray) -> np.ndarray:
    """The root-sum-of-squares of the samples in a mask, (h, w) float32, cropped."""
    kspace = np.where(mask, volume.read(index), 0)
    return centre_crop(coil_rss(kspace, volume.centred), volume.image_size)


def coil_rss(kspace: np.ndarray, centred: bool) -> np.ndarray:
    """Root-sum-of-squares image of k-space (C, H, W), float32 (H, W)."""
    axes = (-2, -1)
    shifted = np.fft.ifftshift(kspace, axes=axes) if centred else kspace
    images = np.fft.ifft2(shifted, norm="ortho")
    found = np.sqrt((np.abs(images) ** 2).sum(axis=0))
    # phases aside, a centred image is the plain one rolled by half its size
    return (np.fft.fftshift(found) if centred else found).astype(np.float32)
