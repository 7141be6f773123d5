"""Whether an archive is one of CT, which leaves everything else out, or of anything."""

from collections.abc import Sequence
from pathlib import Path

from medssm.core.errors import BadDataError
from medssm.data.pseudonyms import Pseudonyms
from medssm.fields.pretraining.archive_config import ArchiveConfig
from medssm.fields.pretraining.catalogue import FileRow
from medssm.fields.pretraining.image_files import NotAVolumeError
from medssm.fields.pretraining.prepare import canonical_volume
from medssm.fields.pretraining.selection import select

# image files whose voxels are looked at, spread over all of them
_SAMPLE = 8


def decide_modality(
    source: Path, rows: Sequence[FileRow], config: ArchiveConfig, pseudonyms: Pseudonyms
) -> str:
    """Say "CT" or "any", as the user said or as the archive is.

    DICOM names its modality. Of image files some are read: HU have air near -1000.

    Args:
        source: The archive's folder.
        rows: Of the scan.
        config: What the user said.
        pseudonyms: For the selection.
    """
    if config.modality != "auto":
        return config.modality
    if select([row for row in rows if row.kind == "dicom"], config, "CT", pseudonyms).volumes:
        return "CT"
    images = [row for row in rows if row.kind in ("nifti", "itk") and not row.reason]
    volumes = sorted(
        select(images, config, None, pseudonyms).volumes,
        key=lambda each: each.place.name if each.place else "",
    )
    step = max(1, len(volumes) // _SAMPLE)
    for spec in volumes[::step][:_SAMPLE]:
        try:
            if canonical_volume(spec, source, "any").scaling.kind == "hu":
                return "CT"
        except (NotAVolumeError, BadDataError):
            continue
    return "any"
