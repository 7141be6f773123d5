"""The Medical Segmentation Decathlon layout; 4D images are split into channels."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from medssm.core.errors import BadDataError
from medssm.core.files import atomic_path, read_json
from medssm.core.log import Progress, say
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
    channels = {str(key): str(value) for key, value in content.get("modality", {}).items()}
    channels = channels or {"0": "channel_0"}
    labels = _labels(content, file)
    cases: dict[str, tuple[tuple[Path, ...], Path | None]] = {}
    several = len(channels) > 1
    bar = Progress(len(training), "split channels") if several else None
    if several:
        say("The images hold %d channels in one file; each becomes a file of its own.",
            len(channels))  # fmt: skip
    for entry in training:
        image, label = (source / str(entry[key]).removeprefix("./") for key in ("image", "label"))
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


def _labels(content: dict[str, Any], file: Path) -> dict[str, int]:
    declared = content.get("labels")
    if not isinstance(declared, dict) or "0" not in declared:
        raise BadDataError(f'{file}: expected labels as {{"0": "background", "1": ...}}.')
    names = {"background": 0}
    for value, name in sorted(declared.items(), key=lambda each: int(each[0])):
        if int(value):
            names[str(name)] = int(value)
    return names


def _split(image: Path, name: str, channels: int, folder: Path) -> tuple[Path, ...]:
    paths = tuple(folder / f"{name}_{channel:04d}{_ENDING}" for channel in range(channels))
    if all(path.is_file() for path in paths) or not image.is_file():
        return paths
    volume = nibabel.load(image)
    if len(volume.shape) != 4 or volume.shape[3] != channels:
        raise BadDataError(
            f"{image}: shape {volume.shape}. Expected {channels} channels along the fourth axis."
        )
    for channel, path in enumerate(paths):
        voxels = np.asarray(volume.dataobj[..., channel])
        with atomic_path(path) as partial:
            nibabel.save(nibabel.Nifti1Image(voxels, volume.affine), partial)
    return paths
