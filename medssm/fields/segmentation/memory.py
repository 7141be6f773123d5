"""How much memory a training step of our networks takes: measured on two small patches."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from medssm.core.log import detail
from medssm.data.manifest import Manifest
from medssm.fields.segmentation.nnunet.planner import MemoryModel
from medssm.networks import NETWORKS
from medssm.networks.cost import cost
from medssm.networks.sizes import next_sizes

# float32 weights, gradients, two moments of Adam and the averaged weights
_COPIES_OF_WEIGHTS = 5
# what a step takes beside the activations that are kept: 1.12 seen on a processor, and a margin
_WORKSPACE = 1.3
_SMALLEST = {2: 64, 3: 16}


def memory_models(
    network: Mapping[str, Any], manifest: Manifest, limits: Any
) -> dict[int, MemoryModel]:
    """Measure a network in 2D and in 3D.

    Args:
        network: Its name and arguments; sizes of data are filled in.
        manifest: Says channels and classes.
        limits: Has memory_gb, max_voxels_2d and max_voxels_3d. The memory of the machine that
            plans does not count: a plan for a GPU may be made where there is none.

    Returns:
        The model of each number of spatial axes.
    """
    channels, outputs = len(manifest.channels), manifest.labels.num_outputs
    return {dims: memory_model(network, dims, channels, outputs, limits) for dims in (2, 3)}


def memory_model(
    network: Mapping[str, Any], spatial_dims: int, channels: int, outputs: int, limits: Any
) -> MemoryModel:
    """Measure a network for one number of spatial axes.

    Args:
        network: Its name and arguments; sizes of data are filled in.
        spatial_dims: 2 or 3.
        channels: Of the image.
        outputs: Logits.
        limits: As in `memory_models`.
    """
    sizes = {"spatial_dims": spatial_dims, "in_channels": channels, "out_channels": outputs}
    arguments = {**{k: v for k, v in network.items() if v is not None}, **sizes}
    net = NETWORKS.build(**arguments)
    per_voxel = bytes_per_voxel(net, spatial_dims, channels) * _WORKSPACE
    weights = sum(parameter.numel() for parameter in net.parameters()) * 4
    detail(
        "%dD: %.0f bytes a voxel of a patch, %.1f MB fixed", spatial_dims, per_voxel, weights / 1e6
    )
    return MemoryModel(
        fixed_bytes=weights * _COPIES_OF_WEIGHTS,
        bytes_per_voxel=per_voxel,
        target_bytes=limits.memory_gb * 2**30,
        max_voxels=limits.max_voxels_3d if spatial_dims == 3 else limits.max_voxels_2d,
        divisors=() if getattr(net, "pad", False) else tuple(getattr(net, "divisors", ())),
    )


def measuring_device() -> str:
    """Where steps are measured: the GPU if one is here, else "cpu", whatever budget is planned."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def bytes_per_voxel(network: nn.Module, spatial_dims: int, channels: int) -> float:
    """Bytes that a training step takes, by voxel of the patch.

    Two sizes, so that what does not grow with the patch drops out. On a GPU the peak of a real
    step, since other kernels run there; else what the forward pass keeps for the backward pass.
    """
    device = torch.device(measuring_device())
    network = network.to(device)
    # two voxels at least at the bottom, where a norm could not work on one
    multiples = [2 * each for each in getattr(network, "divisors", (1,) * spatial_dims)]
    smallest = next_sizes((_SMALLEST[spatial_dims],) * spatial_dims, multiples)
    kept = []
    for times in (1, 2):
        shape = (1, channels, *(times * each for each in smallest))
        if device.type == "cuda":
            taken = peak_bytes(network, torch.zeros(shape, device=device))
        else:
            taken = cost(network, shape).activation_bytes
        kept.append((taken, math.prod(shape[2:])))
    (small, few), (large, many) = kept
    return (large - small) / (many - few)


def peak_bytes(network: nn.Module, x: Tensor) -> int:
    """Most bytes of GPU memory that a forward and backward pass held, above what stood before.

    Shape:
        x: (B, C, *S), on the GPU.
    """
    network.train()
    torch.cuda.reset_peak_memory_stats(x.device)
    before = torch.cuda.memory_allocated(x.device)
    result = network(x)
    finest = result[0] if isinstance(result, (list, tuple)) else result
    finest.float().sum().backward()
    network.zero_grad(set_to_none=True)
    return torch.cuda.max_memory_allocated(x.device) - before
