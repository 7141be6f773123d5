"""ISIC 2017 and 2018, lesion boundaries: ISIC_*.jpg beside ISIC_*_segmentation.png."""

from pathlib import Path

from medssm.core.errors import BadDataError
from medssm.core.files import write_json
from medssm.data.published.pictures import Cases, Pair, convert, pictures_below
from medssm.data.source import Source

_PICTURES = (".jpg", ".jpeg", ".png")
_MASK = "_segmentation"
# nnU-Net's word for dividing by 255
_RANGE = "rgb_to_0_1"


def scan_isic(source: Path, target: Path, size: int | None = None) -> Source:
    """Convert the pictures of the challenge, or the copy that VM-UNet's authors hand out.

    Folders whose names hold "val" are held back as the one fold, those with "test" become
    imagesTs/ and labelsTs/; without either the folds are nnU-Net's.

    Args:
        source: Holds the unpacked folders of pictures and masks, at any depth.
        target: The data set's folder under the home folder.
        size: Edge of the squares that are written; the papers take 256.

    Raises:
        BadDataError: No mask has a picture, or a file is damaged.
    """
    parts = {part: _pairs(source, part) for part in ("train", "val", "test")}
    if not parts["train"]:
        raise BadDataError(
            f"{source}: no ISIC_*.jpg with its ISIC_*_segmentation.png in a folder for training. "
            "Expected e.g. ISIC2018_Task1-2_Training_Input/ and its _GroundTruth/."
        )
    twice = sorted(set(parts["train"]) & set(parts["val"]))
    if twice:
        raise BadDataError(f"{source}: {', '.join(twice[:5])} is for training and for validation.")
    cases: Cases = convert({**parts["train"], **parts["val"]}, target, "Tr", size)
    convert(parts["test"], target, "Ts", size)
    if parts["val"]:
        fold = {part: sorted(parts[part]) for part in ("train", "val")}
        write_json(target / "splits_final.json", [fold])
    return Source(
        {str(index): _RANGE for index in range(3)},
        {"background": 0, "lesion": 1},
        ".png",
        cases,
        {"source": str(source)},
        () if parts["val"] else ("no folder for validation was found; folds are drawn by chance.",),
    )


def _pairs(source: Path, part: str) -> dict[str, Pair]:
    found = pictures_below(source, _PICTURES, lambda file: _part(file, source) == part)
    # the challenge writes _segmentation in its files and _Segmentation on its page
    masks = {name[: -len(_MASK)]: file for name, file in found.items() if _is_mask(name)}
    # superpixels and attributes of other tasks have no mask and stay behind
    return {
        name: Pair(picture, (masks[name],))
        for name, picture in found.items()
        if name in masks and not _is_mask(name)
    }


def _is_mask(name: str) -> bool:
    return name.lower().endswith(_MASK)


def _part(file: Path, source: Path) -> str:
    folders = "/".join(file.relative_to(source).parts[:-1]).lower()
    return "test" if "test" in folders else "val" if "val" in folders else "train"
