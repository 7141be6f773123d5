"""The configuration of a bundle that trains its network anew."""

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
)
from medssm.bundle.train_parts import best_saver, train_handlers, trainer


def train(recipe: Recipe) -> Config:
    """configs/train.json: from pairs of images and labels to models/model.pt."""
    both = image_transforms(recipe, ["image"], ["label"])
    multi = bool(recipe.regions)
    # a network of planes sees crops of one slice
    planar = len(recipe.patch) < len(recipe.axes)
    window = [1, *recipe.patch] if planar else list(recipe.patch)
    random = [
        at(
            "RandCropByPosNegLabeld",
            keys=["image", "label"],
            label_key="label",
            spatial_size=window,
            pos=1,
            neg=2,
            num_samples=1,
        ),
        *(
            at("RandFlipd", keys=["image", "label"], prob=0.5, spatial_axis=axis + planar)
            for axis in recipe.mirror_axes
        ),
        at("RandScaleIntensityd", keys="image", factors=0.25, prob=0.15),
        at("RandGaussianNoised", keys="image", prob=0.1, std=0.1),
        *([at("SqueezeDimd", keys=["image", "label"], dim=1)] if planar else []),
    ]
    padded = at("SpatialPadd", keys=["image", "label"], spatial_size=window)
    if multi:
        regions = f"{recipe.travel}.transforms.RegionsOfLabelsd"
        both.append({"_target_": regions, "keys": "label", "members": [*map(list, recipe.members)]})
    return {
        **common(recipe),
        "labels_dir": "$@bundle_root + '/labels'",
        "epochs": 100,
        "val_interval": 5,
        "pairs": pairs(recipe),
        "loss": at(
            "DiceCELoss",
            to_onehot_y=not multi,
            softmax=not multi,
            sigmoid=multi,
            include_background=multi,
            batch=True,
        ),
        "optimizer": at("torch.optim.AdamW", params="$@network.parameters()", lr=recipe.lr),
        "train": {
            "preprocessing": compose([*both, padded, *random]),
            "dataset": at(
                "CacheDataset",
                data="$@pairs[max(1, len(@pairs) // 5):]",
                transform="@train#preprocessing",
                cache_rate=1.0,
                # MONAI's readers lose a channel now and then where threads share them
                num_workers=1,
            ),
            "dataloader": loader("@train#dataset", recipe.batch, shuffle=True),
            "inferer": at("SimpleInferer"),
            "handlers": train_handlers(),
            "trainer": trainer(),
        },
        "validate": {
            "preprocessing": compose(both),
            "dataset": at(
                "Dataset",
                data="$@pairs[:max(1, len(@pairs) // 5)]",
                transform="@validate#preprocessing",
            ),
            "dataloader": loader("@validate#dataset", 1),
            "inferer": inferer(recipe),
            "postprocessing": compose(
                [
                    at(
                        "AsDiscreted",
                        keys=["pred", "label"],
                        argmax=[True, False],
                        to_onehot=recipe.labels,
                    )
                ]
                if not multi
                else [at("AsDiscreted", keys="pred", threshold=0.0)]
            ),
            "handlers": [best_saver()],
            "key_metric": {
                "val_mean_dice": at(
                    "MeanDice",
                    include_background=multi,
                    output_transform="$monai.handlers.from_engine(['pred', 'label'])",
                )
            },
            "evaluator": at(
                "SupervisedEvaluator",
                device="@device",
                val_data_loader="@validate#dataloader",
                network="@network",
                inferer="@validate#inferer",
                postprocessing="@validate#postprocessing",
                key_val_metric="@validate#key_metric",
                val_handlers="@validate#handlers",
            ),
        },
        "run": ["$@train#trainer.run()"],
    }
