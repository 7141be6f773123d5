"""Pictures of many sizes and formats become PNG of one form: grey or colour, masks of 0 and 1."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
from scipy import ndimage

from medssm.core.errors import BadDataError
from medssm.core.files import atomic_path
from medssm.core.log import Progress
from medssm.data.readers.picture_end import check_end

_WORKERS = 4
_BRIGHT = 127


@dataclass(frozen=True)
class Pair:
    """A picture and the masks whose union is its label.

    Args:
        picture: JPEG, PNG, BMP or TIFF, grey or in colour.
        masks: Bright where the structure is; none where there is no label.
    """

    picture: Path
    masks: tuple[Path, ...] = ()


Cases = dict[str, tuple[tuple[Path, ...], Path | None]]


def convert(pairs: Mapping[str, Pair], target: Path, part: str, size: int | None) -> Cases:
    """Write pictures in colour and label maps as PNG.

    Args:
        pairs: Case to picture and masks.
        target: imagesPART/ and labelsPART/ are made here.
        part: "Tr" or "Ts".
        size: Edge of a square to resize to (bilinear, masks cut at one half); None keeps sizes.

    Raises:
        BadDataError: A file is damaged, a mask is no mask, or sizes of a pair differ.
    """
    bar = Progress(len(pairs), "convert pictures")

    def one(item: tuple[str, Pair]) -> tuple[str, tuple[tuple[Path, ...], Path | None]]:
        name, pair = item
        pixels = _colours(read_picture(pair.picture), pair.picture)
        image = target / f"images{part}" / f"{name}_0000.png"
        label = None
        if pair.masks:
            union = np.logical_or.reduce([_mask(file, pixels.shape[:2]) for file in pair.masks])
            label = target / f"labels{part}" / f"{name}.png"
            _write(label, (_resized(union.astype(np.float32), size) >= 0.5).astype(np.uint8))
        _write(image, np.rint(_resized(pixels.astype(np.float32), size)).astype(np.uint8))
        bar.step(name)
        return name, ((image,), label)

    with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
        return dict(pool.map(one, sorted(pairs.items())))


def read_picture(file: Path) -> np.ndarray:
    """All pixels, (Y, X) or (Y, X, colours).

    Raises:
        BadDataError: The file is cut off or no picture.
    """
    try:
        check_end(file)
        return np.asarray(imageio.imread(file))
    except BadDataError:
        raise
    except Exception as error:
        raise BadDataError(
            f"{file}: not a readable picture ({error}); download it again."
        ) from error


def pictures_below(
    source: Path, endings: Sequence[str], wanted: Callable[[Path], bool]
) -> dict[str, Path]:
    """Pictures of a folder and all below it by name, in the order of their paths."""
    found: dict[str, Path] = {}
    for path in sorted(source.rglob("*")):
        plain = not path.name.startswith(".") and path.suffix.lower() in endings
        if plain and wanted(path) and path.is_file():
            if path.stem in found:
                raise BadDataError(
                    f"{path}: the name is there twice, the other is {found[path.stem]}. Expected "
                    "every picture once; import one copy of the data set."
                )
            found[path.stem] = path
    return found


def _colours(pixels: np.ndarray, file: Path) -> np.ndarray:
    """Three colours of 8 bits; a grey picture has three equal ones."""
    if pixels.dtype == np.uint16:
        # the full range of the file, as X-ray pictures of 12 bits use it
        pixels = (pixels.astype(np.float32) * (255 / max(1, int(pixels.max())))).astype(np.uint8)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise BadDataError(
            f"{file}: {pixels.dtype} of shape {pixels.shape}. Expected a grey or colour picture of "
            "8 or 16 bits."
        )
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    return pixels[..., :3] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, axis=2)


def _mask(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    pixels = read_picture(file)
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8)
    if pixels.ndim == 3:
        colours = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1]
        if np.any(colours != colours[..., :1]):
            raise BadDataError(f"{file}: a picture in colour. Expected a mask, black and white.")
        pixels = colours[..., 0]
    if pixels.shape != shape:
        raise BadDataError(
            f"{file}: {pixels.shape[1]} x {pixels.shape[0]} pixels. Expected "
            f"{shape[1]} x {shape[0]}, as its picture; download both again."
        )
    values = np.unique(pixels)
    if values.max(initial=0) <= 1:
        return pixels == 1
    grey = np.mean((pixels > _BRIGHT // 2) & (pixels < 255 - _BRIGHT // 2))
    if grey > 0.05:
        raise BadDataError(
            f"{file}: {len(values)} values, {grey:.0%} of the pixels neither dark nor bright. "
            "Expected a mask of 0 and 255."
        )
    return pixels > _BRIGHT


def _resized(pixels: np.ndarray, size: int | None) -> np.ndarray:
    if size is None:
        return pixels
    zoom = [size / pixels.shape[0], size / pixels.shape[1], *[1.0] * (pixels.ndim - 2)]
    return ndimage.zoom(pixels, zoom, order=1, mode="nearest", grid_mode=True)


def _write(file: Path, pixels: np.ndarray) -> None:
    with atomic_path(file) as partial:
        imageio.imwrite(partial, pixels, extension=".png")
