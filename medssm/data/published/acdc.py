"""ACDC, cardiac cine MRI: patientNNN/patientNNN_frameNN.nii.gz beside its _gt.nii.gz."""

import shutil
from pathlib import Path

from medssm.core.errors import BadDataError
from medssm.core.files import atomic_path
from medssm.data.source import Source

_ENDINGS = (".nii.gz", ".nii")


def scan_acdc(source: Path, target: Path) -> Source:
    """Take the two labelled frames of each patient where they lie; a patient stays on one side.

    Args:
        source: Holds training/ (and testing/) with a folder a patient, at any depth.
        target: testing/ is copied here as imagesTs/ and labelsTs/, since its folders hold more
            than images.

    Raises:
        BadDataError: No frame has its _gt file.
    """
    training: dict[str, tuple[tuple[Path, ...], Path | None]] = {}
    testing: dict[str, tuple[tuple[Path, ...], Path]] = {}
    endings = set()
    for ending in _ENDINGS:
        for label in sorted(source.rglob(f"patient*_frame*_gt{ending}")):
            image = label.with_name(label.name.replace("_gt", ""))
            name = image.name.removesuffix(ending)
            if not image.is_file():
                raise BadDataError(f"{label}: its image {image.name} is missing; unpack it again.")
            held = any("test" in part.lower() for part in label.relative_to(source).parts[:-1])
            (testing if held else training)[name] = ((image,), label)
            endings.add(ending)
    if not training:
        raise BadDataError(
            f"{source}: no frame with its label. Expected training/patient001/"
            "patient001_frame01.nii.gz beside patient001_frame01_gt.nii.gz."
        )
    for name, ((image,), label) in testing.items():
        ending = ".nii.gz" if image.name.endswith(".gz") else ".nii"
        _copy(image, target / "imagesTs" / f"{name}_0000{ending}")
        _copy(label, target / "labelsTs" / f"{name}{ending}")
    return Source(
        {"0": "MRI"},
        {"background": 0, "right_ventricle": 1, "myocardium": 2, "left_ventricle": 3},
        ".nii.gz" if ".nii.gz" in endings else ".nii",
        {**training},
        {
            "source": str(source),
            "patients": {name: name.partition("_")[0] for name in training},
        },
    )


def _copy(file: Path, place: Path) -> None:
    with atomic_path(place) as partial:
        shutil.copyfile(file, partial)
