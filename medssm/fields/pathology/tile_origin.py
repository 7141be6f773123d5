"""Where the tiles that a network learned from came from, and those of others held against it."""

from dataclasses import dataclass

from medssm.core.errors import BadDataError
from medssm.fields.pathology.store import Tiles

# networks that read tiles as a set
_ORDERLESS = ("attention_mil", "instance_mil", "clam")


@dataclass(frozen=True)
class TileOrigin:
    """What decides whether a network can make sense of tiles.

    Args:
        network: Its name.
        order: In which it reads tiles; "file" as they lie in the file.
        orders: Orders in which the files of training said that their tiles were written.
        encoder: What made the features, where it is known.
    """

    network: str
    order: str
    orders: tuple[str, ...]
    encoder: str | None


def check_tiles(
    tiles: Tiles,
    origin: TileOrigin,
    check_order: bool = True,
    check_encoder: bool = True,
    switch: str = "{}=false",
) -> None:
    """Hold the files of a bag against those of training.

    Args:
        tiles: Of the bag.
        origin: Of the tiles of training.
        check_order: Refuse another order.
        check_encoder: Refuse another encoder.
        switch: How a user turns one of these two off, with {} for its name.

    Raises:
        BadDataError: Another order or another encoder.
    """
    reads_in_order = origin.network not in _ORDERLESS and origin.order == "file"
    for part in tiles.parts:
        order = str(part.facts.get("order", "unknown"))
        if check_order and reads_in_order and order not in origin.orders:
            raise BadDataError(
                f"{part.source}: tiles in the order {order!r}, the model was trained on "
                f"{', '.join(origin.orders)}, and its answer depends on the order. "
                f"Write them in that order, or go on with {switch.format('check_order')}."
            )
        if check_encoder and origin.encoder and part.encoder not in (None, origin.encoder):
            raise BadDataError(
                f"{part.source}: features of the encoder {part.encoder!r}, the model was trained "
                f"on {origin.encoder!r}. Take features of that one, or go on with "
                f"{switch.format('check_encoder')}."
            )
