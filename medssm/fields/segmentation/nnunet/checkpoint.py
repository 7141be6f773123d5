"""A checkpoint in nnU-Net's layout of keys."""

from collections.abc import Mapping, Sequence
from typing import Any

# the class that nnU-Net always finds; the network stands in the plans, not in the trainer
TRAINER = "nnUNetTrainer"
FINAL = "checkpoint_final.pth"


def nnunet_checkpoint(
    weights: Mapping[str, Any],
    init_args: Mapping[str, Any],
    mirror_axes: Sequence[int] | None,
    *,
    optimizer: Mapping[str, Any],
    logging: Mapping[str, Any],
    epoch: int,
    best: float | None = None,
) -> dict[str, Any]:
    """The dictionary that nnU-Net's predictor and trainer read.

    Args:
        weights: State dict of the whole network.
        init_args: Arguments of the trainer: plans, configuration, fold and dataset.json.
        mirror_axes: Axes that prediction may mirror; None for none.
        optimizer: State of the optimiser.
        logging: Curves as nnU-Net's logger keeps them.
        epoch: Epochs done.
        best: Best moving average of the pseudo Dice.

    Source:
        nnU-Net 2.8.1, checkpoints of the trainer.
    """
    return {
        "network_weights": dict(weights),
        "optimizer_state": dict(optimizer),
        # no scaler: neither bfloat16 nor float32 needs one
        "grad_scaler_state": None,
        "logging": dict(logging),
        "_best_ema": best,
        "current_epoch": epoch,
        "init_args": dict(init_args),
        "trainer_name": TRAINER,
        "inference_allowed_mirroring_axes": tuple(mirror_axes) if mirror_axes else None,
    }
