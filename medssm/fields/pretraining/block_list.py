"""Test cases of downstream tasks, known by their voxels, so that no pre-training sees them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medssm.core.errors import BadDataError
from medssm.core.files import digest, read_json, write_json
from medssm.core.log import say, warn
from medssm.data.listing import listing
from medssm.data.pseudonyms import Pseudonyms
from medssm.fields.pretraining.archive_config import ArchiveConfig
from medssm.fields.pretraining.catalogue import scan_file
from medssm.fields.pretraining.fingerprints import (
    near_any,
    pack_thumbnail,
    pixel_hash,
    unpack_thumbnail,
)
from medssm.fields.pretraining.image_files import NotAVolumeError
from medssm.fields.pretraining.prepare import canonical_volume, picture
from medssm.fields.pretraining.selection import select

FILE = "blocked.json"


@dataclass(frozen=True)
class BlockList:
    """What must not be learned from.

    Args:
        hashes: Of voxels in canonical orientation.
        thumbnails: 32³ bytes each.
    """

    hashes: frozenset[str]
    thumbnails: tuple[np.ndarray, ...]

    def holds(self, voxels_hash: str, thumbnail: np.ndarray) -> str:
        """Why a volume is blocked, or nothing."""
        if voxels_hash in self.hashes:
            return "the same voxels as a blocked case"
        return "nearly a blocked case" if near_any(thumbnail, self.thumbnails) else ""


def read_block_list(folder: Path, config: ArchiveConfig, pseudonyms: Pseudonyms) -> BlockList:
    """The block list of an archive, made where it is missing or stale.

    Args:
        folder: Where blocked.json is kept.
        config: `block` names images, folders of images, and block lists of others.
        pseudonyms: For the scan of images; none of it is kept.

    Raises:
        BadDataError: A named file is not there, or none of its images can be read.
    """
    if not config.block:
        return BlockList(frozenset(), ())
    places = [Path(each).expanduser().absolute() for each in config.block]
    for place in places:
        if not place.exists():
            raise BadDataError(f"{place}: archive.block names it, and it is not there.")
    key = digest([[str(each), _state(each)] for each in places])
    file = folder / FILE
    if file.is_file() and read_json(file).get("made_from") == key:
        return _opened([file])
    lists = [each for each in places if each.suffix == ".json"]
    known = _opened(lists)
    hashes, pictures = set(known.hashes), [pack_thumbnail(each) for each in known.thumbnails]
    for place in places:
        if place not in lists:
            for one, small in _of_images(place, config, pseudonyms):
                hashes.add(one)
                pictures.append(small)
    write_json(
        file, {"made_from": key, "hashes": sorted(hashes), "thumbnails": sorted(set(pictures))}
    )
    say("%d test cases are blocked.", len(hashes))
    return _opened([file])


def _state(place: Path) -> object:
    if place.is_dir():
        return listing(place)
    return [place.stat().st_size, place.stat().st_mtime_ns]


def _opened(files: Sequence[Path]) -> BlockList:
    hashes: set[str] = set()
    pictures: list[np.ndarray] = []
    for file in files:
        content = read_json(file)
        if not isinstance(content, dict) or not {"hashes", "thumbnails"} <= content.keys():
            raise BadDataError(f"{file}: no block list. Expected the keys hashes and thumbnails.")
        hashes |= set(content["hashes"])
        pictures += [unpack_thumbnail(each) for each in content["thumbnails"]]
    return BlockList(frozenset(hashes), tuple(pictures))


def _of_images(place: Path, config: ArchiveConfig, pseudonyms: Pseudonyms) -> list[tuple[str, str]]:
    """Hash and thumbnail of every volume in a folder or file."""
    source = place if place.is_dir() else place.parent
    paths = sorted(listing(place)) if place.is_dir() else [place.name]
    rows = [row for path in paths for row in scan_file(source, path, pseudonyms)]
    found: list[tuple[str, str]] = []
    for spec in select(rows, ArchiveConfig(tilt=config.tilt), None, pseudonyms).volumes:
        try:
            volume = canonical_volume(spec, source, "any")
        except NotAVolumeError:
            # label maps beside the images
            continue
        except BadDataError as error:
            warn("archive.block: %s", error)
            continue
        voxels = volume.frame.voxels
        small = pack_thumbnail(picture(voxels, volume.scaling.kind == "hu"))
        found.append((pixel_hash(voxels), small))
    if not found:
        raise BadDataError(f"{place}: archive.block names it, and no volume in it can be read.")
    return found
