"""The cases that each fold's network was not trained on, for an honest cross-validation."""

from collections.abc import Iterator
from pathlib import Path

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import read_json
from medssm.data.manifest import Manifest, read_manifest
from medssm.data.splits import make_splits
from medssm.fields.segmentation.inputs import InputCase
from medssm.fields.segmentation.trained import TrainedModel


def validation_cases(
    model: TrainedModel, source: Path | tuple[Path, ...] | None
) -> Iterator[tuple[tuple[str, ...], list[InputCase]]]:
    """Pair every fold with its own validation cases.

    Args:
        model: The model folder; one under HOME/results finds its data set by itself.
        source: The raw data set, where it lies elsewhere.

    Raises:
        UsageError: A fold has no validation cases, or the input is no folder.
        BadDataError: The data set or its splits are missing.
    """
    if isinstance(source, tuple):
        raise UsageError("cases=validation takes the data set's folder as input, not a list.")
    home = model.folder.resolve().parents[2] if len(model.folder.resolve().parents) > 2 else None
    name = str(model.content["dataset"])
    if source is None:
        if home is None or not (home / "raw" / name / "dataset.json").is_file():
            raise BadDataError(
                f"{model.folder}: the data set {name} is not beside it; name its folder with -i."
            )
        source = home / "raw" / name
    manifest = read_manifest(source)
    splits = _splits(model, home, manifest)
    for fold in model.weights:
        if fold == "all" or int(fold) >= len(splits):
            raise UsageError(
                f"fold {fold} has no validation cases; choose others with folds=[...]."
            )
        names = splits[int(fold)]["val"]
        yield (fold,), [InputCase(n, tuple(manifest.cases[n].images)) for n in names]


def _splits(
    model: TrainedModel, home: Path | None, manifest: Manifest
) -> list[dict[str, list[str]]]:
    places = [model.folder / "splits_final.json"]
    if home is not None:
        places.append(home / "preprocessed" / manifest.name / "splits_final.json")
    places.append(manifest.folder / "splits_final.json")
    for place in places:
        if place.is_file():
            return list(read_json(place))
    return make_splits(manifest)
