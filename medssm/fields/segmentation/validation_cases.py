"""The cases that each fold's network was not trained on, for an honest cross-validation."""

from collections.abc import Iterator
from pathlib import Path

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import read_json
from medssm.data.manifest import Manifest, read_manifest
from medssm.data.splits import make_splits
from medssm.fields.segmentation.dataset_of_model import find_raw_folder, find_splits
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
    source = source or find_raw_folder(model.folder)
    if source is None:
        raise BadDataError(
            f"{model.folder}: the data set {model.content['dataset']} is not beside it; name its "
            "folder with -i."
        )
    manifest = read_manifest(source)
    splits = _splits(model, manifest)
    for fold in model.weights:
        if fold == "all" or int(fold) >= len(splits):
            raise UsageError(
                f"fold {fold} has no validation cases; choose others with folds=[...]."
            )
        names = splits[int(fold)]["val"]
        strange = [name for name in names if name not in manifest.cases]
        if strange:
            raise BadDataError(
                f"{source}: lacks {', '.join(strange[:5])}, which fold {fold} held back. Name the "
                "data set that the model was trained on with -i."
            )
        yield (fold,), [InputCase(n, tuple(manifest.cases[n].images)) for n in names]


def _splits(model: TrainedModel, manifest: Manifest) -> list[dict[str, list[str]]]:
    splits = find_splits(model.folder, model.content)
    if splits is not None:
        return splits
    own = manifest.folder / "splits_final.json"
    return list(read_json(own)) if own.is_file() else make_splits(manifest)
