"""What a program's user must do before and after it, as plain data: all that the plan says."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from medssm.data.labels import Labels
from medssm.fields.segmentation.plan_file import Plan
from medssm.fields.segmentation.trained import TrainedModel

_SCHEMES: Mapping[str, str] = {
    "ZScoreNormalization": "(x - mean) / std of this image's own voxels",
    "CTNormalization": "clip to clip, then (x - mean) / std, all given here",
    "RescaleTo01Normalization": "(x - min) / (max - min) of this image's own voxels",
    "RGBTo01Normalization": "x / 255",
    "NoNormalization": "x as it is",
}
_OBJECT = "those that are not 0 in some channel, holes filled; others stay as they are"
_THICK = (
    "where the image's or else the plan's longest voxel side is over 3 times the shortest; between "
    "planes by a spline of order between_planes"
)


def description(model: TrainedModel, network: nn.Module) -> dict[str, Any]:
    """Channels, outputs, steps before and after a network and its windows.

    Args:
        model: The model.
        network: Its network, which knows what sizes it takes.
    """
    plan = model.plan
    divisors = getattr(network, "divisors", (1,) * plan.spatial_dims)
    return {
        "network": dict(model.content["network"]),
        "input": {
            "axes": "(B, C, *S), float32",
            "channels": [str(each) for each in model.dataset["channel_names"].values()],
            "sizes_are_multiples_of": list(divisors),
        },
        "output": {"axes": "(B, K, *S), float32", **_outputs(plan.labels)},
        "before": _before(plan),
        "windows": {
            "size": list(plan.patch_size),
            "overlap": 0.5,
            "placed": "evenly from edge to edge, image padded with zeros to one window",
            "weight": "Gaussian around voxel size // 2, sigma an eighth of the window's side",
            "mirror_axes": list(model.mirror_axes),
            "mirrored": "logits are averaged over every set of these axes of S",
        },
        "after": [
            "resample logits back to the size of the crop, splines of order 1, as before",
            "take labels as output says",
            "put them into the image's grid, background outside the crop; axes back",
        ],
    }


def output_names(labels: Labels) -> Sequence[str]:
    """Of each logit, in order: regions as declared, classes by their value."""
    if labels.has_regions:
        return labels.foreground
    return ("background", *sorted(labels.foreground, key=labels.members))


def _outputs(labels: Labels) -> dict[str, Any]:
    names = list(output_names(labels))
    if not labels.has_regions:
        rule = "the index of the largest logit is the label's value"
        return {"logits_of": names, "label": rule}
    return {
        "logits_of": names,
        "label": "start with 0; region by region, paint its value where its logit is above 0",
        "values": list(labels.regions_class_order or ()),
    }


def _before(plan: Plan) -> dict[str, Any]:
    """The steps before the windows, in order."""
    settings = plan.settings
    resampled = settings.get("resampling_fn_data_kwargs", {})
    separate = resampled.get("force_separate_z")
    return {
        "axes": {"of_the_array": _axes(plan), "order": list(plan.plans["transpose_forward"])},
        "crop": "to the box of the voxels that are not 0 in some channel",
        "normalisation": [
            _normalisation(plan, channel)
            for channel in range(len(settings["normalization_schemes"]))
        ],
        "resampling": {
            # a network of planes leaves the first axis of a volume as it is
            "spacing_mm": list(plan.spacing_mm),
            "size": "round(old size * old spacing / spacing_mm)",
            "spline_order": int(resampled.get("order", 3)),
            "edges": "repeated; grids are aligned by the sides of their voxels, not the middles",
            "planes_one_by_one": _THICK if separate is None else bool(separate),
            "between_planes": int(resampled.get("order_z", 0)),
        },
    }


def _axes(plan: Plan) -> str:
    if plan.plans.get("image_reader_writer") == "NaturalImage2DIO":
        return "1, rows, columns, with a spacing of 999, 1, 1"
    return "z, y, x: SimpleITK.GetArrayFromImage, or nibabel's array with its axes reversed"


def _normalisation(plan: Plan, channel: int) -> dict[str, Any]:
    scheme = plan.settings["normalization_schemes"][channel]
    facts: dict[str, Any] = {"scheme": scheme, "rule": _SCHEMES[scheme]}
    if scheme == "CTNormalization":
        found = plan.plans["foreground_intensity_properties_per_channel"][str(channel)]
        facts["clip"] = [float(found["percentile_00_5"]), float(found["percentile_99_5"])]
        facts |= {"mean": float(found["mean"]), "std": float(found["std"])}
    if scheme == "ZScoreNormalization":
        masked = bool(plan.settings["use_mask_for_norm"][channel])
        facts["voxels"] = _OBJECT if masked else "all of the crop"
    return facts
