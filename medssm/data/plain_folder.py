"""A plain folder: images/ beside labels/, paired by name."""

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import is_temporary
from medssm.data.readers import ending_of, reader_of
from medssm.data.source import Source

_PAIRS = (("images", "labels"), ("imagesTr", "labelsTr"))
_CHANNEL = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")
# a label map has few values; an intensity image among the labels would declare hundreds
_MOST_LABELS = 256
_LOOKED_AT = 40
_ENOUGH_TO_DOUBT = 3


def scan_folder(source: Path, labels: Sequence[str], channels: Sequence[str]) -> Source:
    """Pair images with labels.

    Args:
        source: Holds images/ and labels/ (or imagesTr/ and labelsTr/).
        labels: Names of the foreground values; empty reads label files and numbers them.
        channels: Names of the channels; empty calls them by their number.

    Raises:
        BadDataError: No such folders, or not one pair.
    """
    pair = next((p for p in _PAIRS if all((source / name).is_dir() for name in p)), None)
    if pair is None:
        raise BadDataError(f"{source}: expected images/ and labels/ (or imagesTr/ and labelsTr/).")
    image_files, strays = _files(source / pair[0])
    label_files, more = _files(source / pair[1])
    if not image_files:
        raise BadDataError(f"{source / pair[0]}: no image file in a format that is read here.")
    names = _case_names(image_files, set(label_files))
    # an image without a label stays in the list: the integrity check names it with its remedy
    cases = {
        name: (tuple(files[key] for key in sorted(files)), label_files.get(name))
        for name, files in names.items()
    }
    notes = [f"{file}: a stray file, passed over; move it away." for file in (*strays, *more)]
    notes += [
        f"{label_files[name]}: a label without an image, passed over; add its image, or move it "
        "away."
        for name in sorted(set(label_files) - set(names))
    ]
    notes += [
        f"{images[0]}: an image without a label; add the label, take the image away, or train "
        "with --skip-bad."
        for images, label in cases.values()
        if label is None
    ]
    if not any(label for _, label in cases.values()):
        raise BadDataError(
            f"{source}: no image has a label of the same name, e.g. "
            f"{next(iter(names))} in {pair[0]}/ and {next(iter(label_files), 'nothing')} in "
            f"{pair[1]}/. Name them alike."
        )
    count = Counter(len(files) for files in names.values()).most_common(1)[0][0]
    count = _channels(list(names.values()), count)
    if channels and len(channels) != count:
        raise UsageError(f"{len(channels)} channel names for images of {count} channels.")
    endings = Counter(ending_of(f) for files in names.values() for f in files.values())
    return Source(
        channels={str(i): channels[i] if channels else f"channel_{i}" for i in range(count)},
        labels=_label_names(cases, labels),
        file_ending=endings.most_common(1)[0][0] or "",
        cases=cases,
        extra={"source": str(source)},
        notes=tuple(notes),
    )


def _channels(cases: Sequence[dict[int, Path]], files: int) -> int:
    """How many channels a case has: one a file, or the colours of a picture."""
    found: Counter[int] = Counter()
    for case in cases[:: max(1, len(cases) // _LOOKED_AT)]:
        if len(case) != files:
            continue
        with suppress(BadDataError):
            found[sum(reader_of(file).header(file).channels for file in case.values())] += 1
    # where no file can be read, the integrity check says so
    return found.most_common(1)[0][0] if found else files


def _files(folder: Path) -> tuple[dict[str, Path], list[Path]]:
    found: dict[str, Path] = {}
    strays = []
    for path in sorted(folder.iterdir()):
        if path.is_dir() or is_temporary(path):
            continue
        ending = ending_of(path)
        if ending is None or path.name.startswith("."):
            strays.append(path)
        else:
            found[path.name[: -len(ending)]] = path
    return found, strays


def _case_names(images: dict[str, Path], labels: set[str]) -> dict[str, dict[int, Path]]:
    cases: dict[str, dict[int, Path]] = {}
    for stem, path in images.items():
        match = _CHANNEL.match(stem)
        # "patient_0001" is a case of that name, unless its label says that 0001 is a channel
        channel = (
            match is not None
            and stem not in labels
            and (match["case"] in labels or f"{match['case']}_0000" in images)
        )
        name = match["case"] if match and channel else stem
        cases.setdefault(name, {})[int(match["channel"]) if match and channel else 0] = path
    return cases


def _label_names(
    cases: dict[str, tuple[tuple[Path, ...], Path | None]], names: Sequence[str]
) -> dict[str, int]:
    if names:
        return {"background": 0, **{name: i + 1 for i, name in enumerate(names)}}
    seen: Counter[int] = Counter()
    files = [label for _, label in cases.values() if label is not None]
    looked = 0
    for file in files[:: max(1, len(files) // _LOOKED_AT)]:
        try:
            values = np.unique(reader_of(file).array(file))
        except BadDataError:
            continue
        whole = bool(np.all(values == np.round(values)) and values.min(initial=0) >= 0)
        if whole and len(values) <= _MOST_LABELS:
            looked += 1
            seen.update(int(value) for value in values if value)
    # a value in one file of several is a slip there rather than a class of the set: it stays
    # undeclared, so that the integrity check names the file; --labels declares a rare class
    least = 2 if looked >= _ENOUGH_TO_DOUBT else 1
    common = [value for value, count in seen.items() if count >= max(least, looked / 10)]
    highest = max(common, default=1)
    return {"background": 0, **{f"label_{value}": value for value in range(1, highest + 1)}}
