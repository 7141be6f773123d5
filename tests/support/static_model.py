"""A model folder by hand: no planning, so that tests of other things start at once."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from medssm.core.files import write_json
from medssm.networks import NETWORKS

PATCH = (8, 8, 8)
NETWORK = {
    "name": "unet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [2, 4],
    "strides": [2], "residual_units": 0,
}  # fmt: skip
DATASET = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "part": 1},
    "numTraining": 2,
    "file_ending": ".nii.gz",
}


def static_plans(**changes: Any) -> dict[str, Any]:
    """The least that nnU-Net's plans hold; `changes` go into the configuration."""
    resampling = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    configuration: dict[str, Any] = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(PATCH),
        "median_image_size_in_voxels": list(PATCH),
        "spacing": [1.0, 1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "batch_dice": False,
        "architecture": {"network_class_name": "", "arch_kwargs": {}, "_kw_requires_import": []},
    }
    for part in ("data", "seg", "probabilities"):
        configuration[f"resampling_fn_{part}"] = "resample_data_or_seg_to_shape"
        configuration[f"resampling_fn_{part}_kwargs"] = {**resampling, "is_seg": part == "seg"}
    return {
        "dataset_name": "Dataset001_Some",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
        "original_median_shape_after_transp": list(PATCH),
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": {}},
        "configurations": {"3d_fullres": {**configuration, **changes}},
    }


def make_static_model(folder: Path) -> Path:
    """Write model.json, plans.json, dataset.json and the weights of one fold."""
    write_json(folder / "plans.json", static_plans())
    write_json(folder / "dataset.json", DATASET)
    write_json(
        folder / "model.json",
        {
            "format": 1,
            "field": "segmentation",
            "dataset": "Dataset001_Some",
            "network": NETWORK,
            "configuration": "3d_fullres",
            "plans_name": "nnUNetPlans",
            "patch_size": list(PATCH),
            "mirror_axes": [],
            "medssm_version": "0",
        },
    )
    (folder / "fold_0").mkdir()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = NETWORKS.build(**NETWORK)
    save_file(network.state_dict(), folder / "fold_0" / "weights.safetensors")
    return folder
