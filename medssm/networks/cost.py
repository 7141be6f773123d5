"""What a network costs: exact parameters, multiply-adds, scan operations, kept activations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """Cost of one forward pass in training mode.

    Args:
        parameters: Learned numbers.
        macs: Multiply-adds of all convolutions and matrix products.
        scan_flops: Floating-point operations of the selective scans.
        activation_bytes: Bytes kept for the backward pass, weights left out.
    """

    parameters: int
    macs: int
    scan_flops: int
    activation_bytes: int

    def describe(self) -> str:
        """The figures in words.

        Units:
            millions of parameters, 10^9 multiply-adds and operations, MiB.
        """
        return (
            f"{self.parameters / 1e6:.2f} M parameters, {self.macs / 1e9:.2f} GMACs, "
            f"{self.scan_flops / 1e9:.2f} GFLOPs in scans, "
            f"{self.activation_bytes / 2**20:.0f} MiB kept for the backward pass"
        )


def cost(network: nn.Module, input_shape: Sequence[int]) -> Cost:
    """Count what a forward pass in training mode computes and keeps.

    The network runs on tensors without data, so any size is counted in a second and no memory.

    Args:
        network: Any network; it is left as it was.
        input_shape: (B, C, *S).

    Returns:
        The counts for this input.

    Raises:
        BadArgumentError: The network cannot take this shape.
    """
    kernels: list[tuple[int, int]] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], _output: object) -> None:
        kernels.append(module.kernel_cost(math.prod(inputs[0].shape[:-1])))  # type: ignore[operator]

    hooks = [
        module.register_forward_hook(note)
        for module in network.modules()
        if hasattr(module, "kernel_cost")
    ]
    training = network.training
    try:
        flops, kept = _fake_forward(network.train(), input_shape)
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return Cost(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        macs=flops // 2 + sum(macs for macs, _ in kernels),
        scan_flops=sum(scan for _, scan in kernels),
        activation_bytes=kept,
    )


def _fake_forward(network: nn.Module, input_shape: Sequence[int]) -> tuple[int, int]:
    """Floating-point operations seen by torch's counter, and bytes saved for the backward pass."""
    saved: dict[int, int] = {}
    alive: list[Tensor] = []  # a storage that was freed could lend its address to another

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            saved[storage._cdata] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with FakeTensorMode(allow_non_fake_inputs=True):
        weights_of = {
            name: nn.Parameter(torch.empty(each.shape, dtype=each.dtype), each.requires_grad)
            for name, each in network.named_parameters()
        }
        buffers_of = {
            name: torch.empty(each.shape, dtype=each.dtype)
            for name, each in network.named_buffers()
        }
        weights = {each.untyped_storage()._cdata for each in weights_of.values()}
        counter = FlopCounterMode(display=False)
        x = torch.empty(tuple(input_shape))
        with counter, saved_tensors_hooks(keep, lambda tensor: tensor):
            torch.func.functional_call(network, {**weights_of, **buffers_of}, (x,))
    return counter.get_total_flops(), sum(saved.values())
