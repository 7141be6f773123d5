"""nnU-Net's two U-Nets under our signature, each weight under one name."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from dynamic_network_architectures.architectures.unet import PlainConvUNet as StockPlain
from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet as StockResidual
from dynamic_network_architectures.building_blocks.helper import (
    convert_dim_to_conv_op,
    get_matching_batchnorm,
    get_matching_dropout,
    get_matching_instancenorm,
)
from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError
from medssm.networks.sizes import check_sizes

Norm = Literal["InstanceNorm", "BatchNorm"]
Nonlinearity = Literal[
    "LeakyReLU", "ReLU", "ReLU6", "PReLU", "ELU", "SELU", "GELU", "SiLU", "Mish", "Hardswish"
]
# a block registers its parts a second time beside the sequence that it runs
_TWICE = ("conv", "dropout", "norm", "nonlin")
# one number for all axes, or one an axis
Sizes = Sequence[int | Sequence[int]]


class _StockUNet(nn.Module):
    """What both have in common: names without twins, logits finest first, sizes that are said.

    Args:
        stock: The class to build.
        counts: The argument of it that says how many convolutions or blocks a level has.
        spatial_dims: 2 or 3.
        steps: Step into every level; None takes 2 from the second on.
        deep_supervision: While training, return logits of the inner decoder levels too.
        arguments: Of `stock`.
    """

    def __init__(
        self,
        stock: Any,
        counts: str,
        spatial_dims: int,
        steps: Sizes | None,
        deep_supervision: bool,
        arguments: Mapping[str, Any],
    ) -> None:
        super().__init__()
        depth = len(arguments["features_per_stage"])
        strides = _per_axis(steps or [1, *[2] * (depth - 1)], spatial_dims)
        given = {"strides": strides, **arguments}
        for name, length in (
            ("strides", depth),
            ("kernel_sizes", depth),
            (counts, depth),
            ("n_conv_per_stage_decoder", depth - 1),
        ):
            if len(given[name]) != length:
                raise BadArgumentError(
                    f"{name} has {len(given[name])} entries; expected {length} for {depth} features"
                )
        self.net: nn.Module = stock(
            n_stages=depth,
            conv_op=convert_dim_to_conv_op(spatial_dims),
            strides=strides,
            deep_supervision=deep_supervision,
            **arguments,
        )
        self.net.apply(stock.initialize)
        self.deep_supervision = deep_supervision
        self.divisors = tuple(
            _product(stride[axis] for stride in strides) for axis in range(spatial_dims)
        )
        _drop_twins(self.net, deep_supervision)

    def train(self, mode: bool = True) -> "_StockUNet":
        """Training returns the inner levels as well, if they are supervised."""
        super().train(mode)
        decoder: Any = self.net.decoder
        decoder.deep_supervision = mode and self.deep_supervision
        return self

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Segment."""
        logits: Tensor | list[Tensor] = self.net(check_sizes(x, self.divisors))
        return logits


class PlainConvUNet(_StockUNet):
    """nnU-Net's default network: plain convolutions.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        out_channels: Logits.
        features: Width of every level, finest first.
        kernel_sizes: Kernel of every level, one number or one an axis; None takes 3.
        strides: Step into every level, the first 1; None takes 2 from the second on.
        convolutions: Convolutions of every level of the encoder; None takes 2.
        decoder_convolutions: Convolutions of every level of the decoder, deepest first.
        bias: Whether convolutions have one.
        norm: The norm after a convolution; None for none.
        norm_arguments: Of the norm, such as eps and affine.
        dropout: Rate of channel dropout.
        nonlinearity: torch.nn's name of it; None for none.
        nonlinearity_arguments: Of it.
        nonlinearity_first: Whether it comes before the norm.
        deep_supervision: While training, return logits of the inner decoder levels too.

    Shape:
        x: (B, C, *S), result (B, K, *S); a list of logits, finest first, while training with deep
        supervision.

    Raises:
        BadArgumentError: Arguments of levels that do not go together.

    Source:
        Isensee et al. 2021 (nnU-Net), by MIC-DKFZ/dynamic-network-architectures.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        out_channels: int = 2,
        features: Sequence[int] = (32, 64, 128, 256),
        kernel_sizes: Sizes | None = None,
        strides: Sizes | None = None,
        convolutions: Sequence[int] | None = None,
        decoder_convolutions: Sequence[int] | None = None,
        bias: bool = True,
        norm: Norm | None = "InstanceNorm",
        norm_arguments: Mapping[str, Any] | None = None,
        dropout: float = 0.0,
        nonlinearity: Nonlinearity | None = "LeakyReLU",
        nonlinearity_arguments: Mapping[str, Any] | None = None,
        nonlinearity_first: bool = False,
        deep_supervision: bool = False,
    ) -> None:
        depth = len(features)
        arguments = {
            "input_channels": in_channels,
            "features_per_stage": list(features),
            "num_classes": out_channels,
            "n_conv_per_stage": list(convolutions or [2] * depth),
            "n_conv_per_stage_decoder": list(decoder_convolutions or [2] * (depth - 1)),
            "kernel_sizes": _per_axis(kernel_sizes or [3] * depth, spatial_dims),
            "nonlin_first": nonlinearity_first,
            **_blocks(spatial_dims, bias, norm, norm_arguments, dropout),
            **_activation(nonlinearity, nonlinearity_arguments),
        }
        super().__init__(
            StockPlain, "n_conv_per_stage", spatial_dims, strides, deep_supervision, arguments,
        )  # fmt: skip


class ResidualEncoderUNet(_StockUNet):
    """nnU-Net's network of the ResEnc presets: residual blocks in the encoder.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        out_channels: Logits.
        features: Width of every level, finest first.
        kernel_sizes: Kernel of every level, one number or one an axis; None takes 3.
        strides: Step into every level, the first 1; None takes 2 from the second on.
        convolutions: Residual blocks of every level of the encoder; None takes 1, 3, 4, 6, 6, ...
        decoder_convolutions: Convolutions of every level of the decoder, deepest first.
        bias: Whether convolutions have one.
        norm: The norm after a convolution; None for none.
        norm_arguments: Of the norm, such as eps and affine.
        dropout: Rate of channel dropout.
        nonlinearity: torch.nn's name of it; None for none.
        nonlinearity_arguments: Of it.
        stem: Width of the first convolution; None takes the first level's.
        deep_supervision: While training, return logits of the inner decoder levels too.

    Shape:
        x: (B, C, *S), result (B, K, *S); a list of logits, finest first, while training with deep
        supervision.

    Raises:
        BadArgumentError: Arguments of levels that do not go together.

    Source:
        Isensee et al. 2024 (nnU-Net Revisited), by MIC-DKFZ/dynamic-network-architectures.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        out_channels: int = 2,
        features: Sequence[int] = (32, 64, 128, 256),
        kernel_sizes: Sizes | None = None,
        strides: Sizes | None = None,
        convolutions: Sequence[int] | None = None,
        decoder_convolutions: Sequence[int] | None = None,
        bias: bool = True,
        norm: Norm | None = "InstanceNorm",
        norm_arguments: Mapping[str, Any] | None = None,
        dropout: float = 0.0,
        nonlinearity: Nonlinearity | None = "LeakyReLU",
        nonlinearity_arguments: Mapping[str, Any] | None = None,
        stem: int | None = None,
        deep_supervision: bool = False,
    ) -> None:
        depth = len(features)
        arguments = {
            "input_channels": in_channels,
            "features_per_stage": list(features),
            "num_classes": out_channels,
            # the presets' counts: 1, 3, 4, then 6 a level
            "n_blocks_per_stage": list(convolutions or [1, 3, 4, *[6] * depth][:depth]),
            "n_conv_per_stage_decoder": list(decoder_convolutions or [1] * (depth - 1)),
            "kernel_sizes": _per_axis(kernel_sizes or [3] * depth, spatial_dims),
            "stem_channels": stem,
            **_blocks(spatial_dims, bias, norm, norm_arguments, dropout),
            **_activation(nonlinearity, nonlinearity_arguments),
        }
        super().__init__(
            StockResidual, "n_blocks_per_stage", spatial_dims, strides, deep_supervision,
            arguments,
        )  # fmt: skip


def _blocks(
    spatial_dims: int,
    bias: bool,
    norm: Norm | None,
    norm_arguments: Mapping[str, Any] | None,
    dropout: float,
) -> dict[str, Any]:
    norms = {"InstanceNorm": get_matching_instancenorm, "BatchNorm": get_matching_batchnorm}
    default = {"eps": 1e-5, "affine": True}
    return {
        "conv_bias": bias,
        "norm_op": norms[norm](dimension=spatial_dims) if norm else None,
        "norm_op_kwargs": dict(default if norm_arguments is None else norm_arguments),
        "dropout_op": get_matching_dropout(dimension=spatial_dims) if dropout else None,
        "dropout_op_kwargs": {"p": dropout},
    }


def _activation(name: Nonlinearity | None, arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    default = {"inplace": True} if name == "LeakyReLU" else {}
    return {
        "nonlin": getattr(nn, name) if name else None,
        "nonlin_kwargs": dict(default if arguments is None else arguments),
    }


def _per_axis(sizes: Sizes, spatial_dims: int) -> list[list[int]]:
    return [[each] * spatial_dims if isinstance(each, int) else list(each) for each in sizes]


def _product(numbers: Any) -> int:
    total = 1
    for number in numbers:
        total *= number
    return total


def _drop_twins(net: nn.Module, deep_supervision: bool) -> None:
    """Leave each weight one name, and only weights that are used."""
    for block in net.modules():
        if isinstance(block, ConvDropoutNormReLU):
            for name in _TWICE:
                if name in dict(block.named_children()):
                    delattr(block, name)
    decoder: Any = net.decoder
    # the decoder asks its encoder for sizes only while it is built
    del decoder.encoder
    if not deep_supervision:
        for index in range(len(decoder.seg_layers) - 1):
            decoder.seg_layers[index] = nn.Identity()
