"""Masks of single samples around a disc: Gaussian, Poisson disc, radial and spiral."""

import numpy as np

from medssm.mri.columns import best, gaussian_score

GOLDEN = (np.sqrt(5) - 1) / 2
TOLERANCE = 0.03
_FILLED = 1 / 1.1
"""How full a disc must be to count as the centre of spokes."""


def distance(shape: tuple[int, int]) -> np.ndarray:
    """Distance of every sample from the middle (H // 2, W // 2), in samples."""
    rows, columns = (np.arange(size) - size // 2 for size in shape)
    return np.hypot(rows[:, None], columns[None, :])


def disc(shape: tuple[int, int], fraction: float) -> np.ndarray:
    """The disc in the middle that covers a part of the area, its rim left out."""
    radius = int(np.sqrt(shape[0] * shape[1] * fraction / np.pi))
    return distance(shape) < radius


def _budget(shape: tuple[int, int], rate: float, acs: np.ndarray) -> int:
    """Samples outside the centre that an acceleration leaves."""
    left = int(shape[0] * shape[1] / rate + 0.5) - int(acs.sum())
    if left < 0:
        raise ValueError(
            f"a centre of {int(acs.sum())} samples is more than acceleration {rate:g} leaves "
            f"of {shape[0]} x {shape[1]}; take a smaller center_fraction or acceleration."
        )
    return left


def gaussian(
    shape: tuple[int, int],
    rate: float,
    centre: float,
    generator: np.random.RandomState,
    exact: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Samples drawn without repetition around the middle, with sd 6 sqrt(size // 2) an axis."""
    del exact
    acs = disc(shape, centre)
    rows, columns = (gaussian_score(size, np.zeros(size)) for size in shape)
    score = rows[:, None] + columns[None, :] + generator.gumbel(size=shape)
    return best(np.where(acs, -np.inf, score), _budget(shape, rate, acs)), acs


def poisson(
    shape: tuple[int, int],
    rate: float,
    centre: float,
    generator: np.random.RandomState,
    exact: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Variable-density Poisson disc: no two samples nearer than a radius that grows outwards.

    The slope of the radius is bisected until the acceleration is between 0.5 and 1.5 % above the
    wanted one, where DIRECT's own come out; what is left is mended at random.
    """
    acs = disc(shape, centre)
    wanted = _budget(shape, rate, acs) + int(acs.sum())
    order = generator.permutation(shape[0] * shape[1])
    relative = distance(shape) / (max(shape) / 2)
    low, high = 0.0, float(max(shape))
    taken = np.ones(shape, dtype=bool)
    for _ in range(40):
        slope = (low + high) / 2
        taken = _throw(relative * slope, order) | acs
        count = int(taken.sum())
        if abs(wanted / count - 1.01) < 0.005:
            break
        low, high = (slope, high) if count * 1.01 > wanted else (low, slope)
    if exact and abs(taken.sum() / wanted - 1) > TOLERANCE:
        taken = _mended(taken, acs, wanted, generator)
    return taken, acs


def _throw(radius: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Take samples in an order; each blocks those within its own radius."""
    height, width = radius.shape
    blocked = np.zeros(radius.shape, dtype=bool)
    taken = np.zeros(radius.shape, dtype=bool)
    discs: dict[int, np.ndarray] = {}
    for place in order.tolist():
        row, column = divmod(place, width)
        if blocked[row, column]:
            continue
        taken[row, column] = True
        # half samples are fine enough for the radius, and few discs need to be made
        twice = int(2 * radius[row, column])
        reach = twice // 2
        if reach == 0:
            continue
        if twice not in discs:
            axis = np.arange(-reach, reach + 1)
            discs[twice] = np.hypot(axis[:, None], axis[None, :]) <= twice / 2
        top, left = max(0, row - reach), max(0, column - reach)
        bottom, right = min(height, row + reach + 1), min(width, column + reach + 1)
        blocked[top:bottom, left:right] |= discs[twice][
            top - row + reach : bottom - row + reach, left - column + reach : right - column + reach
        ]
    return taken


def _mended(
    taken: np.ndarray, acs: np.ndarray, wanted: int, generator: np.random.RandomState
) -> np.ndarray:
    change = wanted - int(taken.sum())
    pool = np.flatnonzero(~taken if change > 0 else taken & ~acs)
    mended = taken.copy().ravel()
    mended[generator.permutation(pool)[: abs(change)]] = change > 0
    return mended.reshape(taken.shape)


def nested_squares(
    shape: tuple[int, int],
    rate: float,
    centre: float,
    generator: np.random.RandomState,
    exact: bool,
    turn: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Spokes (turn 0) or spirals on the Cartesian grid: samples on nested squares.

    Every square gets as many samples as there are spokes, at steps of the golden ratio around
    it. Spokes are added until the acceleration is reached; the last one ends where the budget
    does. Without a given centre and where it need not be exact the budget is 2.5 % larger, as the
    published ones come out.

    Source:
        Liu and Saloner, Accelerated MRI with CIRcular Cartesian UnderSampling (2014).
    """
    acs = disc(shape, centre) if centre else np.zeros(shape, dtype=bool)
    left = _budget(shape, rate if exact or centre else rate * 0.975, acs)
    taken = acs.copy()
    rings = np.arange((max(shape) + 1) // 2 + 1)
    start, spoke = generator.uniform(), 0
    while left > 0:
        rows, columns = _spoke(shape, rings, (start + spoke * GOLDEN) % 1.0, turn)
        fresh = list(dict.fromkeys(zip(rows.tolist(), columns.tolist(), strict=True)))
        fresh = [place for place in fresh if not taken[place]][:left]
        for place in fresh:
            taken[place] = True
        left -= len(fresh)
        spoke += 1
    return taken, acs if centre else _filled_disc(taken)


def _spoke(
    shape: tuple[int, int], rings: np.ndarray, angle: float, turn: float
) -> tuple[np.ndarray, np.ndarray]:
    """One sample of every square, inside the grid."""
    # a square of half side k has 8 k places; the place goes along its four sides
    places = np.maximum(8 * rings, 1)
    along = np.floor(((angle + turn * rings / rings[-1]) % 1.0) * places).astype(int)
    side, offset = np.divmod(along, np.maximum(2 * rings, 1))
    first, second = -rings, offset - rings
    rows = np.choose(side % 4, [first, second, -first, -second])
    columns = np.choose(side % 4, [second, -first, -second, first])
    rows, columns = rows + shape[0] // 2, columns + shape[1] // 2
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    return rows[inside], columns[inside]


def _filled_disc(taken: np.ndarray) -> np.ndarray:
    """The largest disc in the middle that is nearly full."""
    away = distance(taken.shape)
    found = np.zeros_like(taken)
    for radius in range(1, max(taken.shape) // 2):
        inside = away <= radius
        if taken[inside].mean() < _FILLED:
            break
        found = inside
    return found & taken


def centres(mask: np.ndarray) -> list[np.ndarray]:
    """The largest full rectangle around the middle and the largest full disc."""
    rows, columns = (size // 2 for size in mask.shape)
    square, disc_ = np.zeros_like(mask), np.zeros_like(mask)
    if not mask[rows, columns]:
        return [square, disc_]
    top, bottom, left, right = rows, rows + 1, columns, columns + 1
    grown = True
    while grown:
        grown = False
        for step in ((-1, 0, 0, 0), (0, 1, 0, 0), (0, 0, -1, 0), (0, 0, 0, 1)):
            edge = (top + step[0], bottom + step[1], left + step[2], right + step[3])
            if _full(mask, edge):
                top, bottom, left, right = edge
                grown = True
    square[top:bottom, left:right] = True
    away = distance(mask.shape)
    if not mask.all():
        disc_ = away < away[~mask].min()
    return [square, disc_]


def _full(mask: np.ndarray, edge: tuple[int, int, int, int]) -> bool:
    top, bottom, left, right = edge
    if top < 0 or left < 0 or bottom > mask.shape[0] or right > mask.shape[1]:
        return False
    return bool(mask[top:bottom, left:right].all())
