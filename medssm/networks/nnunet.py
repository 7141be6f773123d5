"""Our networks as stock nnU-Net builds them from the architecture of a plan."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError
from medssm.networks import NETWORKS
from medssm.networks.cost import cost

# what architecture.network_class_name says
CLASS_PATH = "medssm.networks.nnunet.PlansNetwork"
# arguments that nnU-Net fills in itself
SIZES = ("spatial_dims", "in_channels", "out_channels")
# nnU-Net's references, 560e6 elements in 3D and 85e6 in 2D for its batches of 2 and 12 in 8 GB,
# put so many bytes on an element of a feature map
_BYTES_PER_ELEMENT = 8

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


class Switch:
    """What nnU-Net looks for as ``network.decoder``: whether a list of outputs is wanted.

    Args:
        network: One of ours. With deep heads its own mark ``training`` follows the switch, so that
            it also gives its list in validation, where nnU-Net compares it as well.
        deep_supervision: Whether a list is wanted at first.
    """

    def __init__(self, network: nn.Module, deep_supervision: bool) -> None:
        self._network, self._on = network, deep_supervision
        self.follow()

    @property
    def deep_supervision(self) -> bool:
        """Whether a list of outputs is wanted."""
        return self._on

    @deep_supervision.setter
    def deep_supervision(self, wanted: bool) -> None:
        self._on = bool(wanted)
        self.follow()

    def follow(self) -> None:
        """Set the mark of the network itself; its parts keep theirs."""
        if getattr(self._network, "deep_supervision", False):
            self._network.training = self._on


class PlansNetwork(nn.Module):
    """A network of the table, with the constructor and the switch that nnU-Net's trainer expects.

    nnU-Net gives the last of its scales no weight, so the last output is given twice; a network
    without deep heads gives its logits twice, and the loss is that of the one output.

    Args:
        input_channels: Channels of the image, as nnU-Net counts them.
        num_classes: Logits, as nnU-Net counts them: one a class or region, none for "ignore".
        network: Name and arguments of the network, without the sizes of the data.
        strides: Steps between the scales of the outputs, one row more than there are outputs;
            nnU-Net's trainer reads them too. `supervision_strides` makes them.
        deep_supervision: Whether a list of outputs is wanted, highest resolution first.
        precision: "auto" and "bf16-mixed" compute in bfloat16 (float32 on older GPUs) where
            nnU-Net asks for float16, in which scans overflow; "32-true" computes in float32,
            "16-mixed" takes float16 as it comes. Logits are float32.

    Shape:
        x: (B, C, *S), result (B, K, *S) or a list of them.

    Raises:
        UsageError: An unknown network, or arguments that do not fit it.
        BadArgumentError: Strides that are none, or too few for the network's outputs.

    Source:
        nnU-Net 2.8.1, network from plans and trainer.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        network: Mapping[str, Any],
        strides: Sequence[Sequence[int]],
        deep_supervision: bool = False,
        precision: Precision = "auto",
    ) -> None:
        super().__init__()
        if len(strides) < 3 or len({len(row) for row in strides}) != 1:
            raise BadArgumentError(
                f"strides={list(strides)}: expected three rows or more, a number an axis each; "
                "export the plans again."
            )
        sizes = (len(strides[0]), input_channels, num_classes)
        arguments = {**network, **dict(zip(SIZES, sizes, strict=True))}
        self.network: nn.Module = NETWORKS.build(**arguments)
        self.input_channels, self.precision = input_channels, precision
        self.outputs = len(strides) - 1
        # asked here, where nothing is being compiled
        self.instead = torch.float32
        if not torch.cuda.is_available() or torch.cuda.is_bf16_supported():
            self.instead = torch.bfloat16
        self.decoder = Switch(self.network, deep_supervision)

    def train(self, mode: bool = True) -> "PlansNetwork":
        """Set the mode of every part; the list of outputs is the switch's affair."""
        super().train(mode)
        self.decoder.follow()
        return self

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Segment; a list where it is wanted."""
        with self._number_format(x.device.type):
            answer = self.network(x)
        found = list(answer) if isinstance(answer, (list, tuple)) else [answer]
        found = [each.float() for each in found]
        if not self.decoder.deep_supervision:
            return found[0]
        if len(found) >= self.outputs:
            raise BadArgumentError(
                f"the network gives {len(found)} outputs and the plan's strides have room for "
                f"{self.outputs - 1}; export the plans again."
            )
        return found + [found[-1]] * (self.outputs - len(found))

    def _number_format(self, device: str) -> AbstractContextManager[Any]:
        if self.precision == "32-true":
            return torch.autocast(device, enabled=False)
        asked = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
        if self.precision == "16-mixed" or asked is not torch.float16:
            return nullcontext()
        if self.instead is torch.float32:
            return torch.autocast(device, enabled=False)
        return torch.autocast(device, dtype=self.instead)

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Elements of feature maps in nnU-Net's count, for its planners.

        Args:
            input_size: Spatial size of a patch.

        Returns:
            The bytes kept for the backward pass, over the bytes that nnU-Net's own references
            put on an element: its planners then compare memory with memory.
        """
        shape = (1, self.input_channels, *input_size)
        return cost(self.network, shape).activation_bytes // _BYTES_PER_ELEMENT


def supervision_strides(network: nn.Module, spatial_dims: int, channels: int) -> list[list[int]]:
    """The rows of strides that tell nnU-Net the scales of a network's outputs.

    The network runs on tensors without data.

    Args:
        network: One of the table.
        spatial_dims: 2 or 3.
        channels: Of the image.

    Returns:
        A row of ones, the step to every further output, and two rows of ones: nnU-Net gives the
        last scale no weight and counts one scale fewer than rows.
    """
    sizes: list[tuple[int, ...]] = []

    def note(_module: nn.Module, _inputs: object, answer: Tensor | Sequence[Tensor]) -> None:
        found = [answer] if isinstance(answer, Tensor) else answer
        sizes.extend(tuple(each.shape[2:]) for each in found)

    whole = [1] * spatial_dims
    if not getattr(network, "deep_supervision", False):
        return [whole, whole, whole]
    hook = network.register_forward_hook(note)
    try:
        # two cells at the bottom, where a norm could not work on one
        size = [2 * each for each in getattr(network, "divisors", (32,) * spatial_dims)]
        cost(network, (1, channels, *size))
    finally:
        hook.remove()
    steps = [
        [fine // coarse for fine, coarse in zip(before, after, strict=True)]
        for before, after in pairwise(sizes)
    ]
    return [whole, *steps, whole, whole]
