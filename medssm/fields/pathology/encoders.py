"""Patch encoders: a timm architecture with weights that the user gives; nothing is downloaded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medssm.core.errors import BadDataError, UsageError, nearest
from medssm.core.extras import require
from medssm.core.files import sha256
from medssm.core.registry import Table
from medssm.networks.keymaps.checkpoint_files import read_checkpoint_file, unwrap

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# made here: weights that are drawn instead of learned
RANDOM = "random"
# of published checkpoints: what the encoder does not use
_HEADS = ("head.", "fc.", "layer4.", "classifier.", "mask_token")
_SHOWN = 5


@dataclass(frozen=True)
class EncoderConfig:
    """Which encoder, and how it sees a tile.

    Args:
        name: A row of `ENCODERS`, or any architecture of timm.
        weights: A .pth, .bin or .safetensors file, or "random" for weights drawn from `seed`.
        arguments: Further arguments of the architecture, where a checkpoint needs them.
        input_px: Edge to which a tile is brought; None takes the encoder's own.
        mean: Of the channels that is taken off, values 0 to 1; None takes the encoder's own.
        std: By which the channels are divided; None takes the encoder's own.
        seed: Of random weights.
        batch_size: Tiles at once.
        device: "auto", "cpu", "cuda", ...
    """

    name: str = "resnet50_trunc"
    weights: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    input_px: int | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    seed: int = 0
    batch_size: int = 32
    device: str = "auto"


@dataclass(frozen=True)
class Recipe:
    """What is known of an encoder.

    Args:
        architecture: Its name in timm.
        arguments: How it is built.
        input_px: Edge of what it sees; None takes timm's own.
        mean: Of the channels; None takes timm's own.
        std: Of the channels; None takes timm's own.
        pooled_map: Whether it ends in a map that is averaged.
        make: Builds a network that timm does not have; it takes `arguments`.
    """

    architecture: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    input_px: int | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    pooled_map: bool = False
    make: Callable[..., nn.Module] | None = None


def resnet50_trunc() -> Recipe:
    """CLAM's default: ResNet-50 up to its third stage, 1024 numbers, weights resnet50.tv_in1k."""
    return Recipe(
        "resnet50", {"features_only": True, "out_indices": (3,)}, 224, IMAGENET_MEAN, IMAGENET_STD,
        pooled_map=True,
    )  # fmt: skip


def uni_v1() -> Recipe:
    """UNI (Chen et al., 2024): ViT-L/16, 1024 numbers; its weights need accepted terms."""
    return Recipe(
        "vit_large_patch16_224", {"init_values": 1e-5, "dynamic_img_size": True, "num_classes": 0},
        224, IMAGENET_MEAN, IMAGENET_STD,
    )  # fmt: skip


# encoders with code of their own join as plug-ins that return a Recipe with `make`
ENCODERS = Table(
    "patch encoder",
    {
        "resnet50_trunc": "medssm.fields.pathology.encoders:resnet50_trunc",
        "uni_v1": "medssm.fields.pathology.encoders:uni_v1",
    },
    "medssm.patch_encoders",
)


# arguments by which timm opens files
_OPENING = ("checkpoint_path", "cache_dir")


class PatchEncoder(nn.Module):
    """Tiles to features.

    Args:
        body: Pictures (B, 3, H, W) to features (B, D) or maps (B, D, H, W).
        recipe: How it sees.
        facts: What is written beside the features.

    Shape:
        tiles: (B, H, W, 3) uint8; result: (B, D) float32.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, recipe: Recipe, facts: Mapping[str, Any]) -> None:
        super().__init__()
        self.body, self.recipe, self.facts = body, recipe, dict(facts)
        for name in ("mean", "std"):
            values = torch.tensor(getattr(recipe, name), dtype=torch.float32)
            self.register_buffer(name, values.view(1, 3, 1, 1))

    @torch.inference_mode()
    def forward(self, tiles: Tensor) -> Tensor:
        """Encode tiles."""
        x = tiles.permute(0, 3, 1, 2).to(self.mean.device, torch.float32) / 255
        edge = self.recipe.input_px
        if edge is not None and x.shape[-1] != edge:
            x = F.interpolate(x, (edge, edge), mode="bilinear", antialias=True).clamp(0, 1)
        features = self.body((x - self.mean) / self.std)
        if self.recipe.pooled_map:
            features = features[-1].mean(dim=(2, 3))
        return features.float()


def build_encoder(config: EncoderConfig) -> PatchEncoder:
    """Build an encoder and load what the user gives; the card of it is `facts`.

    Raises:
        UsageError: No such encoder, an argument it does not take, or no word on the weights.
        BadDataError: The checkpoint does not fit; missing and unknown keys are named.
        MachineError: timm is not installed.
    """
    recipe = _recipe(config)
    if config.weights is None:
        raise UsageError(
            f"encoder {config.name!r} has no weights; nothing is downloaded here. Give a file with "
            "preprocess.encoder.weights=FILE, or try the way without: preprocess.encoder.weights="
            "random."
        )
    body = _body(recipe, config)
    recipe = _with_defaults(recipe, config, body)
    facts = {
        "encoder": config.name,
        "architecture": recipe.architecture,
        "arguments": dict(recipe.arguments),
        "input_px": recipe.input_px,
        "mean": list(recipe.mean or ()),
        "std": list(recipe.std or ()),
        "encoder_sha256": f"random, seed {config.seed}",
    }
    if config.weights != RANDOM:
        file = Path(config.weights).expanduser()
        _load(body, file, config.name)
        facts["encoder_sha256"] = sha256(file)
    return PatchEncoder(body.eval(), recipe, facts)


def _recipe(config: EncoderConfig) -> Recipe:
    timm: Any = require("timm", "pathology")
    # a model folder from elsewhere has these words too, and timm would fetch or unpickle files
    opening = [key for key in config.arguments if key in _OPENING or key.startswith("pretrained")]
    if opening:
        raise UsageError(
            f"encoder.arguments.{opening[0]} is refused: weights are given as encoder.weights=FILE "
            "alone."
        )
    if config.name in ENCODERS:
        recipe = ENCODERS.build(config.name)
        if not isinstance(recipe, Recipe):
            raise UsageError(f"the plug-in {config.name!r} gave {type(recipe).__name__}; expected "
                             "a Recipe.")  # fmt: skip
    elif timm.is_model(config.name):
        recipe = Recipe(config.name, {"num_classes": 0})
    else:
        close = timm.list_models(f"*{config.name.split('_')[0]}*")[:50]
        known = nearest(config.name, {*ENCODERS, *close})
        raise UsageError(f"there is no patch encoder {config.name!r}; {known}")
    return replace(recipe, arguments={**recipe.arguments, **config.arguments})


def _body(recipe: Recipe, config: EncoderConfig) -> nn.Module:
    """The network with weights of the seed; drawing them leaves the global generator alone."""
    timm: Any = require("timm", "pathology")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        make = recipe.make or partial(timm.create_model, recipe.architecture, pretrained=False)
        try:
            body: nn.Module = make(**recipe.arguments)
        except (TypeError, RuntimeError, ValueError) as error:
            raise UsageError(
                f"{recipe.architecture!r} cannot be built with {dict(recipe.arguments)}: {error}"
            ) from None
    return body


def _with_defaults(recipe: Recipe, config: EncoderConfig, body: nn.Module) -> Recipe:
    """The user's word, else the recipe's, else timm's."""
    timm: Any = require("timm", "pathology")
    known = timm.data.resolve_model_data_config(body)
    return replace(
        recipe,
        input_px=config.input_px or recipe.input_px or int(known["input_size"][-1]),
        mean=config.mean or recipe.mean or tuple(known["mean"]),
        std=config.std or recipe.std or tuple(known["std"]),
    )


def _load(body: nn.Module, file: Path, name: str) -> None:
    state = unwrap(read_checkpoint_file(file))
    wanted = body.state_dict()
    missing = [
        key for key in wanted if key not in state and not key.endswith("num_batches_tracked")
    ]
    strange = [key for key in state if key not in wanted and not key.startswith(_HEADS)]
    sizes = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    if missing or strange or sizes:
        told = [
            f"{len(keys)} {what} ({', '.join(keys[:_SHOWN])}{', …' if len(keys) > _SHOWN else ''})"
            for keys, what in ((missing, "missing"), (strange, "unknown"), (sizes, "of other size"))
            if keys
        ]
        raise BadDataError(
            f"{file}: does not fit the encoder {name!r}: {'; '.join(told)}. Expected its "
            f"{len(wanted)} tensors; name the right architecture with "
            "preprocess.encoder.name and preprocess.encoder.arguments."
        )
    body.load_state_dict({key: state[key] for key in wanted if key in state}, strict=False)
