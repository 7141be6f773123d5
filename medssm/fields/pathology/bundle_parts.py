"""The parts of a bundle of bags: network, configurations, metadata and README."""

from collections.abc import Mapping
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from medssm.bundle.answer_configs import ANSWERS, AnswerRecipe, Teaching, verbatim
from medssm.bundle.answer_readme import FINETUNING, Page, labelled_commands
from medssm.bundle.config_parts import Config, at
from medssm.bundle.embed import called
from medssm.bundle.metadata import About, answers, document, named, needed, unknown_licence
from medssm.core.files import read_json
from medssm.fields.pathology.model_folder import EDGES, TrainedModel
from medssm.fields.pathology.travel_answers import BagLogits
from medssm.networks import BAG_NETWORKS

READING = "medssm.fields.pathology.travel"
ANSWERING = "medssm.fields.pathology.travel_answers"
LEARNING = "medssm.fields.pathology.learning"
_NEEDS = ("pytorch-ignite", "fire", "h5py")
_LR = 2e-4
# what a user of the bundle may turn off
_CHECKS = ("check_order", "check_encoder")
# enough tiles for every network, however it pools or chooses among them
_TILES = 64
_GIVES = {
    "classification": "the class and the probability of each class (`p_CLASS`)",
    "survival": "the risk (higher is earlier) and the hazard of each time bin (`hazard_BIN`)",
    "risk": "the relative risk (higher is earlier)",
}


def module_of(model: TrainedModel) -> BagLogits:
    """The network of the model's one fold, as the bundle calls it."""
    (fold,) = model.weights
    trained = model.network(fold)
    made = BagLogits(trained.network, int(model.content["width"]))
    if trained.standard is not None:
        made.mean.copy_(trained.standard.mean)
        made.deviation.copy_(trained.standard.deviation)
    return made.eval()


def recipe_of(model: TrainedModel, embed: bool) -> AnswerRecipe:
    """What the configurations are made of."""

    def ours(name: str, /, **arguments: Any) -> Config:
        return at(called(name, embed), **arguments)

    content, width = model.content, int(model.content["width"])
    classes = verbatim(list(content["classes"]), f"{model.folder}: classes")
    told = [*model.origin.orders, *filter(None, [model.origin.encoder])]
    verbatim(told, f"{model.folder}: orders and encoder")
    origin = {**asdict(model.origin), "orders": list(model.origin.orders)}
    read = {
        "keys": "image",
        "width": width,
        "origin": origin,
        **{name: f"@{name}" for name in _CHECKS},
    }
    labels = _labels(model)
    inferer = ours(f"{ANSWERING}.BagInferer")
    network = dict(content["network"])
    target = BAG_NETWORKS[network.pop("name")].replace(":", ".")
    patients = content["unit"] == "patient"
    return AnswerRecipe(
        network=ours(f"{ANSWERING}.BagLogits", network=ours(target, **network), width=width),
        list_cases=called(f"{READING}.list_bags", embed),
        travel=called(ANSWERS, embed),
        read=[ours(f"{READING}.ReadBagd", **read)],
        inferer=inferer,
        answer=[
            ours(f"{ANSWERING}.BagAnswerd", keys="pred", kind=model.kind,
                 classes=classes),
        ],
        read_labelled=[ours(f"{READING}.ReadBagd", **read, **labels)],
        measures=_measures(model, ours),
        save=[ours(f"{ANSWERING}.SaveAttentiond", keys="attention", output_dir="@output_dir")],
        teaching=_teaching(model, ours, {**read, **labels}),
        listing="unit='patient'" if patients else "",
        grouped=patients,
        settings=dict.fromkeys(_CHECKS, True),
    )  # fmt: skip


def _labels(model: TrainedModel) -> dict[str, Any]:
    if model.kind == "classification":
        return {"classes": list(model.content["classes"])}
    return {"edges": _edges(model)}


def _edges(model: TrainedModel) -> list[float]:
    """Of the time bins; with a relative risk there is one bin, which nothing reads."""
    (weights,) = model.weights.values()
    file = weights.parent / EDGES
    found = read_json(file) if file.is_file() else None
    return [float(edge) for edge in found or (0.0, 1.0)]


def _measures(model: TrainedModel, ours: Any) -> dict[str, Config]:
    classes = model.kind == "classification"
    metric = ours(f"{ANSWERS}.MeanArea" if classes else f"{LEARNING}.Concordance")
    said = "pred" if classes else "risk"
    return {
        "val_mean_area" if classes else "val_concordance": at(
            "IgniteMetricHandler",
            metric_fn=metric,
            save_details=False,
            output_transform=f"$monai.handlers.from_engine(['{said}', 'label'])",
        )
    }


def _teaching(model: TrainedModel, ours: Any, read: Mapping[str, Any]) -> Teaching | None:
    if model.kind == "risk":
        # a bag at a time has no risk set
        return None
    loss = at("torch.nn.CrossEntropyLoss")
    if model.kind == "survival":
        loss = ours(f"{LEARNING}.SurvivalLoss", name=str(model.content["loss"]))
    shown = [ours(f"{READING}.ReadBagd", **read, strict=True)]
    return Teaching(shown, shown, loss, 1, _LR, at("SimpleInferer"))


def metadata_of(model: TrainedModel, name: str, embed: bool) -> dict[str, Any]:
    """The content of metadata.json."""
    content = model.content
    encoder = content["encoder"] or "an encoder that is not named"
    about = About(
        name=name,
        task=f"{content['task']} of bags of tile features",
        description=(
            f"{content['network']['name']} trained by medssm on {content['dataset']}: features of "
            f"{encoder}, {content['width']} numbers a tile, to an answer a {content['unit']}."
        ),
        needs=needed(_NEEDS, embed),
        figures=_card(model),
        licence=unknown_licence(content["dataset"]),
    )
    outputs = list(content["classes"])
    if model.kind != "classification":
        outputs = ["log relative risk"] if model.kind == "risk" else _bins(model)
    image = {
        "type": "tuples",
        "format": "latent",
        "modality": "histopathology",
        "num_channels": int(content["width"]),
        "spatial_shape": [f"{_TILES}*n"],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": named([f"feature {i}" for i in range(int(content["width"]))]),
    }
    return document(about, {"image": image}, {"pred": answers(outputs)})


def _bins(model: TrainedModel) -> list[str]:
    edges = _edges(model)
    return [f"{a:g} to {b:g} months" for a, b in pairwise(edges)]


def _card(model: TrainedModel) -> dict[str, Any]:
    """Measures over the test sides of the folds, where there are such."""
    file = model.folder / "cross_validation.json"
    if not file.is_file():
        return {}
    content = read_json(file)
    pooled = {name: each["pooled"] for name, each in content["measures"].items()}
    return {"bags_of_all_folds": content["bags"], **pooled}


def page_of(
    model: TrainedModel, name: str, embed: bool, recipe: AnswerRecipe, content: Mapping[str, Any]
) -> Page:
    """What the README tells."""
    told = model.content
    encoder = told["encoder"]
    from_encoder = f"of the encoder `{encoder}`" if encoder else "of the encoder of the training"
    grouped = (
        "All slides of a patient are one bag: give `--labels_file slides.csv` with `case_id` and "
        "`slide_id`, else each slide counts as a patient.",
    )
    kinds = {
        "classification": "`slide_id` and `label` "
        f"(one of {', '.join(f'`{each}`' for each in told['classes'])})",
        "survival": "`slide_id`, `survival_months` and `censorship` (1 = censored)",
    }
    kinds["risk"] = kinds["survival"]
    trained = recipe.teaching is not None
    return Page(
        name=name,
        task=f"{str(told['task']).capitalize()} from the tile features of a {told['unit']}.",
        network=str(recipe.network["network"]["_target_"]),
        embed=embed,
        packages=content["required_packages_version"],
        takes=(
            "`INPUT` is a folder of feature files, one a slide, or one file: `.h5` (`features`, "
            "and `coords` where known; also in the folders of CLAM and TRIDENT), `.npz` (the same "
            "arrays), `.pt` (one tensor), or a `.csv` of bags (class, bag, features). "
            f"{told['width']} numbers a tile, {from_encoder}. Tiles are read in the order "
            f"`{told['order']}`.",
            "Slides themselves are not read: cutting them into tiles and the feature extractor are "
            "not in this bundle. Make the features with CLAM, TRIDENT, or `medssm preprocess`.",
            *(grouped if recipe.grouped else ()),
            "Features that say they are of another encoder, or of tiles in another order where "
            "the answer depends on it, are refused; `--check_encoder False` and "
            "`--check_order False` take them all the same.",
        ),
        gives=(
            f"`OUTPUT/BAG.json` and a row of `OUTPUT/answers.csv`: {_GIVES[model.kind]}. "
            "`OUTPUT/attention/BAG.csv` holds the share of every tile in the answer, with its "
            "place where the file has `coords`.",
        ),
        teaching=(
            labelled_commands(train=trained),
            f"`labels.csv` has the columns {kinds[model.kind]}, and `case_id` for the patient. "
            "A bag without a label is answered and does not count; training it stops. "
            "The area under the ROC curve or the concordance goes to `OUTPUT/metrics.csv`.",
            f"{FINETUNING} A step is a bag. The standardising of features is a part of the "
            "weights and is not learned there: started anew, it does nothing."
            if trained
            else "There is no `train.json`: the loss of proportional hazards needs many patients "
            "in a step, and bags here come one by one. Train with medssm.",
        ),
        card=_card(model),
    )


def bundle_modules() -> tuple[str, ...]:
    """Modules of ours that the configurations call."""
    return (READING, ANSWERING, LEARNING, ANSWERS)
