"""The parts of a bundle of a pre-trained encoder: configurations, metadata and README."""

from collections.abc import Mapping
from typing import Any

from medssm.bundle.answer_configs import ANSWERS, AnswerRecipe
from medssm.bundle.answer_readme import Page
from medssm.bundle.config_parts import Config, at
from medssm.bundle.embed import called
from medssm.bundle.metadata import About, document, named, needed, unknown_licence
from medssm.core.files import read_json
from medssm.core.signature import parameters_of
from medssm.fields.pretraining.model_folder import PretrainedModel
from medssm.networks import NETWORKS
from medssm.training.pretrained import ENCODER_FACTS

TRAVEL = "medssm.fields.pretraining.travel"
_NEEDS = ("pytorch-ignite", "fire", "scipy", "nibabel", "SimpleITK")


def bundle_modules() -> tuple[str, ...]:
    """Modules of ours that the configurations call."""
    return (TRAVEL, ANSWERS)


def encoder_of(model: PretrainedModel) -> dict[str, Any]:
    """The arguments of `EncoderMap`."""
    facts = read_json(model.folder / ENCODER_FACTS)
    return {
        "encoder": dict(facts["network"]),
        "spatial_dims": int(facts["spatial_dims"]),
        "in_channels": int(facts["in_channels"]),
    }


def recipe_of(model: PretrainedModel, embed: bool) -> AnswerRecipe:
    """What the configurations are made of."""

    def ours(name: str, /, **arguments: Any) -> Config:
        return at(called(f"{TRAVEL}.{name}", embed), **arguments)

    content = model.content
    return AnswerRecipe(
        network=ours("EncoderMap", **encoder_of(model)),
        list_cases=called(f"{TRAVEL}.list_volumes", embed),
        travel=called(ANSWERS, embed),
        read=[
            ours("ReadVolumed", keys="image", window_hu=list(content["window_hu"]),
                 spacing_mm=content.get("spacing_mm")),
        ],
        inferer=ours("EmbeddingInferer", crop=list(content["crop"])),
        answer=[ours("EmbeddingAnswerd", keys="pred")],
    )  # fmt: skip


def metadata_of(model: PretrainedModel, name: str, embed: bool, width: int) -> dict[str, Any]:
    """The content of metadata.json.

    Args:
        model: The pre-trained model.
        name: Of the bundle.
        embed: Whether our code goes along.
        width: Channels of the deepest map.
    """
    encoder = encoder_of(model)
    crop = list(model.content["crop"])
    about = About(
        name=name,
        task="features of volumes, to learn other tasks from",
        description=(
            f"The encoder of {encoder['encoder']['name']}, pre-trained by medssm on the volumes of "
            f"{model.content['dataset']} without labels."
        ),
        needs=needed(_NEEDS, embed),
        figures={},
        licence=unknown_licence(model.content["dataset"]),
    )
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": "CT or MR",
        "num_channels": encoder["in_channels"],
        "spatial_shape": [f"{size}*n" for size in crop],
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": True,
        "channel_def": {"0": "image"},
    }
    pred = {
        "type": "image",
        "format": "latent",
        "num_channels": width,
        "spatial_shape": ["*" for _ in crop],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
        "channel_def": named([f"feature {index}" for index in range(width)]),
    }
    return document(about, {"image": image}, {"pred": pred})


def page_of(
    model: PretrainedModel,
    name: str,
    embed: bool,
    recipe: AnswerRecipe,
    content: Mapping[str, Any],
) -> Page:
    """What the README tells."""
    told, encoder = model.content, encoder_of(model)
    spacing = told.get("spacing_mm")
    resampled = f"resampled to {spacing:g} mm" if spacing else "left at its own spacing"
    crop = " x ".join(map(str, told["crop"]))
    return Page(
        name=name,
        task="Features of volumes by an encoder that was pre-trained without labels.",
        network=str(recipe.network["_target_"]),
        embed=embed,
        packages=content["required_packages_version"],
        takes=(
            "`INPUT` is a volume or a folder of volumes (.nii.gz, .nii, .mha, .nrrd). Each is "
            f"turned to canonical axes, {resampled}, and scaled to 0..1: CT by the window "
            f"{told['window_hu'][0]:g} to {told['window_hu'][1]:g} HU, others by their 0.5 and "
            f"99.5 percentiles; crops of {crop} voxels cover it.",
        ),
        gives=(
            "`OUTPUT/VOLUME.json` and a row of `OUTPUT/answers.csv`: the embedding, the mean of "
            "the deepest map over all crops.",
            "`network_def` itself gives that map, (B, C, *S) of an image (B, 1, *S).",
        ),
        heading="Fine-tune",
        teaching=_fine_tuning(encoder, embed),
        card={},
    )


def _fine_tuning(encoder: Mapping[str, Any], embed: bool) -> tuple[str, ...]:
    network = dict(encoder["encoder"])
    row = NETWORKS[network.pop("name")]
    module, _, name = row.partition(":")
    # hybrid_mamba holds its encoder as a part of that name, the others are their own
    itself = encoder["encoder"]["name"] != "hybrid_mamba"
    place = {key: encoder[key] for key in ("spatial_dims", "in_channels")}
    known = parameters_of(NETWORKS.load(str(encoder["encoder"]["name"])))
    own = {key: value for key, value in place.items() if key in known}
    words = {**own, **network, "out_channels": 2}
    arguments = "".join(f"    {key}={value!r},\n" for key, value in words.items())
    stripped = 'weights = {key.removeprefix("encoder."): each for key, each in weights.items()}\n'
    return (
        "There is no `train.json`: what comes after the encoder is the task's. The segmentation "
        "network that the encoder belongs to takes its weights, and learns the rest:",
        "```python\n"
        "import torch\n"
        f"from {called(module, embed)} import {name}\n\n"
        f"network = {name}(\n{arguments})\n"
        'weights = torch.load("models/model.pt", weights_only=True)\n'
        f"{stripped if itself else ''}"
        "left = network.load_state_dict(weights, strict=False)\n"
        "assert not left.unexpected_keys\n"
        "```",
        "Give `network` to `monai.engines.SupervisedTrainer`; images must be scaled to 0..1 as "
        "above. With medssm: `medssm export MODEL FOLDER --to safetensors`, then "
        f"`medssm train DATA network={encoder['encoder']['name']} init=FOLDER`.",
    )
