"""Configurations of a bundle whose network answers about whole cases: series, bags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medssm.bundle.config_parts import Config, at, compose, loader, weights
from medssm.bundle.train_parts import best_saver, train_handlers, trainer
from medssm.core.errors import BadDataError

ANSWERS = "medssm.bundle.travel.answers"


@dataclass(frozen=True)
class Teaching:
    """How the network of a bundle learns anew.

    Args:
        shown: Transforms from the files of a case to what the network learns from.
        held_back: The same for validation; the inferer of the inference reads it.
        loss: From logits and labels.
        batch: Cases of a step.
        lr: Learning rate.
        inferer: Of the validation, which gives logits.
    """

    shown: Sequence[Config]
    held_back: Sequence[Config]
    loss: Config
    batch: int
    lr: float
    inferer: Config


@dataclass(frozen=True)
class AnswerRecipe:
    """What the configurations of one bundle are made of.

    Args:
        network: The class to build, as MONAI writes it, and its arguments.
        list_cases: Function of the folder, and of the table of labels, to the cases in it.
        travel: Module of `SaveAnswerd`, as the configurations call it.
        read: Transforms from the files of a case to what the network takes.
        inferer: From that to logits.
        answer: Transforms from logits to "pred" (probabilities, or a risk) and "answer".
        save: Transforms that write more than the answer.
        read_labelled: As `read`, with labels.
        measures: What an evaluation tells, by name; the first one decides. Empty gives no
            evaluation configuration.
        extra: Keys of a case that the network takes beside the image.
        teaching: How it learns; None gives no training configuration.
        listing: More arguments of that function, such as "unit='patient'".
        grouped: Whether the inference reads the table of labels too, for what belongs together.
        settings: More rows of every configuration, which a user may change from outside.
    """

    network: Mapping[str, Any]
    list_cases: str
    travel: str
    read: Sequence[Config]
    inferer: Config
    answer: Sequence[Config]
    read_labelled: Sequence[Config] = ()
    measures: Mapping[str, Config] = field(default_factory=dict)
    save: Sequence[Config] = ()
    extra: Sequence[str] = ()
    teaching: Teaching | None = None
    listing: str = ""
    grouped: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


def verbatim(words: Sequence[str], where: object) -> list[str]:
    """Words out of somebody's data, for a configuration that must hold them as they stand.

    Args:
        words: Such as names of classes.
        where: What they are, for the message.

    Raises:
        BadDataError: MONAI would read one as a reference, an expression or a path.
    """
    for word in words:
        if "#" in word or word.startswith(("$", "@", "%")):
            raise BadDataError(
                f"{where}: {word!r} cannot stand in a MONAI bundle, which reads # anywhere, and $, "
                "@ and % at the beginning, as signs of its own. Rename it in the data set and "
                "train again, or take --to pt2 or onnx."
            )
    return list(words)


def configurations(recipe: AnswerRecipe) -> dict[str, Config]:
    """Content of configs/NAME.json by NAME; each is complete in itself."""
    made = {"inference": _inference(recipe)}
    if recipe.measures:
        made["evaluate"] = _evaluate(recipe)
    if recipe.teaching is not None:
        made["train"] = _train(recipe, recipe.teaching)
    return made


def _common(recipe: AnswerRecipe) -> Config:
    module, _, name = recipe.list_cases.rpartition(".")
    return {
        "imports": ["$import monai", f"$from {module} import {name}"],
        "bundle_root": ".",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "ckpt_path": "$@bundle_root + '/models/model.pt'",
        "dataset_dir": "$@bundle_root + '/data'",
        "output_dir": "$@bundle_root + '/eval'",
        **recipe.settings,
        "network_def": dict(recipe.network),
        "network": "$@network_def.to(@device)",
    }


def _cases(recipe: AnswerRecipe, labelled: bool) -> Config:
    words = ["@dataset_dir", *(["@labels_file"] if labelled else []), recipe.listing]
    name = recipe.list_cases.rpartition(".")[2]
    labels = {"labels_file": "$@bundle_root + '/labels.csv'"} if labelled else {}
    return {**labels, "data": f"${name}({', '.join(filter(None, words))})"}


def _evaluator(recipe: AnswerRecipe, prefix: str = "", **more: Any) -> Config:
    extra = {"prepare_batch": _prepare(recipe)} if recipe.extra else {}
    return at(
        "SupervisedEvaluator",
        device="@device",
        val_data_loader=f"@{prefix}dataloader",
        network="@network",
        inferer=f"@{prefix}inferer",
        val_handlers=f"@{prefix}handlers",
        **extra,
        **more,
    )


def _prepare(recipe: AnswerRecipe) -> Config:
    return at("PrepareBatchExtraInput", extra_keys=list(recipe.extra))


def _inference(recipe: AnswerRecipe) -> Config:
    """configs/inference.json: a folder of cases to one answer each."""
    saved = {"_target_": f"{recipe.travel}.SaveAnswerd", "keys": "answer",
             "output_dir": "@output_dir"}  # fmt: skip
    return {
        **_common(recipe),
        **_cases(recipe, labelled=recipe.grouped),
        "preprocessing": compose(recipe.read),
        "dataset": at("Dataset", data="@data", transform="@preprocessing"),
        "dataloader": loader("@dataset", 1),
        "inferer": recipe.inferer,
        "postprocessing": compose([*recipe.answer, *recipe.save, saved]),
        "handlers": [weights()],
        "evaluator": _evaluator(recipe, postprocessing="@postprocessing"),
        "run": ["$@evaluator.run()"],
    }


def _evaluate(recipe: AnswerRecipe) -> Config:
    """configs/evaluate.json: as inference, with labels and a table of the measures."""
    names = list(recipe.measures)
    config = _inference(recipe)
    return {
        **config,
        **_cases(recipe, labelled=True),
        "preprocessing": compose(recipe.read_labelled),
        "handlers": [
            weights(),
            at("StatsHandler", iteration_log=False),
            at("MetricsSaver", save_dir="@output_dir", metrics=names),
        ],
        "key_metric": dict(recipe.measures),
        "evaluator": {**config["evaluator"], "key_val_metric": "@key_metric"},
    }


def _train(recipe: AnswerRecipe, teaching: Teaching) -> Config:
    """configs/train.json: from labelled cases to models/model_trained.pt."""
    extra = {"prepare_batch": _prepare(recipe)} if recipe.extra else {}
    logits = "$monai.handlers.from_engine(['pred', 'label'])"
    return {
        **_common(recipe),
        **_cases(recipe, labelled=True),
        "finetune": True,
        "epochs": 50,
        "val_interval": 1,
        "loss": teaching.loss,
        "optimizer": at("torch.optim.AdamW", params="$@network.parameters()", lr=teaching.lr),
        "train": {
            "preprocessing": compose(teaching.shown),
            "dataset": at(
                "Dataset",
                # every fifth case validates
                data="$[each for i, each in enumerate(@data) if i % 5]",
                transform="@train#preprocessing",
            ),
            "dataloader": loader("@train#dataset", teaching.batch, shuffle=True),
            "inferer": at("SimpleInferer"),
            "handlers": [
                {**weights(), "_disabled_": "$not @finetune"},
                *train_handlers(),
            ],
            "trainer": trainer(**extra),
        },
        "validate": {
            "preprocessing": compose(teaching.held_back),
            "dataset": at("Dataset", data="$@data[::5]", transform="@validate#preprocessing"),
            "dataloader": loader("@validate#dataset", 1),
            "inferer": teaching.inferer,
            "handlers": [
                at("StatsHandler", iteration_log=False),
                best_saver(key_metric_negative_sign=True),
            ],
            "key_metric": {
                "val_loss": at("IgniteMetricHandler", loss_fn="@loss", output_transform=logits)
            },
            "evaluator": _evaluator(
                recipe,
                "validate#",
                key_val_metric="@validate#key_metric",
                # the lowest loss is the best
                metric_cmp_fn="$lambda now, best: now < best or best == -1",
            ),
        },
        "run": ["$@train#trainer.run()"],
    }
