"""A plan from outside: names that become paths, and names that nnU-Net looks up, held to lists."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medssm.core.errors import BadDataError
from medssm.core.inert import file_name, refuse_expressions

_RESAMPLING = (
    "resample_data_or_seg_to_shape",
    "resample_torch_simple",
    "resample_torch_fornnunet",
    "no_resampling_hack",
)
# key -> what nnU-Net may be asked to look up under it
_OF_PLAN = {
    "image_reader_writer": (
        "SimpleITKIO",
        "SimpleITKIOWithReorient",
        "NibabelIO",
        "NibabelIOWithReorient",
        "NaturalImage2DIO",
        "Tiff3DIO",
    ),
    "label_manager": ("LabelManager",),
}
_OF_CONFIGURATION = {
    "resampling_fn_data": _RESAMPLING,
    "resampling_fn_seg": _RESAMPLING,
    "resampling_fn_probabilities": _RESAMPLING,
    "normalization_schemes": (
        "CTNormalization",
        "ZScoreNormalization",
        "NoNormalization",
        "RescaleTo01Normalization",
        "RGBTo01Normalization",
    ),
}


def check_plans(plans: Mapping[str, Any], file: Path) -> None:
    """Hold a plans JSON against what a plan may ask for.

    Args:
        plans: The whole JSON.
        file: Where it comes from.

    Raises:
        BadDataError: An expression, a name that leaves its folder, a class or function that is
            none of nnU-Net's own, or configurations that inherit from each other in a circle.
    """
    refuse_expressions(plans, file)
    if "plans_name" in plans:
        file_name(plans["plans_name"], "plans_name", file)
    _check_names(plans, _OF_PLAN, "", file)
    configurations = plans["configurations"]
    for name, settings in configurations.items():
        file_name(name, "the name of a configuration", file)
        if not isinstance(settings, Mapping):
            raise BadDataError(f"{file}: configuration {name} is {settings!r}; plan again.")
        if "data_identifier" in settings:
            file_name(settings["data_identifier"], f"{name}.data_identifier", file)
        _check_names(settings, _OF_CONFIGURATION, f"{name}.", file)
        _check_parents(configurations, name, file)


def _check_names(
    settings: Mapping[str, Any], known: Mapping[str, tuple[str, ...]], place: str, file: Path
) -> None:
    for key, names in known.items():
        told = settings.get(key)
        for each in told if isinstance(told, list) else [told]:
            if each is not None and each not in names:
                raise BadDataError(
                    f"{file}: {place}{key} is {each!r}. Expected one of {', '.join(names)}."
                )


def _check_parents(configurations: Mapping[str, Any], name: str, file: Path) -> None:
    seen = [name]
    while parent := configurations[seen[-1]].get("inherits_from"):
        known = isinstance(parent, str) and isinstance(configurations.get(parent), Mapping)
        if parent in seen or not known:
            raise BadDataError(
                f"{file}: {name} inherits from {parent!r}, which is "
                f"{'itself' if parent in seen else 'not there'}; plan again."
            )
        seen.append(parent)
