"""The size of a pixel: taken from the file or from the user, never guessed."""

from medssm.core.errors import BadDataError
from medssm.data.slides.slide import Slide

LEAST_MPP, MOST_MPP = 0.05, 20.0
_MOST_STRETCH = 0.05
# TRIDENT's buckets: below this many micrometres a pixel a slide counts as this magnification
BUCKETS = ((0.16, 80), (0.2, 60), (0.3, 40), (0.6, 20), (1.2, 10), (2.4, 5))
_REMEDY = (
    "Say it with preprocess.mpp=0.25 (medssm predict: mpp=0.25) for all slides that do not tell "
    "it, or in the column mpp of the table."
)


def resolve_mpp(slide: Slide, wish: float | None = None, otherwise: float | None = None) -> float:
    """Micrometres a pixel at level 0.

    Args:
        slide: The slide.
        wish: What the user says of this slide; it wins over the file.
        otherwise: What the user says of slides whose files do not tell, or tell what cannot be.

    Raises:
        BadDataError: Nobody says it, it is no size a scanner has, or x and y differ.
    """
    if wish is not None:
        return _plausible(slide, wish, "given by hand")
    try:
        return _of_file(slide)
    except BadDataError:
        if otherwise is None:
            raise
    return _plausible(slide, otherwise, "given by hand")


def _of_file(slide: Slide) -> float:
    if slide.scan.mpp is None:
        power = slide.scan.magnification
        told = f", only the objective's {power:g}x" if power else " and no magnification"
        raise BadDataError(
            f"{slide.path}: the file tells no micrometres a pixel (mpp){told}; a scanner's value "
            f"is not guessed. {_REMEDY}"
        )
    x, y = slide.scan.mpp
    _plausible(slide, x, "in the file")
    _plausible(slide, y, "in the file")
    if abs(x - y) > _MOST_STRETCH * min(x, y):
        raise BadDataError(
            f"{slide.path}: {x:g} micrometres a pixel along x and {y:g} along y. Expected the "
            f"same within {_MOST_STRETCH:.0%}. {_REMEDY}"
        )
    return (x + y) / 2


def magnification_of(mpp: float, where: str) -> int:
    """The magnification that TRIDENT gives a slide.

    Raises:
        BadDataError: Coarser than any bucket.
    """
    for limit, magnification in BUCKETS:
        if mpp < limit:
            return magnification
    raise BadDataError(
        f"{where}: {mpp:g} micrometres a pixel is coarser than TRIDENT's last bucket "
        f"({BUCKETS[-1][0]:g}). Tile it with preprocess.tiles.mode=mpp."
    )


def _plausible(slide: Slide, mpp: float, source: str) -> float:
    if not LEAST_MPP <= mpp <= MOST_MPP:
        dpi = 25400 / mpp if mpp > 0 else 0
        why = f" (that is {dpi:.0f} dpi, a printer's value)" if 60 <= dpi <= 310 else ""
        raise BadDataError(
            f"{slide.path}: {mpp:g} micrometres a pixel {source}{why}. Expected {LEAST_MPP:g} to "
            f"{MOST_MPP:g}. {_REMEDY}"
        )
    return float(mpp)
