"""LiTS, liver tumours: volume-N.nii beside segmentation-N.nii, in any folders."""

import re
from pathlib import Path

from medssm.core.errors import BadDataError
from medssm.data.source import Source

_FILE = re.compile(r"^(volume|segmentation)-(\d+)(\.nii(?:\.gz)?)$")


def scan_lits(source: Path, target: Path) -> Source:
    """Pair volumes with segmentations by their number, where they lie.

    Args:
        source: Holds the unpacked batches at any depth.
        target: Nothing is written there: no file has to be changed.

    Raises:
        BadDataError: No pair, or a number is there twice.
    """
    found: dict[str, dict[int, Path]] = {"volume": {}, "segmentation": {}}
    endings: dict[str, int] = {}
    for path in sorted(source.rglob("*.nii*")):
        match = _FILE.match(path.name)
        # a package that unpacks a file into a folder of the same name is common
        if match is None or not path.is_file() or target in path.parents:
            continue
        kind, number = found[match[1]], int(match[2])
        if number in kind:
            raise BadDataError(f"{path}: there is another one, {kind[number]}; keep one copy.")
        kind[number] = path
        endings[match[3]] = endings.get(match[3], 0) + 1
    volumes, labels = found["volume"], found["segmentation"]
    if not set(volumes) & set(labels):
        raise BadDataError(
            f"{source}: no volume-N.nii with its segmentation-N.nii. Expected the training batches "
            "of LiTS, unpacked."
        )
    bare = sorted(set(volumes) - set(labels))
    return Source(
        {"0": "CT"},
        {"background": 0, "liver": 1, "tumour": 2},
        max(endings, key=lambda ending: endings[ending]),
        {
            f"liver_{number:03d}": ((volumes[number],), labels[number])
            for number in sorted(set(volumes) & set(labels))
        },
        {"source": str(source)},
        (f"{len(bare)} volumes have no segmentation and are passed over.",) if bare else (),
    )
