"""The facts of a bundle: metadata.json, held against the fields that MONAI's schema asks for."""

import importlib.metadata as installed
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import medssm
from medssm.core.errors import MedssmError

SCHEMA = "https://project-monai.github.io/schema/meta_schema_20240725.json"
# what MONAI's schema of 2024-07-25 demands, and of which type
_REQUIRED: Mapping[str, type] = {
    "schema": str, "version": str, "monai_version": str, "pytorch_version": str,
    "numpy_version": str, "required_packages_version": dict, "task": str, "description": str,
    "authors": str, "copyright": str, "network_data_format": dict,
}  # fmt: skip
_TENSOR: Mapping[str, type] = {
    "type": str, "format": str, "num_channels": int, "spatial_shape": list, "dtype": str,
    "value_range": list,
}  # fmt: skip
# in the bundle's own code, and to run it
_NEEDS = ("nibabel", "pytorch-ignite", "scipy", "scikit-image")


@dataclass(frozen=True)
class Facts:
    """What a bundle says of its network.

    Args:
        name: Of the bundle.
        task: One line.
        description: A paragraph.
        channels: Names of the input's channels.
        outputs: Names of the network's logits, in order.
        modality: "CT", "MR" or another word.
        divisors: What each spatial size must be a multiple of.
        regions: Whether the logits are regions, each with a sigmoid of its own.
        embedded: Whether the network's code lies in the bundle.
        figures: Evaluation figures, plain data.
        licence: Of the data set.
        references: Papers.
    """

    name: str
    task: str
    description: str
    channels: Sequence[str]
    outputs: Sequence[str]
    modality: str
    divisors: Sequence[int]
    regions: bool
    embedded: bool
    figures: Mapping[str, Any]
    licence: str
    references: Sequence[str]


@dataclass(frozen=True)
class About:
    """What a bundle of any field says of itself.

    Args:
        name: Of the bundle.
        task: One line.
        description: A paragraph.
        needs: Packages, beside MONAI, PyTorch and numpy, without which it does not run.
        figures: Evaluation figures, plain data.
        licence: Of the data set.
        references: Papers.
    """

    name: str
    task: str
    description: str
    needs: Sequence[str]
    figures: Mapping[str, Any]
    licence: str
    references: Sequence[str] = ()


def document(about: About, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The content of metadata.json.

    Args:
        about: What the bundle says of itself.
        inputs: The tensors that the network takes, by name, the first one "image".
        outputs: The tensors that it gives, by name, the first one "pred".
    """
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "written by medssm export"},
        "name": about.name,
        "monai_version": _version("monai"),
        "pytorch_version": _version("torch").partition("+")[0],
        "numpy_version": _version("numpy"),
        "required_packages_version": {each: _version(each) for each in about.needs},
        "task": about.task,
        "description": about.description,
        "authors": "written by medssm export; name yourself here before you publish it",
        "copyright": "of the network's weights: theirs who trained them; of the code: Apache-2.0",
        "data_source": about.licence,
        "intended_use": "Research; no medical device.",
        "references": list(about.references),
        "eval_metrics": dict(about.figures),
        "network_data_format": {"inputs": dict(inputs), "outputs": dict(outputs)},
    }


def named(names: Sequence[str]) -> dict[str, str]:
    """Names of channels as a channel_def."""
    return {str(index): str(each) for index, each in enumerate(names)}


def answers(names: Sequence[str]) -> dict[str, Any]:
    """A vector of numbers a case as a tensor that a network gives, with their names."""
    return {
        "type": "probabilities",
        "format": "classes",
        "num_channels": len(names),
        "spatial_shape": [],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": named(names),
    }


def needed(packages: Sequence[str], embed: bool) -> tuple[str, ...]:
    """Packages that a bundle needs; medssm too, where its code does not travel."""
    return (*packages, *(() if embed else ("medssm",)))


def unknown_licence(dataset: object) -> str:
    """What is said of the licence of data that came without one."""
    return f"unknown: ask who made the data set {dataset}"


def metadata(facts: Facts) -> dict[str, Any]:
    """The content of metadata.json of a network of images."""
    shape = [f"{max(16, 2 * each)}*n" for each in facts.divisors]
    common = {"type": "image", "spatial_shape": shape, "dtype": "float32", "is_patch_data": True}
    about = About(
        facts.name, facts.task, facts.description,
        list(_NEEDS) if facts.embedded else [*_NEEDS, "medssm"],
        facts.figures, facts.licence, facts.references,
    )  # fmt: skip
    image = {
        **common,
        "format": "hounsfield" if facts.modality == "CT" else "magnitude",
        "modality": facts.modality,
        "num_channels": len(facts.channels),
        "value_range": [],
        "channel_def": named(facts.channels),
    }
    pred = {
        **common,
        "format": "segmentation",
        "num_channels": len(facts.outputs),
        "value_range": [],
        "channel_def": named(facts.outputs),
    }
    return {
        **document(about, {"image": image}, {"pred": pred}),
        "supported_apps": {"monai-label": ""},
    }


def check_metadata(content: Mapping[str, Any]) -> None:
    """Hold metadata against the fields and types that MONAI's schema demands, without a network.

    Raises:
        MedssmError: A field is missing or of another type.
    """
    _check(content, _REQUIRED, "metadata.json")
    formats = content["network_data_format"]
    for part in ("inputs", "outputs"):
        entries = formats.get(part)
        if not isinstance(entries, Mapping) or not entries:
            raise MedssmError(f"metadata.json: network_data_format has no {part}.")
        for name, entry in entries.items():
            if isinstance(entry, Mapping):
                _check(entry, _TENSOR, f"metadata.json: {part} {name}")


def _check(content: Mapping[str, Any], wanted: Mapping[str, type], where: str) -> None:
    for name, kind in wanted.items():
        if not isinstance(content.get(name), kind):
            raise MedssmError(
                f"{where}: {name} is {content.get(name)!r}; expected a {kind.__name__}."
            )


def _version(package: str) -> str:
    if package == "medssm":
        return medssm.__version__
    try:
        return installed.version(package)
    except installed.PackageNotFoundError:
        return ""
