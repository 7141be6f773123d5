"""Which samples of k-space are taken: masks by name, with a seed and a reached acceleration."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medssm.mri import columns, discs

Seed = int | str | Sequence[int]
TOLERANCE = 0.03
"""How far a reached acceleration may lie from the wanted one."""


@dataclass(frozen=True)
class Mask:
    """Which samples are taken, and which of them are the fully sampled centre.

    Args:
        sampled: True where a sample is taken.
        acs: True in the centre (auto-calibration signal), all of it sampled.

    Shape:
        sampled: (H, W), acs: (H, W).
    """

    sampled: Tensor
    acs: Tensor

    @property
    def acceleration(self) -> float:
        """All samples over those taken."""
        return self.sampled.numel() / max(1, int(self.sampled.sum()))


Drawing = tuple[np.ndarray, np.ndarray]
Draw = Callable[[tuple[int, int], float, float, np.random.RandomState, bool], Drawing]

MASKS: dict[str, Draw] = {
    "random": partial(columns.draw, columns.random),
    "equispaced": partial(columns.draw, columns.equispaced),
    "equispaced_fraction": partial(columns.draw, columns.equispaced_fraction),
    "magic": partial(columns.draw, columns.magic),
    "magic_fraction": partial(columns.draw, columns.magic_fraction),
    "gaussian1d": partial(columns.draw, columns.gaussian),
    "gaussian2d": discs.gaussian,
    "poisson": discs.poisson,
    "radial": partial(discs.nested_squares, turn=0.0),
    "spiral": partial(discs.nested_squares, turn=discs.GOLDEN),
}


def draw_mask(
    name: str,
    shape: tuple[int, int],
    acceleration: float | Sequence[float],
    center_fraction: float | Sequence[float] = 0.08,
    seed: Seed = 0,
    *,
    exact: bool = True,
    padding: Tensor | None = None,
) -> Mask:
    """Draw a mask.

    Args:
        name: One of `MASKS`.
        shape: Rows and columns; the columns are the phase-encoding axis.
        acceleration: All samples over those taken. Of several, one is drawn, and the centre
            fraction with it.
        center_fraction: Part of the columns, or of the area in two-dimensional masks, that is
            fully sampled; 1 and more counts columns (DIRECT's Cartesian masks). For radial and
            spiral 0 measures the disc that the spokes fill.
        seed: A number, numbers, or a name whose letters give them, as DIRECT seeds by file.
        exact: Add or take away samples outside the centre where the acceleration is off by more
            than 3 %; the published definitions (`exact=False`) leave it where it falls. The
            plain "equispaced" and "magic" are defined by their spacing and stay as they are.
        padding: True where nothing was acquired; taken out of the mask.

    Returns:
        The mask.

    Raises:
        ValueError: Unknown name, an acceleration below one, or a centre larger than the budget.

    Source:
        RECON section 4; random, equispaced_fraction and magic_fraction give the same columns as
        fastMRI and DIRECT for the same seed.
    """
    if name not in MASKS:
        raise ValueError(f"there is no mask {name!r}; known: {', '.join(MASKS)}")
    generator = np.random.RandomState(_numbers(seed))
    rate, centre = _choose(acceleration, center_fraction, generator)
    sampled, acs = MASKS[name](shape, rate, centre, generator, exact)
    mask = Mask(torch.from_numpy(sampled | acs), torch.from_numpy(acs))
    if padding is None:
        return mask
    if exact:
        return outside_padding(mask, padding, seed)
    return Mask(mask.sampled & ~padding, mask.acs & ~padding)


def outside_padding(mask: Mask, padding: Tensor, seed: Seed = 0) -> Mask:
    """A drawn mask without what is never acquired.

    Masks of whole columns keep the others as fastMRI does. Discs are denser in the middle than in
    the padding: theirs get or lose samples outside the centre, drawn by the seed, until the
    acceleration over what is left is that of the whole mask.

    Shape:
        padding and the result's masks: (H, W) boolean.
    """
    sampled, acs = mask.sampled & ~padding, mask.acs & ~padding
    by_columns = bool((mask.sampled == mask.sampled[:1]).all())
    wanted = round(int((~padding).sum()) / mask.acceleration)
    change = wanted - int(sampled.sum())
    if by_columns or change == 0:
        return Mask(sampled, acs)
    pool = ~sampled & ~padding if change > 0 else sampled & ~acs
    places = np.flatnonzero(pool.cpu().numpy())
    chosen = np.random.RandomState(_numbers(seed)).permutation(places)[: abs(change)]
    mended = sampled.flatten()
    mended[torch.from_numpy(chosen).to(mended.device)] = change > 0
    return Mask(mended.view_as(sampled), acs)


def _numbers(seed: Seed) -> Any:
    return [ord(letter) for letter in seed] if isinstance(seed, str) else seed


def _choose(
    acceleration: float | Sequence[float],
    center_fraction: float | Sequence[float],
    generator: np.random.RandomState,
) -> tuple[float, float]:
    rates = _listed(acceleration)
    centres = _listed(center_fraction)
    if len(centres) == 1:
        centres = centres * len(rates)
    if not rates or len(rates) != len(centres):
        raise ValueError(
            f"{len(rates)} accelerations with {len(centres)} centre fractions; they go in pairs."
        )
    place = generator.randint(0, len(rates))
    if rates[place] < 1 or centres[place] < 0:
        raise ValueError(
            f"acceleration {rates[place]:g} with centre fraction {centres[place]:g}: expected an "
            "acceleration of 1 or more and a fraction of 0 or more."
        )
    return rates[place], centres[place]


def _listed(value: float | Sequence[float]) -> list[float]:
    return [float(each) for each in value] if isinstance(value, Sequence) else [float(value)]


def find_acs(sampled: Tensor) -> Tensor:
    """The fully sampled centre of a mask: columns, a rectangle or a disc, whichever is largest.

    Args:
        sampled: True where a sample was taken.

    Returns:
        True inside it; False everywhere where the middle itself was not sampled.

    Shape:
        sampled: (H, W), result: (H, W).
    """
    mask = sampled.detach().cpu().numpy().astype(bool)
    found = max((columns.centre_run(mask), *discs.centres(mask)), key=np.count_nonzero)
    return torch.from_numpy(found).to(sampled.device)


def calgary_campinas_acs(shape: tuple[int, int], radius: int = 18) -> Tensor:
    """The centre that Calgary-Campinas masks share: a disc, its rim included.

    Shape:
        result: (H, W).
    """
    return torch.from_numpy(discs.distance(shape) <= radius)
