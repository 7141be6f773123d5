"""Montgomery and Shenzhen chest X-rays: left and right lung masks are one label, their union."""

from pathlib import Path

from medssm.core.errors import BadDataError
from medssm.data.published.pictures import Pair, convert, pictures_below
from medssm.data.source import Source

_PNG = (".png",)


def scan_lungs(source: Path, target: Path, size: int | None = None) -> Source:
    """Convert the pictures that have masks; those without (some of Shenzhen) are passed over.

    Args:
        source: Holds MontgomerySet/ (CXR_png, ManualMask/leftMask, ManualMask/rightMask) or the
            Shenzhen set (CXR_png with CHNCXR_*.png, and CHNCXR_*_mask.png), or both, at any depth.
        target: The data set's folder under the home folder.
        size: Edge of the squares that are written.

    Raises:
        BadDataError: No picture has a mask, a lung is missing, or a file is damaged.
    """
    pictures = pictures_below(source, _PNG, lambda file: not _is_mask(file))
    sides = [
        pictures_below(source, _PNG, lambda file, side=side: file.parent.name.lower() == side)  # type: ignore[misc]
        for side in ("leftmask", "rightmask")
    ]
    whole = pictures_below(source, _PNG, lambda file: file.stem.endswith("_mask"))
    pairs, bare = {}, []
    for name, picture in pictures.items():
        halves = [found[name] for found in sides if name in found]
        if len(halves) == 1:
            raise BadDataError(
                f"{halves[0]}: the mask of the other lung is missing. Expected {name}.png in "
                "ManualMask/leftMask and in ManualMask/rightMask; unpack the archive again."
            )
        masks = tuple(halves) or ((whole[f"{name}_mask"],) if f"{name}_mask" in whole else ())
        if masks:
            pairs[name] = Pair(picture, masks)
        else:
            bare.append(name)
    if not pairs:
        raise BadDataError(
            f"{source}: no chest X-ray with a mask. Expected MontgomerySet/CXR_png/ with "
            "ManualMask/leftMask/ and rightMask/, or CHNCXR_*.png with CHNCXR_*_mask.png."
        )
    notes = (f"{len(bare)} pictures have no mask and are passed over.",) if bare else ()
    return Source(
        dict(zip("012", "RGB", strict=True)),
        {"background": 0, "lung": 1},
        ".png",
        convert(pairs, target, "Tr", size),
        {"source": str(source)},
        notes,
    )


def _is_mask(file: Path) -> bool:
    return file.stem.endswith("_mask") or file.parent.name.lower().endswith("mask")
