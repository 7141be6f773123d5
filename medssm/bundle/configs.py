"""The configurations of a bundle that apply its network: inference and evaluation."""

from medssm.bundle.config_parts import (
    Config,
    Recipe,
    at,
    common,
    compose,
    image_transforms,
    inferer,
    loader,
    pairs,
    read,
    restored,
    saved,
    weights,
)


def inference(recipe: Recipe) -> Config:
    """configs/inference.json: a folder of images to label maps on their own grids."""
    return {
        **common(recipe),
        "data": "$[{'image': each} for each in @files]",
        "preprocessing": compose(image_transforms(recipe, ["image"])),
        "dataset": at("Dataset", data="@data", transform="@preprocessing"),
        "dataloader": loader("@dataset", 1),
        "inferer": inferer(recipe),
        "postprocessing": compose([*restored(recipe), saved(recipe)]),
        "handlers": [weights()],
        "evaluator": at(
            "SupervisedEvaluator",
            device="@device",
            val_data_loader="@dataloader",
            network="@network",
            inferer="@inferer",
            postprocessing="@postprocessing",
            val_handlers="@handlers",
        ),
        "run": ["$@evaluator.run()"],
    }


def evaluate(recipe: Recipe) -> Config:
    """configs/evaluate.json: as inference, with labels, mean Dice and a table of it."""
    config = inference(recipe)
    multi = bool(recipe.regions)
    both = ["pred", "label"]
    scored = [*restored(recipe), saved(recipe)]
    if recipe.ignore is not None:
        ignored = f"{recipe.travel}.transforms.IgnoreLabeld"
        scored.append({"_target_": ignored, "keys": both, "label_key": "label",
                       "value": recipe.ignore})  # fmt: skip
    if multi:
        members = [*map(list, recipe.members)]
        regions = f"{recipe.travel}.transforms.RegionsOfLabelsd"
        scored.append({"_target_": regions, "keys": both, "members": members})
    else:
        scored.append(at("AsDiscreted", keys=both, to_onehot=recipe.labels))
    # the label keeps its own grid, to which predictions come back
    steps = [*image_transforms(recipe, ["image"]), *read(recipe, ["label"])]
    return {
        **config,
        "labels_dir": "$@bundle_root + '/labels'",
        "data": pairs(recipe),
        "preprocessing": compose(steps),
        "postprocessing": compose(scored),
        "handlers": [
            weights(),
            at("StatsHandler", iteration_log=False),
            at(
                "MetricsSaver",
                save_dir="@output_dir",
                metrics=["val_mean_dice"],
                metric_details=["val_mean_dice"],
                batch_transform="$lambda x: [each['image'].meta for each in x]",
                summary_ops="*",
            ),
        ],
        "key_metric": {
            "val_mean_dice": at(
                "MeanDice",
                include_background=multi,
                output_transform="$monai.handlers.from_engine(['pred', 'label'])",
            )
        },
        "evaluator": {**config["evaluator"], "key_val_metric": "@key_metric"},
    }
