"""Which field a data set, a model or a folder of predictions belongs to."""

from pathlib import Path
from typing import Any

from medssm.core.errors import BadDataError, UsageError, nearest
from medssm.core.files import read_json
from medssm.core.inert import refuse_expressions
from medssm.core.log import say
from medssm.fields import BUILT_IN_MODELS, FIELDS
from medssm.runs.datasets import DEFAULT_FIELD, field_of_folder
from medssm.runs.field import Field, ImportRequest, StudyRequest
from medssm.runs.workspace import datasets_under

PREDICTIONS = "predictions.json"
_DESCRIBES = ("model.json", "plan.json", "plans.json", "dataset.json")


def open_field(name: str, where: object) -> Field:
    """The stages of a field.

    Raises:
        UsageError: There is no such field; the message says which file named it.
    """
    if name not in FIELDS:
        raise UsageError(f"{where}: names the field {name!r}; {nearest(name, FIELDS)}")
    found: Field = FIELDS.load(name)
    return found


def field_of_study(request: StudyRequest) -> tuple[Field, StudyRequest]:
    """The field of a data set; a raw folder that a field recognises is imported on the way.

    Returns:
        The field, and the request with the data set's name where it was imported.
    """
    folder = Path(request.dataset).expanduser().absolute()
    if not folder.is_dir():
        known = datasets_under(request.home)
        number = f"Dataset{int(request.dataset):03d}_" if request.dataset.isdigit() else None
        fits = [
            name
            for name in known
            if name == request.dataset or (number and name.startswith(number))
        ]
        # what is not there, or is ambiguous, is explained by the default field's own search
        name = field_of_folder(known[fits[0]]) if len(fits) == 1 else DEFAULT_FIELD
        return open_field(name, request.dataset), request
    if (folder / "dataset.json").is_file():
        return open_field(field_of_folder(folder), folder / "dataset.json"), request
    return _recognised(folder, request)


def _recognised(folder: Path, request: StudyRequest) -> tuple[Field, StudyRequest]:
    """The first field that knows the layout, the default one before the others."""
    names = sorted(FIELDS, key=lambda each: (each != DEFAULT_FIELD, each))
    for name in names:
        field: Field = FIELDS.load(name)
        kind = field.recognise(folder)
        if kind is None:
            continue
        if name == DEFAULT_FIELD:
            return field, request
        answer = field.import_dataset(ImportRequest(kind, folder, request.home))
        dataset = str(answer.facts["dataset"])
        say("imported %s as %s (%s, nothing copied)", folder, dataset, name)
        changed: dict[str, Any] = {**vars(request), "dataset": dataset}
        return field, StudyRequest(**changed)
    # the default field says what it had expected
    return open_field(DEFAULT_FIELD, folder), request


def field_of_model(model: Path) -> Field:
    """The field that trained a model, or that a built-in one such as "baseline" belongs to.

    Raises:
        BadDataError: The folder holds no model.
    """
    if str(model) in BUILT_IN_MODELS and not Path(model).exists():
        return open_field(BUILT_IN_MODELS[str(model)], model)
    file = Path(model) / "model.json"
    # a folder without it is explained by the default field, which knows the neighbours
    if not file.is_file():
        return open_field(DEFAULT_FIELD, file)
    content = read_json(file)
    # a folder from elsewhere stays data, also where a bundle or a configuration is made of it
    for name in _DESCRIBES:
        if (file.parent / name).is_file():
            refuse_expressions(read_json(file.parent / name), file.parent / name)
    if not isinstance(content, dict):
        raise BadDataError(f"{file}: holds a {type(content).__name__}. Expected an object.")
    return open_field(str(content.get("field", DEFAULT_FIELD)), file)


def field_of_predictions(predictions: Path) -> Field:
    """The field whose predictions lie in a folder.

    Raises:
        BadDataError: Its record cannot be read.
    """
    file = Path(predictions) / PREDICTIONS
    if not file.is_file():
        return open_field(DEFAULT_FIELD, predictions)
    content = read_json(file)
    if not isinstance(content, dict):
        raise BadDataError(f"{file}: holds a {type(content).__name__}. Expected an object.")
    return open_field(str(content.get("field", DEFAULT_FIELD)), file)
