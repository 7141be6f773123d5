"""Recurrent Variational Network: multi-coil k-space in, k-space out, a step of descent a block."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medssm.core.errors import BadArgumentError
from medssm.core.signature import parameters_of
from medssm.layers.conv_gru import NormalisedUnit
from medssm.layers.map_unet import MapUNet
from medssm.layers.recurrent import UNITS
from medssm.layers.state_initializer import StateInitializer
from medssm.mri.coils import combine, normalise_maps
from medssm.mri.fourier import (
    as_complex,
    as_real,
    fft2,
    ifft2,
    origin_central,
    origin_first,
)

InitializerName = Literal["none", "sense", "zero_filled", "image"]
KSPACE_AXES = (2, 3)
IMAGE_AXES = (1, 2)


class RecurrentVarNetBlock(nn.Module):
    """y' = y - alpha M (y - y0) + F(S w) with (w, h') = unit(sum_k conj(S_k) F^-1(y)_k, h).

    The plus sign is the official one, and nothing puts the measured samples back: the data
    consistency is soft.

    Args:
        unit: The recurrent unit.
        centred: Where the origin of k-space and images lies; see `fft2`.

    Shape:
        kspace, masked, maps: (N, coil, H, W, 2), mask: (N, 1, H, W, 1), state: as the unit's;
        results: k-space and state.

    Source:
        RECON section 2.2.
    """

    def __init__(self, unit: nn.Module, centred: bool = True) -> None:
        super().__init__()
        self.centred = centred
        self.step_size = nn.Parameter(torch.ones(1))
        self.unit = unit

    def forward(
        self, kspace: Tensor, masked: Tensor, mask: Tensor, maps: Tensor, state: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Take one step, from and to the outside's layout."""
        current, first, taken, sensitivities = (
            _inside(each, self.centred) for each in (kspace, masked, mask, maps)
        )
        new, state = self.step(current, first, taken, sensitivities, state)
        return _outside(new, self.centred), state

    def step(
        self, kspace: Tensor, masked: Tensor, mask: Tensor, maps: Tensor, state: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The step where the origin comes first and numbers are complex.

        Only the image that the unit sees is shifted: one plane, not one a coil.

        Shape:
            kspace, masked, maps: (N, coil, H, W) complex, mask: (N, 1, H, W).
        """
        image = (torch.fft.ifft2(kspace, norm="ortho") * maps.conj()).sum(1)
        seen = as_real(origin_central(image, IMAGE_AXES) if self.centred else image)
        wanted, state = self.unit(seen.movedim(-1, 1), state)
        change = as_complex(wanted.movedim(1, -1))
        change = origin_first(change, IMAGE_AXES) if self.centred else change
        sent = torch.fft.fft2(change.unsqueeze(1) * maps, norm="ortho")
        return kspace - self.step_size * (mask * (kspace - masked)) + sent, state


def _inside(x: Tensor, centred: bool) -> Tensor:
    """Complex (or the mask without its last axis), the origin first."""
    x = as_complex(x) if x.shape[-1] == 2 else x.squeeze(-1)
    return origin_first(x, KSPACE_AXES) if centred else x


def _outside(z: Tensor, centred: bool) -> Tensor:
    return as_real(origin_central(z, KSPACE_AXES) if centred else z)


class RecurrentVarNet(nn.Module):
    """T blocks of descent with a recurrent regulariser, from masked to whole k-space.

    Args:
        num_steps: Blocks T.
        hidden_channels: Of the recurrent states.
        num_layers: Recurrent layers a block.
        unit: Name of the recurrent unit, or ``name`` with its arguments: "convgru" as published;
            ours are "vss", "step_scan" and "slice_scan".
        shared: One block used T times.
        normalised: The unit sees images without mean and spread.
        centred: The origin of k-space lies in the middle (fastMRI) or first (Calgary-Campinas).
        initializer: What gives the first states: "none" (zeros), "sense", "zero_filled" or a
            given "image".
        initializer_channels: Of its convolutions.
        initializer_dilations: Of its convolutions.
        multiscale: How many of its activations its heads see.
        refinement: Refine the sensitivities with a U-Net before (SER).
        refinement_filters: Of its first level.
        refinement_pools: Its levels below the first.
        save_memory: Compute every block again on the way back instead of keeping it.

    Shape:
        masked: (N, coil, H, W, 2), mask: (N, 1, H, W, 1), maps: as `masked`; result: k-space,
        as `masked`. The image is the root of the sum of squares of its inverse transform.

    Source:
        Yiasemis et al., "Recurrent Variational Network: A Deep Learning Inverse Problem Solver
        applied to the task of Accelerated MRI Reconstruction", CVPR 2022; RECON section 2.
    """

    divisors = (1, 1)

    def __init__(
        self,
        num_steps: int = 15,
        hidden_channels: int = 64,
        num_layers: int = 4,
        unit: str | Mapping[str, Any] = "convgru",
        shared: bool = False,
        normalised: bool = False,
        centred: bool = True,
        initializer: InitializerName = "none",
        initializer_channels: Sequence[int] = (32, 32, 64, 64),
        initializer_dilations: Sequence[int] = (1, 1, 2, 4),
        multiscale: int = 1,
        refinement: bool = False,
        refinement_filters: int = 8,
        refinement_pools: int = 4,
        save_memory: bool = False,
    ) -> None:
        super().__init__()
        if num_steps < 1:
            raise BadArgumentError(f"num_steps={num_steps}: expected 1 or more.")
        self.num_steps, self.shared = num_steps, shared
        self.centred, self.initialises_from = centred, initializer
        self.save_memory = save_memory
        self.initializer = None
        if initializer != "none":
            self.initializer = StateInitializer(
                hidden_channels,
                num_layers,
                channels=initializer_channels,
                dilations=initializer_dilations,
                multiscale=multiscale,
            )
        self.blocks = nn.ModuleList(
            RecurrentVarNetBlock(build_unit(unit, hidden_channels, num_layers, normalised), centred)
            for _ in range(1 if shared else num_steps)
        )
        self.refinement = None
        if refinement:
            self.refinement = MapUNet(filters=refinement_filters, pools=refinement_pools)

    def forward(
        self, masked: Tensor, mask: Tensor, maps: Tensor, image: Tensor | None = None
    ) -> Tensor:
        """Reconstruct.

        Args:
            masked: Measured k-space, zero where nothing was measured.
            mask: True where it was.
            maps: Sensitivities of unit sum of squares.
            image: For the initialiser "image": (N, H, W, 2).

        Raises:
            BadArgumentError: Shapes that do not belong together, or the image is missing.
        """
        self._check(masked, mask, maps)
        if self.refinement is not None:
            maps = self.refined(maps)
        state = self._first_state(masked, maps, image)
        first, taken, sensitivities = (_inside(each, self.centred) for each in (masked, mask, maps))
        kspace = first
        for step in range(self.num_steps):
            block = cast("RecurrentVarNetBlock", self.blocks[0 if self.shared else step])
            if self.save_memory and torch.is_grad_enabled():
                kspace, state = checkpoint(
                    block.step, kspace, first, taken, sensitivities, state, use_reentrant=False
                )
            else:
                kspace, state = block.step(kspace, first, taken, sensitivities, state)
        return _outside(kspace, self.centred)

    def refined(self, maps: Tensor) -> Tensor:
        """Every coil's map through the same U-Net, then unit sum of squares; a single coil stays.

        Shape:
            maps: (N, coil, H, W, 2), result the same.
        """
        if self.refinement is None or maps.shape[1] == 1:
            return normalise_maps(maps)
        planes = maps.flatten(0, 1).movedim(-1, 1)
        return normalise_maps(self.refinement(planes).movedim(1, -1).reshape(maps.shape))

    def _first_state(self, masked: Tensor, maps: Tensor, image: Tensor | None) -> Tensor | None:
        if self.initializer is None:
            return None
        if self.initialises_from == "zero_filled":
            # the images of the coils, back to k-space, summed: the sum of the coils' k-space
            seen = masked.sum(1)
        else:
            if self.initialises_from == "sense":
                image = combine(ifft2(masked, self.centred), maps)
            elif image is None:
                raise BadArgumentError("initializer=image needs an image beside the k-space.")
            seen = fft2(image, self.centred)
        return self.initializer(seen.movedim(-1, 1))

    def _check(self, masked: Tensor, mask: Tensor, maps: Tensor) -> None:
        batch, _, *plane = masked.shape
        wanted = {"maps": (maps, tuple(masked.shape)), "mask": (mask, (1, *plane[:-1], 1))}
        if masked.ndim != 5 or masked.shape[-1] != 2:
            raise BadArgumentError(
                f"k-space has shape {tuple(masked.shape)}, expected (N, coils, H, W, 2)."
            )
        if maps.shape != masked.shape:
            raise BadArgumentError(
                f"maps have shape {tuple(maps.shape)}, expected {wanted['maps'][1]} as the "
                "k-space: one sensitivity a coil."
            )
        if mask.ndim != 5 or mask.shape[0] not in (1, batch) or mask.shape[1:] != wanted["mask"][1]:
            raise BadArgumentError(
                f"mask has shape {tuple(mask.shape)}, expected ({batch}, 1, H, W, 1)."
            )


def build_unit(
    unit: str | Mapping[str, Any], hidden_channels: int, num_layers: int, normalised: bool = False
) -> nn.Module:
    """The recurrent unit that a configuration names.

    Raises:
        UsageError: An unknown name or argument.
    """
    wished = {"name": unit} if isinstance(unit, str) else dict(unit)
    known = parameters_of(UNITS.load(wished["name"]))
    given = {"hidden_channels": hidden_channels, "num_layers": num_layers}
    made: nn.Module = UNITS.build(**{k: v for k, v in given.items() if k in known} | wished)
    return NormalisedUnit(made) if normalised else made
