"""A reconstruction as one module: sensitivities, scale, network, root of the sum of squares."""

from fractions import Fraction

import torch
from torch import Tensor, nn

from medssm.core.errors import UsageError
from medssm.fields.reconstruction.preparation import Preparation
from medssm.mri.coils import estimate_maps, rss, windowed_centre
from medssm.mri.fourier import ifft2
from medssm.mri.real_pairs import fft2_pairs
from medssm.networks.recurrent_varnet import RecurrentVarNet
from medssm.networks.recurrent_varnet_pairs import (
    RealRecurrentVarNet,
    real_maps,
    root_of_squares,
)


class FromMaps(nn.Module):
    """From measured samples and sensitivities to images, as `predict … consistency=soft`.

    Args:
        network: What was trained.
        settings: How its slices are prepared.
        real: Without complex numbers, as ONNX needs it.

    Shape:
        kspace, maps: (N, coil, H, W, 2), mask: (N, 1, H, W, 1) boolean; results: the magnitude
        image (N, H, W) and k-space as `kspace`, both in the units of the input.
    """

    def __init__(self, network: RecurrentVarNet, settings: Preparation, real: bool = False) -> None:
        super().__init__()
        self.settings, self.real = settings, real
        self.network = RealRecurrentVarNet(network) if real else network
        # the share of values above the percentile, so that whole numbers count them
        self.above = Fraction(1 - settings.percentile).limit_denominator(10**6)

    def forward(self, kspace: Tensor, mask: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruct."""
        return self.reconstruct(kspace * mask.to(kspace.dtype), mask, maps)

    def reconstruct(self, masked: Tensor, mask: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Scale, run the network, scale back."""
        scale = self._scale(masked)
        kspace = self.network(masked / scale, mask, maps) * scale
        return self._image(kspace), kspace

    def _image(self, kspace: Tensor) -> Tensor:
        if self.real:
            return root_of_squares(fft2_pairs(kspace, self.settings.centred, inverse=True))
        return rss(ifft2(kspace, self.settings.centred))

    def _scale(self, masked: Tensor) -> Tensor:
        """`scale_of` for a batch."""
        if self.settings.scaling == "none":
            return masked.new_ones((1, 1, 1, 1, 1))
        values = (
            masked.square().sum(-1).sqrt()
            if self.settings.scaling == "kspace"
            else self._image(masked)
        ).flatten(1)
        count = values.shape[1] * self.above.numerator // self.above.denominator + 1
        return values.topk(count, dim=1).values[:, -1].reshape(-1, 1, 1, 1, 1)


class FromCentre(FromMaps):
    """The same from samples alone: the sensitivities come from their fully sampled centre.

    Shape:
        kspace: (N, coil, H, W, 2), mask, acs: (N, 1, H, W, 1) boolean; results as `FromMaps`.
    """

    def forward(self, kspace: Tensor, mask: Tensor, acs: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruct."""
        masked = kspace * mask.to(kspace.dtype)
        return self.reconstruct(masked, mask, self._maps(masked, acs))

    def _maps(self, masked: Tensor, acs: Tensor) -> Tensor:
        if masked.shape[1] == 1:  # a single coil sees everything alike
            ones = torch.ones_like(masked[..., 0])
            return torch.stack((ones, torch.zeros_like(ones)), -1)
        if self.real:
            centre = windowed_centre(masked, acs, self.settings.sigma)
            return real_maps(centre, self.settings.centred)
        return estimate_maps(masked, acs, self.settings.centred, self.settings.sigma)


def program_of(
    network: nn.Module, settings: Preparation, *, given_maps: bool, real: bool
) -> FromMaps:
    """The module that is exported.

    Raises:
        UsageError: It wants what the program does not give: an image, or ESPIRiT's maps.
    """
    assert isinstance(network, RecurrentVarNet)
    if network.initialises_from == "image":
        raise UsageError(
            "the network's initialiser wants an image beside the k-space (initializer=image), "
            "which predict does not give either; export takes none, sense and zero_filled."
        )
    if settings.maps == "espirit" and not given_maps:
        raise UsageError(
            "the model learned with ESPIRiT's sensitivities, which no program computes. Take "
            "maps=given, and give them to it."
        )
    kind = FromMaps if given_maps else FromCentre
    return kind(network, settings, real).eval()
