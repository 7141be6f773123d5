"""The parts that every configuration of a bundle that trains has in the same words."""

from typing import Any

from medssm.bundle.config_parts import Config, at


def train_handlers() -> list[Config]:
    """Validate every few epochs, and tell the loss."""
    return [
        at(
            "ValidationHandler",
            validator="@validate#evaluator",
            epoch_level=True,
            interval="@val_interval",
        ),
        at(
            "StatsHandler",
            tag_name="loss",
            output_transform="$monai.handlers.from_engine(['loss'], first=True)",
        ),
    ]


def trainer(**more: Any) -> Config:
    """The engine that trains."""
    return at(
        "SupervisedTrainer",
        max_epochs="@epochs",
        device="@device",
        train_data_loader="@train#dataloader",
        network="@network",
        loss_function="@loss",
        optimizer="@optimizer",
        inferer="@train#inferer",
        train_handlers="@train#handlers",
        **more,
    )


def best_saver(**more: Any) -> Config:
    """Write the weights that validate best to models/model_trained.pt."""
    return at(
        "CheckpointSaver",
        save_dir="$@bundle_root + '/models'",
        save_dict={"model": "@network"},
        save_key_metric=True,
        key_metric_filename="model_trained.pt",
        **more,
    )
