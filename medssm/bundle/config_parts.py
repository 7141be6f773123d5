"""The parts of which the configurations of a bundle are made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Config = dict[str, Any]
HOME = "medssm.bundle.travel"
# where a case has several channels, its files are called CASE_0000, CASE_0001, ...
_FIRST = "_0000"


@dataclass(frozen=True)
class Recipe:
    """What the configurations of one bundle are made of.

    Args:
        network: The class to build, as MONAI writes it, and its arguments.
        travel: Module of our transforms and inferer: in this package or in the bundle.
        axes: Which axis of a file each axis of the network's array is.
        spacing_mm: Of the plan, by axes of the array; two numbers for planes.
        patch: Window in voxels.
        mirror_axes: Axes mirrored in prediction.
        schemes: Normalisation of each channel, in nnU-Net's words.
        masked: Of each channel, whether only the object is normalised.
        intensities: Of each channel, the foreground's figures in training.
        ending: Of files, such as ".nii.gz".
        files: Files of a case: one a channel, or one with all.
        pictures: Whether files are pictures, not volumes.
        labels: Values of a label map, background included, the one to ignore left out.
        ignore: The value of a label map that says nothing; None where there is none.
        regions: Labels of regions in the order of painting; empty for classes.
        members: Label values of each region, in the order of the logits.
        batch: Samples of a training step.
        lr: Learning rate of the training configuration.
    """

    network: Mapping[str, Any]
    travel: str
    axes: Sequence[int]
    spacing_mm: Sequence[float]
    patch: Sequence[int]
    mirror_axes: Sequence[int]
    schemes: Sequence[str]
    masked: Sequence[bool]
    intensities: Sequence[Mapping[str, float]]
    ending: str
    labels: int
    regions: Sequence[int] = ()
    members: Sequence[Sequence[int]] = ()
    ignore: int | None = None
    files: int = 1
    pictures: bool = False
    batch: int = 2
    lr: float = 1e-3


def files(recipe: Recipe) -> str:
    """The expression that lists the images, each a file or one file a channel.

    Where a folder holds none, it lists what was looked for, which cannot be opened: MONAI would
    end well with nothing done.
    """
    if recipe.files == 1:
        wanted = "os.path.join(@dataset_dir, '*' + @ending)"
        return f"$sorted(glob.glob({wanted})) or [{wanted}]"
    wanted = f"os.path.join(@dataset_dir, '*{_FIRST}' + @ending)"
    return (
        f"$[[each.replace('{_FIRST}' + @ending, f'_{{i:04d}}' + @ending) for i in"
        f" range({recipe.files})] for each in sorted(glob.glob({wanted})) or [{wanted}]]"
    )


def pairs(recipe: Recipe) -> str:
    """The expression that pairs images with labels, which are called as the case."""
    name = "os.path.basename(each)"
    if recipe.files > 1:
        name = f"os.path.basename(each[0]).replace('{_FIRST}' + @ending, @ending)"
    label = f"os.path.join(@labels_dir, {name})"
    return f"$[{{'image': each, 'label': {label}}} for each in @files]"


def common(recipe: Recipe) -> Config:
    """What every configuration begins with."""
    return {
        "imports": ["$import glob", "$import os", "$import monai"],
        "bundle_root": ".",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "ckpt_path": "$@bundle_root + '/models/model.pt'",
        "dataset_dir": "$@bundle_root + '/data'",
        "files": files(recipe),
        "output_dir": "$@bundle_root + '/eval'",
        "ending": recipe.ending,
        "network_def": dict(recipe.network),
        "network": "$@network_def.to(@device)",
    }


def image_transforms(recipe: Recipe, images: list[str], labels: Sequence[str] = ()) -> list[Config]:
    """What the plan does to images, and to labels that go along."""
    keys = [*images, *labels]
    indices = [0, *(axis + 1 for axis in recipe.axes)]
    resampled = f"{recipe.travel}.transforms.ResampleAsPlannedd"
    common = {"spacing_mm": list(recipe.spacing_mm), "axes": list(recipe.axes)}
    transforms = [
        *read(recipe, keys),
        at("Transposed", keys=keys, indices=indices),
        at(
            "CropForegroundd",
            keys=keys,
            source_key=images[0],
            select_fn="$lambda x: x != 0",
            allow_smaller=True,
        ),
        _normalised(recipe, images),
        {"_target_": resampled, "keys": images, **common},
    ]
    if labels:
        transforms.append({"_target_": resampled, "keys": list(labels), **common, "order": 0})
    return [*transforms, at("EnsureTyped", keys=keys)]


def read(recipe: Recipe, keys: list[str]) -> list[Config]:
    """Files to arrays, channels first."""
    if recipe.pictures:
        return [{"_target_": f"{recipe.travel}.pictures.LoadPictured", "keys": keys}]
    return [at("LoadImaged", keys=keys), at("EnsureChannelFirstd", keys=keys)]


def _normalised(recipe: Recipe, images: list[str]) -> Config:
    """MONAI's own normalisation where it does the same, else ours."""
    schemes = set(recipe.schemes)
    if schemes == {"ZScoreNormalization"} and not any(recipe.masked):
        return at("NormalizeIntensityd", keys=images, channel_wise=True)
    if schemes == {"CTNormalization"} and len(recipe.schemes) == 1:
        facts = recipe.intensities[0]
        low, high = facts["percentile_00_5"], facts["percentile_99_5"]
        mean, std = facts["mean"], max(facts["std"], 1e-8)
        return at(
            "ScaleIntensityRanged",
            keys=images,
            a_min=low,
            a_max=high,
            b_min=(low - mean) / std,
            b_max=(high - mean) / std,
            clip=True,
        )
    return {
        "_target_": f"{recipe.travel}.transforms.NormalizeAsPlannedd",
        "keys": images,
        "schemes": list(recipe.schemes),
        "masked": [bool(each) for each in recipe.masked],
        "intensities": [dict(each) for each in recipe.intensities],
    }


def inferer(recipe: Recipe) -> Config:
    """The sliding window of our own predictor."""
    return {
        "_target_": f"{recipe.travel}.inferer.EvenWindowsInferer",
        "roi_size": list(recipe.patch),
        "mirror_axes": list(recipe.mirror_axes),
    }


def restored(recipe: Recipe) -> list[Config]:
    """From logits on the plan's grid to labels on the image's own."""
    inverted = at(
        "Invertd",
        keys="pred",
        transform="@preprocessing",
        orig_keys="image",
        nearest_interp=False,
        to_tensor=True,
    )
    if recipe.regions:
        painted = f"{recipe.travel}.transforms.PaintRegionsd"
        return [inverted, {"_target_": painted, "keys": "pred", "values": list(recipe.regions)}]
    return [inverted, at("AsDiscreted", keys="pred", argmax=True)]


def saved(recipe: Recipe) -> Config:
    """Write label maps as the images are named."""
    if recipe.pictures:
        return {
            "_target_": f"{recipe.travel}.pictures.SavePictured",
            "keys": "pred",
            "output_dir": "@output_dir",
            "ending": recipe.ending,
        }
    return at(
        "SaveImaged",
        keys="pred",
        output_dir="@output_dir",
        output_postfix="seg",
        output_ext=recipe.ending,
        separate_folder=False,
        output_dtype="uint8",
        resample=False,
    )


def weights() -> Config:
    """Load models/model.pt."""
    return at("CheckpointLoader", load_path="@ckpt_path", load_dict={"model": "@network"})


def loader(dataset: str, batch: int, shuffle: bool = False) -> Config:
    """Batches of a data set."""
    return at("DataLoader", dataset=dataset, batch_size=batch, shuffle=shuffle, num_workers=0)


def compose(transforms: Sequence[Config]) -> Config:
    """Transforms one after the other."""
    return at("Compose", transforms=list(transforms))


def at(target: str, **arguments: Any) -> Config:
    """An object as MONAI's configurations write it."""
    return {"_target_": target, **arguments}
