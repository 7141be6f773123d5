"""Masks of whole columns: random, equispaced in two conventions, magic, Gaussian."""

from collections.abc import Callable

import numpy as np

Columns = np.ndarray
Rule = Callable[[int, float, int, np.random.RandomState], tuple[Columns, bool]]
TOLERANCE = 0.03


def draw(
    rule: Rule,
    shape: tuple[int, int],
    rate: float,
    centre: float,
    generator: np.random.RandomState,
    exact: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """A mask of columns by one of the rules below.

    Args:
        rule: Gives the columns and whether their number may be mended.
        shape: Rows and columns.
        rate: Acceleration.
        centre: Part of the columns in the centre, or their number from 1 on.
        generator: Draws.
        exact: Mend a number that is off by more than 3 %.

    Returns:
        Samples and centre.

    Raises:
        ValueError: The centre alone is more than the acceleration leaves.

    Shape:
        both: (H, W).
    """
    rows, width = shape
    low = round(width * centre) if centre < 1 else round(centre)
    if rate > 1 and low * rate > width * (1 + TOLERANCE):
        raise ValueError(
            f"{low} centre columns of {width} are more than acceleration {rate:g} leaves "
            f"({width / rate:.1f}); take a smaller center_fraction or acceleration."
        )
    acs = np.zeros(width, dtype=bool)
    start = (width - low + 1) // 2
    acs[start : start + low] = True
    chosen, mendable = rule(width, rate, low, generator)
    chosen = chosen | acs
    if exact and mendable:
        chosen = _mended(chosen, acs, width / rate, generator)
    return (np.broadcast_to(each, (rows, width)).copy() for each in (chosen, acs))  # type: ignore[return-value]


def _mended(
    chosen: Columns, acs: Columns, wanted: float, generator: np.random.RandomState
) -> Columns:
    """The columns with some more or fewer outside the centre, if their number is off by 3 %."""
    count = int(chosen.sum())
    if abs(wanted / count - 1) <= TOLERANCE:
        return chosen
    change = max(1, round(wanted)) - count
    pool = np.flatnonzero(~chosen if change > 0 else chosen & ~acs)
    mended = chosen.copy()
    mended[generator.permutation(pool)[: abs(change)]] = change > 0
    return mended


def random(
    width: int, rate: float, low: int, generator: np.random.RandomState
) -> tuple[Columns, bool]:
    """Every column with the same probability, so that the whole comes to the rate on average."""
    probability = (width / rate - low) / (width - low) if width > low else 0.0
    return generator.uniform(size=width) < probability, True


def equispaced(
    width: int, rate: float, low: int, generator: np.random.RandomState
) -> tuple[Columns, bool]:
    """Every rate-th column, the centre beside: the true acceleration is lower (fastMRI's plain)."""
    del low
    chosen = np.zeros(width, dtype=bool)
    chosen[generator.randint(0, round(rate)) :: round(rate)] = True
    return chosen, False


def equispaced_fraction(
    width: int, rate: float, low: int, generator: np.random.RandomState
) -> tuple[Columns, bool]:
    """Even spacing, widened by what the centre costs, so that the whole comes to the rate."""
    chosen = np.zeros(width, dtype=bool)
    left = low * rate - width
    if left >= 0:
        return chosen, True
    spacing = rate * (low - width) / left
    offset = generator.randint(0, max(1, round(spacing)))
    chosen[np.around(np.arange(offset, width - 1, spacing)).astype(int)] = True
    return chosen, True


def magic(
    width: int, rate: float, low: int, generator: np.random.RandomState
) -> tuple[Columns, bool]:
    """Every rate-th column of each half, shifted so that conjugate symmetry fills the other.

    Source:
        Defazio, Offset sampling improves deep learning based accelerated MRI (2019).
    """
    del low
    return _offset_halves(width, round(rate), generator), False


def magic_fraction(
    width: int, rate: float, low: int, generator: np.random.RandomState
) -> tuple[Columns, bool]:
    """Magic, its spacing widened by what the centre costs."""
    budget = round(width / rate)
    beside = max(budget - max(min(low, budget), 1), 1)
    return _offset_halves(width, round(width / beside), generator), True


def _offset_halves(width: int, spacing: int, generator: np.random.RandomState) -> Columns:
    offset = generator.randint(0, spacing)
    # the halves start one apart, in the one or the other order
    right, left = (offset + 1, offset + 2) if offset % 2 == 0 else (offset + 2, offset - 1)
    upper, lower = np.zeros((width + 1) // 2, dtype=bool), np.zeros(width // 2, dtype=bool)
    upper[right::spacing] = True
    lower[left::spacing] = True
    return np.fft.fftshift(np.concatenate([upper, lower[::-1]]))


def gaussian(
    width: int, rate: float, low: int, generator: np.random.RandomState
) -> tuple[Columns, bool]:
    """Columns drawn without repetition around the middle, with sd 6 sqrt(W // 2)."""
    start = (width - low + 1) // 2
    taken = np.zeros(width, dtype=bool)
    taken[start : start + low] = True
    budget = max(0, int(width / rate + 0.5) - low)
    score = gaussian_score(width, generator.gumbel(size=width))
    return best(np.where(taken, -np.inf, score), budget), True


def gaussian_score(size: int, noise: np.ndarray) -> np.ndarray:
    """Log weights plus Gumbel noise: the largest ones are a draw without repetition."""
    spread = 6.0 * np.sqrt(size // 2)
    return -0.5 * ((np.arange(size) - size // 2) / spread) ** 2 + noise


def best(score: np.ndarray, count: int) -> np.ndarray:
    """True at the largest values."""
    chosen = np.zeros(score.size, dtype=bool)
    if count > 0:
        chosen[np.argsort(score, axis=None)[::-1][:count]] = True
    return chosen.reshape(score.shape)


def centre_run(mask: np.ndarray) -> np.ndarray:
    """The run of full columns around the middle.

    Shape:
        mask: (H, W), result: (H, W).
    """
    full: np.ndarray = np.all(mask, axis=0)
    found = np.zeros_like(mask)
    middle = mask.shape[1] // 2
    if not full[middle]:
        return found
    first = last = middle
    while first > 0 and full[first - 1]:
        first -= 1
    while last < len(full) - 1 and full[last + 1]:
        last += 1
    # a centre reaches as far to both sides; what one side has beyond was taken by chance
    reach = min(middle - first, last - middle)
    found[:, max(first, middle - reach - 1) : min(last, middle + reach + 1) + 1] = True
    return found
