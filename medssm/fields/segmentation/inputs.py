"""Which images to predict: one file, a folder in nnU-Net's or in plain names, or a list."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from medssm.core.errors import BadDataError, UsageError, nearest
from medssm.core.files import is_temporary
from medssm.data.readers import ending_of, reader_of
from medssm.fields.segmentation.prediction_records import hash_files

_CHANNEL_DIGITS = 4


class CaseSource(Protocol):
    """Where the images of a case come from, if they are not files as the preprocessing reads."""

    def hashes(self) -> Mapping[str, str]:
        """A hash of everything that is read, by a name."""

    def stage(self) -> tuple[Path, ...]:
        """Write the images as files, one a channel.

        Raises:
            BadDataError: They cannot be read.
        """

    def release(self) -> None:
        """Take the staged files away."""

    def finish(self, label: Path) -> None:
        """Write what belongs beside a label map, as far as it is not there.

        Raises:
            BadDataError: It cannot be written for this case.
        """

    def outputs(self) -> list[str]:
        """Names of what was written beside the label map."""


@dataclass(frozen=True)
class InputCase:
    """One case to predict.

    Args:
        name: Name of the output without its ending.
        files: One image a channel, in the order of the channels.
        prepare: Gives the preprocessed image and its properties where they lie on disk already;
            without it the files are preprocessed.
        problem: Why this case cannot be predicted, known before its files were opened.
        source: Makes the files, where they are none yet.
    """

    name: str
    files: tuple[Path, ...] = ()
    prepare: Callable[[], tuple[Any, Mapping[str, Any]]] | None = None
    problem: str = ""
    source: CaseSource | None = None

    def hashes(self) -> Mapping[str, str]:
        """sha256 of every input, by its path or name."""
        return hash_files(self.files) if self.source is None else self.source.hashes()


def find_inputs(
    source: Path | Sequence[Path], channels: int, file_ending: str, outputs: Path | None = None
) -> list[InputCase]:
    """Find the cases of an input.

    Args:
        source: A file, a folder or a list of files.
        channels: How many channels the model takes.
        file_ending: Ending of the model's images, e.g. ".nii.gz".
        outputs: The folder of the predictions; where it lies inside of the input it is no input.

    Returns:
        The cases by name; one whose channels are incomplete carries a problem.

    Raises:
        BadDataError: There is no such file or folder, or no image in it that can be read.
        UsageError: The output folder is the input folder.
    """
    files = _files(source, file_ending, outputs)
    return _group(files, max(1, channels // _colours(files)), file_ending)


def _files(source: Path | Sequence[Path], ending: str, outputs: Path | None) -> list[Path]:
    if not isinstance(source, Path):
        missing = [str(path) for path in source if not Path(path).is_file()]
        if missing:
            raise BadDataError(f"input files that do not exist: {', '.join(missing)}.")
        return [Path(path) for path in source]
    if not source.exists():
        raise BadDataError(f"{source}: the input does not exist. Name an image or a folder.")
    if source.is_file():
        return [source, *_other_channels(source, ending)]
    if outputs is not None and outputs.resolve() == source.resolve():
        raise UsageError(f"{source}: input and output are the same folder; name another output.")
    files = sorted(path for path in source.iterdir() if _is_image(path, ending))
    if not files:  # as with a single file: whatever can be read
        files = sorted(p for p in source.iterdir() if _is_image(p, ending_of(p) or " "))
    if not files:
        inside = [path for path in source.iterdir() if path.is_file()]
        found = sorted({ending_of(path) or path.suffix or path.name for path in inside})
        raise BadDataError(
            f"{source}: no image with the ending {ending}, which this model was trained on, nor "
            f"another that can be read (endings found: {', '.join(found) or 'none'}). Convert the "
            "images or name the folder that holds them."
        )
    return files


def _colours(files: Sequence[Path]) -> int:
    """Channels that one file holds, as the first that can be read says."""
    for file in files:
        with suppress(BadDataError):
            return reader_of(file).header(file).channels
    return 1


def _is_image(path: Path, ending: str) -> bool:
    visible = not path.name.startswith(".") and not is_temporary(path)
    return path.is_file() and visible and path.name.endswith(ending)


def _channel_of(stem: str) -> tuple[str, int] | None:
    """Split "case_0001" in "case" and 1."""
    name, _, digits = stem.rpartition("_")
    if name and len(digits) == _CHANNEL_DIGITS and digits.isdecimal():
        return name, int(digits)
    return None


def _other_channels(file: Path, ending: str) -> list[Path]:
    split = _channel_of(file.name.removesuffix(ending))
    if split is None:
        return []
    siblings = sorted(file.parent.glob(f"{split[0]}_{'[0-9]' * _CHANNEL_DIGITS}{ending}"))
    return [path for path in siblings if path != file]


def _group(files: Sequence[Path], channels: int, ending: str) -> list[InputCase]:
    groups: dict[str, dict[int, Path]] = defaultdict(dict)
    doubled: dict[str, str] = {}
    for file in files:
        # a file that was named may be of another format than the model's images
        own = ending if file.name.endswith(ending) else ending_of(file) or file.suffix
        stem = file.name[: len(file.name) - len(own)]
        split = _channel_of(stem)
        if split is None or (channels == 1 and split[1] != 0):
            # a model of one channel takes any name, also one that ends in four digits
            split = (stem, 0)
        name, channel = split
        if channel in groups[name]:
            doubled[name] = f"{groups[name][channel]} and {file} are the same case and channel"
        groups[name][channel] = file
    return [
        _case(name, found, channels, doubled.get(name, ""))
        for name, found in sorted(groups.items())
    ]


def _case(name: str, found: Mapping[int, Path], channels: int, problem: str) -> InputCase:
    expected = set(range(channels))
    if not problem and set(found) != expected:
        missing = [f"_{index:04d}" for index in sorted(expected - set(found))]
        extra = [found[index].name for index in sorted(set(found) - expected)]
        problem = (
            f"{found[min(found)]}: the model takes {channels} channel(s), one file each named "
            f"{name}_0000 and so on; missing {', '.join(missing) or 'none'}, "
            f"beyond them {', '.join(extra) or 'none'}"
        )
    return InputCase(name, tuple(found[index] for index in sorted(found)), problem=problem)


def choose_cases(cases: Sequence[InputCase], names: Sequence[str]) -> list[InputCase]:
    """Keep the cases that were asked for by name.

    Raises:
        UsageError: No such case; the message offers the nearest.
    """
    known = {case.name: case for case in cases}
    for name in names:
        if name not in known:
            raise UsageError(f"cases: there is no case {name!r}; {nearest(name, known)}")
    return [known[name] for name in names]
