"""What a prediction reads: features, slides, a table of bags; joined to bags and their truth."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medssm.core.errors import BadDataError
from medssm.core.log import say
from medssm.core.signature import make
from medssm.data.bags import SlideRow, find_bags, read_bag_table, read_slide_table, write_bag
from medssm.data.bags.slide_table import FEATURE_ENDINGS
from medssm.fields.pathology.model_folder import TrainedModel
from medssm.fields.pathology.plan_file import BagEntry
from medssm.fields.pathology.store import read_inventory


@dataclass(frozen=True)
class Inputs:
    """Bags to predict.

    Args:
        bags: Their slides, and what is true where a table says it.
        files: Feature file of each slide.
        slides: The slide itself, where it is at hand.
        failed: Slides that could not be encoded, with the reason.
        folds: The fold that must answer a bag; empty where all do.
    """

    bags: Mapping[str, BagEntry]
    files: Mapping[str, Path]
    slides: Mapping[str, Path] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    folds: Mapping[str, int] = field(default_factory=dict)


def held_back_bags(model: TrainedModel) -> Inputs:
    """The test bags of the model's own study, each for the fold that did not see it.

    Raises:
        BadDataError: The features of the study are gone, or its folds have no test bags.
    """
    inventory = read_inventory(Path(str(model.content["inventory"])))
    plan = model.plan
    folds = {
        name: fold
        for fold in model.weights
        for name in plan.splits[fold].get("test", ())
        if any(slide in inventory.files for slide in plan.bags[name].slides)
    }
    if not folds:
        raise BadDataError(f"{model.folder}: no fold with weights has test bags.")
    slides = {name: Path(file) for name, file in plan.files.items() if plan.kind == "slides"}
    return Inputs(
        {name: plan.bags[name] for name in folds},
        {slide: Path(file) for slide, file in inventory.files.items()},
        slides,
        {},
        folds,
    )


@dataclass(frozen=True)
class Wanted:
    """What the user gave.

    Args:
        source: A feature file, a folder of them, a table of bags, a slide or a folder of slides.
        output: Gets features that are made now.
        table: Patients, and what is true, in the columns of a study's table.
        slides: Slides under which heatmaps are drawn, where features are given.
        mpp: Micrometres a pixel of slides that do not tell it.
    """

    source: Path
    output: Path
    table: Path | None = None
    slides: Path | None = None
    mpp: float | None = None


def find_inputs(wanted: Wanted, model: TrainedModel) -> Inputs:
    """Bags of what the user gave; slides are cut and encoded as those of the training were.

    Raises:
        BadDataError: Nothing to read there.
    """
    rows = {} if wanted.table is None else read_slide_table(wanted.table)
    files, known, failed = _files(wanted, rows, model)
    if wanted.slides is not None:
        from medssm.data.slides import find_slides

        known = {**find_slides(wanted.slides), **known}
    names = list(dict.fromkeys([*files, *failed]))
    unknown = [name for name in names if rows and name not in rows]
    if unknown:
        say("%d slides are not in %s: they are bags of their own.", len(unknown), wanted.table)
    return Inputs(_bags(names, rows, model), files, known, failed)


def _files(
    wanted: Wanted, rows: Mapping[str, SlideRow], model: TrainedModel
) -> tuple[dict[str, Path], dict[str, Path], dict[str, str]]:
    """Feature files, slides, and what failed on the way."""
    source = wanted.source
    if not source.exists():
        raise BadDataError(f"{source}: there is no such file or folder.")
    if source.suffix.lower() == ".csv":
        return _from_table(source, wanted.output / "features"), {}, {}
    if source.suffix.lower() in FEATURE_ENDINGS:
        return {source.stem: source}, {}, {}
    if source.is_dir():
        try:
            return find_bags(source), {}, {}
        except BadDataError as no_features:
            if not model.content["recipe"]:
                raise BadDataError(
                    f"{no_features} The model was trained on given features, so slides cannot be "
                    "encoded for it: give their features."
                ) from None
    return _encoded(wanted, rows, model)


def _from_table(source: Path, folder: Path) -> dict[str, Path]:
    """One file a bag; what is newer than the table stands."""
    written = source.stat().st_mtime_ns
    made = {}
    for name, (_, features) in read_bag_table(source).items():
        file = made[name] = folder / f"{name}.h5"
        if not file.is_file() or file.stat().st_mtime_ns <= written:
            write_bag(file, features, None)
    return made


def _encoded(
    wanted: Wanted, rows: Mapping[str, SlideRow], model: TrainedModel
) -> tuple[dict[str, Path], dict[str, Path], dict[str, str]]:
    from medssm.data.slides import find_slides
    from medssm.fields.pathology.preprocess import PreprocessConfig, SlideInput, preprocess_slides

    if not model.content["recipe"]:
        raise BadDataError(
            f"{wanted.source}: the model was trained on given features; give features."
        )
    slides = dict(find_slides(wanted.source))
    recipe = {**model.content["recipe"]}
    if wanted.mpp is not None:
        recipe["mpp"] = wanted.mpp
    config: PreprocessConfig = make(PreprocessConfig, recipe, "recipe")
    folder = wanted.output / "features"
    given = {
        name: SlideInput(path, rows[name].mpp if name in rows else None)
        for name, path in slides.items()
    }
    report = preprocess_slides(config, given, folder)
    made = {name: folder / f"{name}.h5" for name in slides if (folder / f"{name}.h5").is_file()}
    return made, slides, dict(report.failed)


def _bags(
    names: list[str], rows: Mapping[str, SlideRow], model: TrainedModel
) -> dict[str, BagEntry]:
    classes = list(model.content["classes"])
    bags: dict[str, BagEntry] = {}
    for slide in names:
        row = rows.get(slide, SlideRow(slide, slide))
        name = row.patient if model.content["unit"] == "patient" else slide
        before = bags[name].slides if name in bags else ()
        label = classes.index(row.label) if row.label in classes else None
        bags[name] = BagEntry(name, row.patient, (*before, slide), label, row.months, row.event)
    return bags
