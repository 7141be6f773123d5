"""The proof of an exported reconstruction: its answers beside those that predict gives."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from medssm.bundle.kspace_programs import Inputs
from medssm.fields.reconstruction.masks_of_cases import fixed
from medssm.fields.reconstruction.model_folder import ReconModel
from medssm.fields.reconstruction.preparation import Prepared, prepare
from medssm.mri.coils import rss
from medssm.mri.fourier import fft2, ifft2
from medssm.mri.undersampling import Mask, draw_mask

# two sizes, one of them odd, and two numbers of coils
SIZES = ((64, 54), (75, 61))
COILS = (4, 3)


def trials(
    model: ReconModel, size: tuple[int, int] | None, *, single_coil: bool, given_maps: bool
) -> list[Inputs]:
    """Slices of two sizes, a batch of two each: all inputs of the program.

    Args:
        model: Says where the origin of k-space lies.
        size: Of the first ones.
        single_coil: One coil instead of several.
        given_maps: Sensitivities instead of the place of the centre.

    Shape:
        kspace: (2, coil, H, W, 2), mask: (2, 1, H, W, 1), acs as mask or maps as kspace.
    """
    sizes = SIZES if size is None else (size, (size[0] + 7, size[1] + 7))
    counts = (1, 1) if single_coil else COILS
    return [
        _slices(model, (2, count, *each), given_maps)
        for count, each in zip(counts, sizes, strict=True)
    ]


def _slices(model: ReconModel, shape: tuple[int, ...], given: bool) -> Inputs:
    """Smooth images behind smooth coils, with noise, undersampled in columns."""
    generator = torch.Generator().manual_seed(shape[-1])
    batch, coils, height, width = shape
    kspace = 0.02 * torch.randn(batch, coils, height, width, 2, generator=generator)
    # low waves outweigh the others, as in every image
    middle = (..., slice(height // 2 - 6, height // 2 + 6), slice(width // 2 - 6, width // 2 + 6))
    kspace[(*middle, slice(None))] *= 50
    if not model.preparation.centred:
        kspace = fft2(ifft2(kspace), centred=False)
    drawn = [draw_mask("equispaced_fraction", (height, width), 3, 0.25, n) for n in range(batch)]
    mask, acs = (
        torch.stack([getattr(each, name) for each in drawn])[:, None, :, :, None]
        for name in ("sampled", "acs")
    )
    if not given:
        return kspace * mask, mask, acs
    ready = [_prepared(model, *each) for each in zip(kspace * mask, mask, acs, strict=True)]
    return kspace * mask, mask, torch.stack([each.maps for each in ready])


def _prepared(model: ReconModel, kspace: Tensor, mask: Tensor, acs: Tensor) -> Prepared:
    taken = Mask(mask[0, :, :, 0], acs[0, :, :, 0])
    return prepare(kspace, fixed(taken), model.preparation, known=False)


def difference(
    run: Callable[[Inputs], list[Tensor]],
    model: ReconModel,
    network: nn.Module,
    tried: list[Inputs],
) -> float:
    """The largest one between a program and predict, as a part of the largest value.

    Args:
        run: The program: all inputs to image and k-space.
        model: Whose preparation counts.
        network: Its network.
        tried: Inputs, each a batch of two; they are run as batches of one and of two.
    """
    worst = 0.0
    for inputs in tried:
        for batch in (1, 2):
            cut = tuple(each[:batch] for each in inputs)
            image, kspace = run(cut)
            for place in range(batch):
                expected = _expected(model, network, tuple(each[place] for each in cut))
                for found, wanted in zip((image[place], kspace[place]), expected, strict=True):
                    off = (found - wanted).abs().max() / wanted.abs().max()
                    worst = max(worst, float(off))
    return worst


@torch.no_grad()
def _expected(model: ReconModel, network: nn.Module, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """One slice by the path that predict takes."""
    kspace, mask, third = inputs
    given = third.shape[0] == kspace.shape[0] and third.shape[-1] == 2
    acs = mask if given else third
    ready = _prepared(model, kspace, mask, acs)
    maps = third if given else ready.maps
    made = network(ready.masked[None], ready.mask[None], maps[None]) * ready.scale
    return rss(ifft2(made, model.preparation.centred))[0], made[0]
