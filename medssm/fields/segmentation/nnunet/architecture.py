"""The network that nnU-Net's plans ask for, by a table: no class is looked up by its path."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager
from torch import Tensor, nn

from medssm.core.errors import BadDataError, UsageError
from medssm.fields.segmentation.plan_file import Plan
from medssm.networks import NETWORKS
from medssm.networks.nnunet import CLASS_PATH, SIZES
from medssm.networks.nnunet_unets import Nonlinearity

_STOCK = "dynamic_network_architectures.architectures."
# architecture.network_class_name -> our network
ADMITTED = {
    f"{_STOCK}unet.PlainConvUNet": "plain_conv_unet",
    f"{_STOCK}unet.ResidualEncoderUNet": "residual_encoder_unet",
    # where plans of before 2.5 have it
    f"{_STOCK}residual_unet.ResidualEncoderUNet": "residual_encoder_unet",
    CLASS_PATH: "the network that the plan names",
}
_COUNTS = {"plain_conv_unet": "n_conv_per_stage", "residual_encoder_unet": "n_blocks_per_stage"}
_CLASS = re.compile(r"torch\.nn\.(?:modules\.\w+\.)?(?P<name>[A-Za-z0-9]+)")
_OF_DIMS = re.compile(r"(?P<kind>Conv|InstanceNorm|BatchNorm|Dropout)(?P<dims>[123])d")
_READ = {
    "n_stages", "features_per_stage", "conv_op", "kernel_sizes", "strides", "n_conv_per_stage",
    "n_blocks_per_stage", "n_conv_per_stage_decoder", "conv_bias", "norm_op", "norm_op_kwargs",
    "dropout_op", "dropout_op_kwargs", "nonlin", "nonlin_kwargs", "nonlin_first", "stem_channels",
    "deep_supervision",
}  # fmt: skip
# how training wraps a network
_WRAPPINGS = ("module.", "_orig_mod.")
_TWIN = re.compile(r"^(?P<block>.*)\.(?:conv|norm|dropout|nonlin)\.(?P<leaf>\w+)$")


@dataclass(frozen=True)
class Architecture:
    """A network of ours that stands for the one of a plan.

    Args:
        network: Name and arguments.
        ours: How our names of its weights begin.
        stock: How nnU-Net's names of the same weights begin.
    """

    network: Mapping[str, Any]
    ours: str
    stock: str


def architecture_of(plan: Plan, file: object) -> Architecture:
    """Read a plan's architecture.

    Args:
        plan: The plan, in the configuration that is wanted.
        file: Where it comes from, for messages.

    Raises:
        BadDataError: A class that is not in the table, or arguments that it does not know.
    """
    # plans of before 2.5 say the same in other words, which nnU-Net itself translates
    settings = ConfigurationManager(dict(plan.settings)).configuration
    told = settings.get("architecture")
    if not isinstance(told, Mapping) or not isinstance(told.get("arch_kwargs"), Mapping):
        raise BadDataError(f"{file}: {plan.configuration} tells no architecture; plan again.")
    path, arguments = told.get("network_class_name"), told["arch_kwargs"]
    if path not in ADMITTED:
        raise BadDataError(
            f"{file}: architecture.network_class_name is {path!r}. Expected one of "
            f"{', '.join(ADMITTED)}: classes that a file names are not looked up."
        )
    sizes = dict(
        zip(SIZES, (plan.spatial_dims, plan.num_channels, plan.labels.num_outputs), strict=True)
    )
    if path == CLASS_PATH:
        return Architecture({**_named(arguments, file), **sizes}, "", "network.")
    name = ADMITTED[str(path)]
    try:
        read = _stock(name, arguments, plan, file)
    except (KeyError, TypeError, ValueError) as error:
        raise BadDataError(
            f"{file}: arch_kwargs cannot be read ({type(error).__name__}: {error}). Expected what "
            f"nnU-Net's planner writes for {path}."
        ) from error
    return Architecture({"name": name, **sizes, **read}, "net.", "")


def build(architecture: Architecture, file: object) -> nn.Module:
    """The network, with start values.

    Raises:
        BadDataError: Its arguments make no network.
    """
    try:
        network: nn.Module = NETWORKS.build(**architecture.network)
    except (UsageError, AssertionError, TypeError, ValueError, RuntimeError) as error:
        raise BadDataError(f"{file}: arch_kwargs make no network ({error}).") from error
    return network


def _named(arguments: Mapping[str, Any], file: object) -> dict[str, Any]:
    network = arguments.get("network")
    if not isinstance(network, Mapping) or network.get("name") not in NETWORKS:
        raise BadDataError(
            f"{file}: arch_kwargs.network is {network!r}. Expected name and arguments of one of "
            f"{', '.join(NETWORKS)}."
        )
    return dict(network)


def _stock(name: str, arguments: Mapping[str, Any], plan: Plan, file: object) -> dict[str, Any]:
    strange = [
        key for key, value in arguments.items() if key not in _READ and value not in (None, False)
    ]
    if strange:
        raise BadDataError(
            f"{file}: arch_kwargs.{strange[0]} is {arguments[strange[0]]!r}, which medssm's "
            f"{name} does not have. Expected only {', '.join(sorted(_READ))}."
        )
    depth = int(arguments["n_stages"])
    features = arguments["features_per_stage"]
    read = {
        "features": [features] * depth if isinstance(features, int) else list(features),
        "kernel_sizes": _levels(arguments["kernel_sizes"], depth),
        "strides": _levels(arguments["strides"], depth),
        "convolutions": _levels(arguments[_COUNTS[name]], depth),
        "decoder_convolutions": _levels(arguments["n_conv_per_stage_decoder"], depth - 1),
        "bias": bool(arguments.get("conv_bias", False)),
        "norm": _of_dims(arguments, "norm_op", ("InstanceNorm", "BatchNorm"), plan, file),
        "norm_arguments": dict(arguments.get("norm_op_kwargs") or {}),
        "dropout": _dropout(arguments, plan, file),
        "nonlinearity": _nonlinearity(arguments.get("nonlin"), file),
        "nonlinearity_arguments": dict(arguments.get("nonlin_kwargs") or {}),
        # nnU-Net always makes the inner heads, so that its checkpoints hold them
        "deep_supervision": True,
    }
    _of_dims(arguments, "conv_op", ("Conv",), plan, file)
    if name == "plain_conv_unet":
        read["nonlinearity_first"] = bool(arguments.get("nonlin_first", False))
    else:
        read["stem"] = arguments.get("stem_channels")
    return read


def _levels(given: Any, depth: int) -> list[Any]:
    return [given] * depth if isinstance(given, int) else list(given)


def _class_name(path: Any, key: str, file: object) -> str:
    """The last word of a class of torch.nn."""
    match = _CLASS.fullmatch(path) if isinstance(path, str) else None
    if match is None:
        raise BadDataError(
            f"{file}: arch_kwargs.{key} is {path!r}. Expected a class of torch.nn by its path."
        )
    return match["name"]


def _of_dims(
    arguments: Mapping[str, Any], key: str, kinds: tuple[str, ...], plan: Plan, file: object
) -> str | None:
    """Which kind of layer, once it is one for the plan's number of axes."""
    path = arguments.get(key)
    if path is None:
        return None
    match = _OF_DIMS.fullmatch(_class_name(path, key, file))
    if match is None or match["kind"] not in kinds or int(match["dims"]) != plan.spatial_dims:
        wanted = " or ".join(f"torch.nn.{kind}{plan.spatial_dims}d" for kind in kinds)
        raise BadDataError(f"{file}: arch_kwargs.{key} is {path!r}. Expected {wanted}.")
    return match["kind"]


def _dropout(arguments: Mapping[str, Any], plan: Plan, file: object) -> float:
    kind = _of_dims(arguments, "dropout_op", ("Dropout",), plan, file)
    told = arguments.get("dropout_op_kwargs") or {}
    return float(told.get("p", 0.5)) if kind else 0.0


def _nonlinearity(path: Any, file: object) -> str | None:
    if path is None:
        return None
    name = _class_name(path, "nonlin", file)
    if name not in get_args(Nonlinearity):
        known = ", ".join(get_args(Nonlinearity))
        raise BadDataError(f"{file}: arch_kwargs.nonlin is {path!r}. Expected torch.nn: {known}.")
    return name


def fill(
    network: nn.Module, architecture: Architecture, state: Mapping[str, Any], file: object
) -> None:
    """Load the weights of a stock checkpoint.

    Args:
        network: Built from `architecture`.
        architecture: How names correspond.
        state: The checkpoint's network_weights.
        file: Where they come from, for messages.

    Raises:
        BadDataError: A weight is missing, left over or of another shape.
    """
    given = {
        _unwrapped(str(key)): value for key, value in state.items() if isinstance(value, Tensor)
    }
    ours = network.state_dict()
    theirs = {key: architecture.stock + key.removeprefix(architecture.ours) for key in ours}
    missing = [stock for stock in theirs.values() if stock not in given]
    twisted = [
        stock
        for key, stock in theirs.items()
        if stock in given and given[stock].shape != ours[key].shape
    ]
    strangers = [
        key for key in given if key not in set(theirs.values()) and not _is_twin(key, given)
    ]
    for word, keys in (("lacks", missing), ("has another shape of", twisted), ("has", strangers)):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise BadDataError(
                f"{file}: {word} {keys[0]}{more}. Expected the weights of the network that "
                "plans.json describes; a trainer that builds another network needs "
                "medssm import checkpoint NAME FILE."
            )
    network.load_state_dict({key: given[stock] for key, stock in theirs.items()})


def _unwrapped(key: str) -> str:
    for prefix in _WRAPPINGS:
        key = key.removeprefix(prefix)
    return key


def _is_twin(key: str, state: Mapping[str, Tensor]) -> bool:
    """Whether nnU-Net registers the same weight under another name as well."""
    if key.startswith("decoder.encoder."):
        first = key.removeprefix("decoder.")
        return first in state and torch.equal(state[first], state[key])
    match = _TWIN.match(key)
    if match is None:
        return False
    run = re.compile(rf"{re.escape(match['block'])}\.all_modules\.\d+\.{match['leaf']}")
    return any(run.fullmatch(each) and torch.equal(state[each], state[key]) for each in state)
