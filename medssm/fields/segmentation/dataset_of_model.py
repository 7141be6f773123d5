"""Where the data set of a model folder lies: as training noted it, or beside it under home."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medssm.core.errors import BadDataError
from medssm.core.files import read_json

# the key of model.json that holds the folder with the raw data set's dataset.json
RAW_FOLDER = "raw_folder"
_MODEL = "model.json"
_SPLITS = "splits_final.json"


def home_of(model: Path) -> Path | None:
    """HOME of HOME/results/DATASET/RUN, or None where the path is too short to have one."""
    parents = model.resolve().parents
    return parents[2] if len(parents) > 2 else None


def find_raw_folder(model: Path) -> Path | None:
    """Find the raw data set that a model was trained on.

    Args:
        model: The model folder.

    Returns:
        The folder with dataset.json, or None where training never had the raw images.

    Raises:
        BadDataError: The data set is gone from where it was; the message says where that is.
    """
    content = read_json(model / _MODEL)
    noted = content.get(RAW_FOLDER)
    places = [Path(noted)] if noted else []
    home = home_of(model)
    if home is not None:
        # a home that was moved as a whole
        places.append(home / "raw" / str(content["dataset"]))
    for place in places:
        if (place / "dataset.json").is_file():
            return place
    if noted:
        raise BadDataError(
            f"{model}: was trained on {content['dataset']} in {noted}, where no dataset.json is "
            "any more. Bring the data set back there, or name the place it moved to "
            "(evaluate: -r FOLDER, predict: -i FOLDER)."
        )
    return None


def find_splits(model: Path, content: Mapping[str, Any]) -> list[dict[str, list[str]]] | None:
    """The folds that a model was trained by, or None where no file tells."""
    home = home_of(model)
    places = [model / _SPLITS]
    if home is not None:
        places.append(home / "preprocessed" / str(content["dataset"]) / _SPLITS)
    return next((list(read_json(place)) for place in places if place.is_file()), None)
