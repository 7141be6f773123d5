"""The Medical Segmentation Decathlon layout; 4D images are split into channels."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from medssm.core.errors import BadDataError
from medssm.core.files import atomic_path, read_json
from medssm.core.log import Progress, say, warn
from medssm.data.readers.nifti import NiftiReader
from medssm.data.source import Source

_ENDING = ".nii.gz"


def scan_msd(source: Path, target: Path) -> Source:
    """Read a Decathlon dataset.json.

    Args:
        source: The task's folder, e.g. Task04_Hippocampus.
        target: Where the channels of 4D images go; 3D images stay where they are.

    Raises:
        BadDataError: No such dataset.json, or a listed file is missing.
    """
    file = source / "dataset.json"
    content = read_json(file)
    training = content.get("training") if isinstance(content, dict) else None
    if not isinstance(training, list) or not training:
        raise BadDataError(
            f'{file}: "training" is missing or empty. Expected the Decathlon format.'
        )
    pairs = [_pair(entry, source, file) for entry in training]
    counts = {image: _count(image) for image, _ in pairs}
    channels = _channels(content, file, counts.values())
    labels = _labels(content, file)
    for image, count in counts.items():
        _check_count(image, count, channels, file)
    cases: dict[str, tuple[tuple[Path, ...], Path | None]] = {}
    several = len(channels) > 1
    bar = Progress(len(pairs), "split channels") if several else None
    if several:
        say("The images hold %d channels in one file; each becomes a file of its own.",
            len(channels))  # fmt: skip
    for image, label in pairs:
        name = image.name.removesuffix(_ENDING).removesuffix(".nii")
        images = _split(image, name, len(channels), target / "imagesTr") if several else (image,)
        cases[name] = (images, label)
        if bar:
            bar.step(name)
    kept = ("name", "description", "reference", "licence", "release")
    return Source(
        channels, labels, _ENDING, cases,
        {key: content[key] for key in kept if key in content} | {"source": str(source)},
    )  # fmt: skip


def _channels(content: dict[str, Any], file: Path, counts: Iterable[int | None]) -> dict[str, str]:
    declared = content.get("modality")
    if declared is None:
        known = next((count for count in counts if count is not None), 1)
        declared = {str(channel): f"channel_{channel}" for channel in range(known)}
    if not isinstance(declared, dict) or not declared:
        raise BadDataError(f'{file}: expected modality as {{"0": "MRI", ...}}; correct it there.')
    return {str(key): str(value) for key, value in declared.items()}


def _count(image: Path) -> int | None:
    """Channels of an image by its fourth axis; None where the file cannot say."""
    try:
        shape = NiftiReader().header(image).shape
    except (BadDataError, OSError):
        # the integrity check names the file and its remedy; the other cases are imported
        return None
    return shape[3] if len(shape) > 3 else 1


def _check_count(image: Path, count: int | None, channels: dict[str, str], file: Path) -> None:
    if count is None or count == len(channels):
        return
    names = ", ".join(channels.values())
    raise BadDataError(
        f"{image}: {count} channels along its fourth axis, but {file} names {len(channels)} "
        f"under modality ({names}). Correct modality there, or leave the image out of training."
    )


def _pair(entry: Any, source: Path, file: Path) -> tuple[Path, Path]:
    if not isinstance(entry, dict) or not {"image", "label"} <= entry.keys():
        raise BadDataError(
            f'{file}: "training" lists {entry!r}. Expected {{"image": path, "label": path}}; '
            "add the label, or take the entry out."
        )
    image, label = (source / str(entry[key]).removeprefix("./") for key in ("image", "label"))
    return image, label


def _labels(content: dict[str, Any], file: Path) -> dict[str, int]:
    declared = content.get("labels")
    if not isinstance(declared, dict) or "0" not in declared:
        raise BadDataError(f'{file}: expected labels as {{"0": "background", "1": ...}}.')
    wrong = [value for value in declared if not str(value).isdecimal()]
    if wrong:
        raise BadDataError(f"{file}: label {wrong[0]!r} is no number; correct it there.")
    names = {"background": 0}
    for value, name in sorted(declared.items(), key=lambda each: int(each[0])):
        if int(value):
            names[str(name)] = int(value)
    return names


def _split(image: Path, name: str, channels: int, folder: Path) -> tuple[Path, ...]:
    paths = tuple(folder / f"{name}_{channel:04d}{_ENDING}" for channel in range(channels))
    if all(path.is_file() for path in paths) or not image.is_file():
        return paths
    try:
        volume = nibabel.load(image)
        voxels = np.asarray(volume.dataobj)
    except Exception as error:
        # the integrity check names the file and its remedy; the other cases are imported
        warn("%s: cannot be split into channels (%s).", image, error)
        return (image,)
    for channel, path in enumerate(paths):
        with atomic_path(path) as partial:
            nibabel.save(nibabel.Nifti1Image(voxels[..., channel], volume.affine), partial)
    return paths
