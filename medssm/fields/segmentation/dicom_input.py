"""DICOM as input of a prediction: files of a folder or zip as cases, a note for every series."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from medssm.core.archives import ArchiveLimits, is_archive, unpack
from medssm.core.errors import BadDataError, UsageError
from medssm.core.extras import require
from medssm.core.files import RECORDS, TEMPORARY_MARK, digest
from medssm.core.log import say, warn
from medssm.data.dicom.headers import EXTRA
from medssm.data.dicom.scan import any_dicom, files_below, is_dicom_file, scan_files
from medssm.data.dicom.screening import StackRules
from medssm.data.dicom.series import Namer, SeriesNote, describe, sort_series
from medssm.data.pseudonyms import open_pseudonyms
from medssm.data.reasons import Reason
from medssm.fields.segmentation.dicom_case import DicomCase, ObjectKind, Objects
from medssm.fields.segmentation.dicom_channels import (
    ChosenSeries,
    choose_series,
    expected_modalities,
)
from medssm.fields.segmentation.inputs import InputCase

_VOLUME_ENDINGS = (".nii.gz", ".nii", ".mha", ".nrrd")
_NAME_DIGITS = 12
# slices of nothing but padding pack a thousandfold, which is as tight as a zip gets
_MAX_RATIO = 1100.0
_MAX_BYTES = 64 * 2**30
_MAX_FILES = 1_000_000
_ZIP_HEAD = b"PK\x03\x04"
# rar and 7z
_OTHER_ARCHIVES = (b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c")


@dataclass(frozen=True, kw_only=True)
class DicomSettings:
    """What holds where the input is DICOM.

    Args:
        dicom: Objects to write beside the label maps: "seg" is read by most viewers, "labelmap"
            is the same as the newer label map segmentation, "rtstruct" holds outlines.
        channels: A word a channel of the model, found in the description or protocol of its
            series; a model of one channel takes every series without it.
        modality: "auto" goes by the names of the model's channels, "any" predicts everything,
            a word such as "CT" only that.
        max_missing: Slices in a row that may be missing and are interpolated.
        tilt: Shear a tilted gantry back, or leave such series out.
        identified: Name cases by their series UID instead of a keyed hash of it.
        home: Where the secret of the hashes lies; None takes the output folder.
    """

    dicom: tuple[ObjectKind, ...] = ("seg",)
    channels: tuple[str, ...] | None = None
    modality: str = "auto"
    max_missing: int = 1
    tilt: Literal["shear", "reject"] = "shear"
    identified: bool = False
    home: Path | None = None

    def __post_init__(self) -> None:
        if self.max_missing < 0:
            raise UsageError(f"max_missing={self.max_missing}: expected 0 or more.")


@dataclass(frozen=True)
class ModelFacts:
    """What DICOM needs to know of a model.

    Args:
        channels: Channel number to name.
        file_ending: Of its images and label maps.
        objects: What goes into DICOM objects.
    """

    channels: Mapping[str, str]
    file_ending: str
    objects: Objects


@dataclass(frozen=True)
class DicomStudy:
    """The cases of a DICOM input.

    Args:
        cases: What to predict.
        chosen: The series of every case.
        notes: On everything that was left out.
    """

    cases: tuple[InputCase, ...] = ()
    chosen: tuple[ChosenSeries, ...] = ()
    notes: tuple[SeriesNote, ...] = field(default=())

    def told(
        self, done: Sequence[str], skipped: Sequence[str], failed: Mapping[str, str]
    ) -> tuple[SeriesNote, ...]:
        """The notes of all series after a prediction.

        Args:
            done: Cases that were predicted now.
            skipped: Cases that were there.
            failed: Cases that could not be, with the reason.
        """
        actions = {
            **dict.fromkeys(done, "predicted"),
            **dict.fromkeys(skipped, "there already"),
            **{name: f"failed: {problem}" for name, problem in failed.items()},
        }
        notes = []
        for case in self.chosen:
            action = actions.get(case.name, "not asked for")
            for index, volume in enumerate(case.channels):
                more = f" as channel {index} of {case.name}" if len(case.channels) > 1 else ""
                notes.append(describe(volume, action + more))
        return (*notes, *self.notes)


@contextmanager
def dicom_files(
    source: Path | Sequence[Path], file_ending: str, output: Path, scratch: Path
) -> Iterator[list[Path] | None]:
    """The files of an input, if it is DICOM: told by first bytes, a zip unpacked for so long.

    A folder with images of the model's own format is a folder of those.

    Args:
        source: A file, a folder, a zip or a list of files.
        file_ending: Of the model's images.
        output: The folder of the predictions; what lies there is no input.
        scratch: Where a zip is unpacked.

    Yields:
        The files, or None where the input is something else.

    Raises:
        BadDataError: A zip that must not be unpacked, or without DICOM.
    """
    if not isinstance(source, Path):
        files = [Path(path) for path in source]
        yield files if any_dicom(files) else None
    elif is_archive(source):
        folder = passing_folder(scratch, output, "zip")
        try:
            say("unpacking the zip")
            files = unpack(source, folder, limits=_limits(scratch))
            if not any_dicom(files):
                raise BadDataError(
                    f"{source}: {len(files)} file(s) in the zip and none is DICOM; a zip within "
                    "it is not opened. Unpack images of other formats, or the inner zip, and name "
                    "their folder."
                )
            yield files
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    elif not source.exists():
        yield None
    elif _holds_images(source, file_ending):
        if any_dicom(files_below(source, output)):
            warn(
                "%s: holds images in %s and DICOM too; the images are predicted and the DICOM "
                "files are NOT. Name a folder that holds DICOM alone to predict those.",
                source, file_ending,
            )  # fmt: skip
        yield None
    else:
        _refuse_other_archives(source)
        files = files_below(source, output)
        yield files if any_dicom(files) else None


def _refuse_other_archives(source: Path) -> None:
    """Tell what can be done with a file that only looks like something to unpack.

    Raises:
        BadDataError: A zip that is cut off, or an archive of another kind.
    """
    if not source.is_file():
        return
    with source.open("rb") as stream:
        head = stream.read(max(map(len, _OTHER_ARCHIVES)))
    if head.startswith(_ZIP_HEAD):
        raise BadDataError(
            f"{source}: begins as a zip and has no table of contents, so it is cut off. Copy it "
            "again from its source."
        )
    packed = source.name.lower().endswith((".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz"))
    if packed or head.startswith(_OTHER_ARCHIVES):
        raise BadDataError(
            f"{source}: an archive of another kind. Expected a folder or a zip: unpack it and name "
            "the folder."
        )


def _limits(scratch: Path) -> ArchiveLimits:
    """What an honest zip of DICOM stays below: among others what the disk holds."""
    scratch.mkdir(parents=True, exist_ok=True)
    room = shutil.disk_usage(scratch).free
    return ArchiveLimits(min(_MAX_BYTES, room), _MAX_RATIO, _MAX_FILES)


def _holds_images(source: Path, ending: str) -> bool:
    """Whether a file of the model's format, and not DICOM called so, lies in a folder itself."""
    if not source.is_dir():
        return False
    found = (path for path in source.iterdir() if path.name.endswith(ending) and path.is_file())
    return any(not path.name.startswith(".") and not is_dicom_file(path) for path in found)


def passing_folder(scratch: Path, output: Path, use: str) -> Path:
    """A folder for as long as a prediction runs, of its own for every output folder.

    What a killed run left there is deleted: it may hold names of patients.
    """
    folder = scratch / f"{TEMPORARY_MARK}{digest(str(output.resolve()))[:8]}-{use}"
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def find_dicom_cases(
    files: Sequence[Path], model: ModelFacts, settings: DicomSettings, output: Path, scratch: Path
) -> DicomStudy:
    """The cases of DICOM files.

    Args:
        files: Told by content, whatever they are called.
        model: What the model takes.
        settings: What is wanted.
        output: The folder of the predictions.
        scratch: Where volumes lie while they are predicted.

    Raises:
        BadDataError: No volume that the model takes; the message counts what there is.
        UsageError: The model takes pictures, or channels do not fit it.
        MachineError: The extra `dicom` is missing.
    """
    if model.file_ending not in _VOLUME_ENDINGS:
        raise UsageError(
            f"the model was trained on {model.file_ending} pictures; expected such pictures and "
            "found DICOM series."
        )
    require("pydicom", EXTRA)
    if settings.dicom:
        require("highdicom", EXTRA)
    modalities = expected_modalities(model.channels, settings.modality)
    if settings.channels is None and len(modalities) > 1:
        # asked before a large study is read
        choose_series([], None, modalities)
    one = modalities[0] if len(set(modalities)) == 1 else None
    rules = StackRules(modality=one, max_missing=settings.max_missing, tilt=settings.tilt)
    volumes, notes = sort_series(scan_files(files), rules, _namer(settings, output))
    chosen, unused = choose_series(volumes, settings.channels, modalities)
    notes = [_explained(each, one) for each in [*notes, *unused]]
    if not chosen:
        told = "; ".join(f"{each.series}: {each.found}, {each.action}" for each in notes)
        raise BadDataError(
            f"no DICOM series that the model takes in {len(files)} file(s): {told}. Expected a "
            "folder or zip of whole series."
        )
    cases = [
        DicomCase(case.name, tuple(each.stack for each in case.channels), output, scratch,
                  settings.dicom, model.objects)
        for case in chosen
    ]  # fmt: skip
    return DicomStudy(
        tuple(InputCase(case.name, source=case) for case in cases), tuple(chosen), tuple(notes)
    )


def _explained(note: SeriesNote, modality: str | None) -> SeriesNote:
    if note.reason != Reason.WRONG_MODALITY or modality is None:
        return note
    action = f"left out: the model takes {modality}; modality=any predicts it nevertheless"
    return SeriesNote(note.series, note.found, action, note.reason, note.fault)


def _namer(settings: DicomSettings, output: Path) -> Namer:
    if settings.identified:
        return str
    pseudonyms = open_pseudonyms(settings.home or output / RECORDS)
    return lambda series: pseudonyms(series)[:_NAME_DIGITS]
