"""Where the references of predictions are: named, or found through what predict and train wrote."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import read_json
from medssm.data.labels import Labels, read_labels
from medssm.data.manifest import read_manifest
from medssm.data.readers import ending_of, reader_of
from medssm.fields.segmentation.dataset_of_model import find_raw_folder, find_splits


@dataclass(frozen=True)
class References:
    """True label maps.

    Args:
        source: Where they were found.
        files: Case to label map.
        labels: What values mean.
        images: Case to image, where known, for pictures.
        expected: Cases that should have been predicted; empty where nobody said.
    """

    source: Path
    files: Mapping[str, Path]
    labels: Labels
    images: Mapping[str, Path] = field(default_factory=dict)
    expected: set[str] = field(default_factory=set)


def find_references(predictions: Path, wish: Path | None) -> References:
    """Find the references of a folder of predictions.

    Args:
        predictions: A prediction folder or model folder.
        wish: A folder of label maps, or a data set; None looks at what lies with the predictions.

    Raises:
        UsageError: There is no way to know; the message says what to give.
    """
    labels = _labels_beside(predictions)
    if wish is not None and not (wish / "dataset.json").is_file():
        files = _label_files(wish)
        images = _images_beside(wish)
        # those that were asked for; every reference where nobody noted what was
        expected = _expected(predictions) & set(files) or set(files)
        return References(wish, files, labels or _labels_of(files), images, expected)
    folder = wish or _dataset_beside(predictions)
    if folder is None:
        raise UsageError(
            f"{predictions}: says nothing of its data set. Name the references with "
            "-r FOLDER (label maps, or a data set with dataset.json)."
        )
    manifest = read_manifest(folder)
    files = {name: case.label for name, case in manifest.cases.items() if case.label is not None}
    images = {name: case.images[0] for name, case in manifest.cases.items() if case.images}
    return References(folder, files, manifest.labels, images, _expected(predictions) & set(files))


def _expected(predictions: Path) -> set[str]:
    """Cases that prediction was asked for, those that it failed at included."""
    note = predictions / "predictions.json"
    if note.is_file():
        content = read_json(note)
        return {*content.get("cases", {}), *content.get("failed", {})}
    if not (predictions / "model.json").is_file():
        return set()
    folds = find_splits(predictions, read_json(predictions / "model.json")) or []
    # a fold that was not trained, or not to its end, is not expected to have predicted
    return {
        case
        for number, fold in enumerate(folds)
        if (predictions / f"fold_{number}" / "validation").is_dir()
        for case in fold["val"]
    }


def _label_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder of references.")
    found = {}
    for path in sorted(folder.iterdir()):
        ending = ending_of(path)
        if ending and path.is_file() and not path.name.startswith("."):
            found[path.name[: -len(ending)]] = path
    if not found:
        raise UsageError(f"{folder}: holds no label map.")
    return found


def _images_beside(folder: Path) -> dict[str, Path]:
    """Images in a folder beside: imagesTs for labelsTs, images for labels."""
    place = folder.with_name(folder.name.replace("labels", "images"))
    if place == folder or not place.is_dir():
        return {}
    images: dict[str, Path] = {}
    for path in sorted(place.iterdir()):
        ending = ending_of(path)
        if ending:
            images.setdefault(path.name[: -len(ending)].removesuffix("_0000"), path)
    return images


def _labels_beside(predictions: Path) -> Labels | None:
    for file in (predictions / "dataset.json", *_model_files(predictions, "dataset.json")):
        if file.is_file():
            return read_labels(read_json(file), str(file))
    return None


def _dataset_beside(predictions: Path) -> Path | None:
    for file in (predictions / "model.json", *_model_files(predictions, "model.json")):
        if file.is_file() and (folder := find_raw_folder(file.parent)) is not None:
            return folder
    return None


def _model_files(predictions: Path, name: str) -> list[Path]:
    note = predictions / "predictions.json"
    if not note.is_file():
        return []
    model = read_json(note).get("model")
    return [Path(model) / name] if model else []


def _labels_of(files: Mapping[str, Path]) -> Labels:
    """Number the values that the references hold, where nobody named them."""
    values: set[int] = set()
    for file in files.values():
        try:
            values |= {int(value) for value in np.unique(reader_of(file).array(file))}
        except BadDataError:
            continue
    values -= {0}
    return Labels({"background": 0, **{f"label_{value}": value for value in sorted(values)}})
