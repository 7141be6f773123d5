"""Deflated DICOM: how large it becomes, found before a reader inflates it into memory at once."""

import zlib

from medssm.core.errors import BadDataError
from medssm.core.memory import free_bytes

_DEFLATED = "1.2.840.10008.1.2.1.99"
_SYNTAX = (2, 0x10)
# representations whose length has four bytes, after two that are reserved
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT")
_PIECE = 1 << 20
# the inflated file, and what a reader makes of it
_COPIES = 2


def refuse_inflated(content: bytes, place: str) -> None:
    """Count what a deflated file inflates to; other files pass at once.

    Args:
        content: The whole file.
        place: How to call it.

    Raises:
        BadDataError: It would not fit into the memory that is free.
    """
    free = free_bytes()
    start = _deflated_from(content)
    if start is None or free is None:
        return
    machine, length = zlib.decompressobj(-zlib.MAX_WBITS), 0
    piece = content[start:]
    try:
        while piece and not machine.eof and length * _COPIES <= free:
            length += len(machine.decompress(piece, _PIECE))
            piece = machine.unconsumed_tail
    except zlib.error:
        # damage is for the reader to tell
        return
    if length * _COPIES > free:
        raise BadDataError(
            f"{place}: {len(content):,} bytes inflate to more than {length:,}; {free / 1e9:.1f} GB "
            "of memory are free. Export it without the deflated transfer syntax, if it is genuine."
        )


def _deflated_from(content: bytes) -> int | None:
    """Where the deflated part begins, or None in a file that is not deflated.

    Source:
        DICOM PS3.10 7.1: the meta header is explicit and little-endian, PS3.5 A.5: deflated.
    """
    # files without a preamble begin with the meta header
    at = 132 if content[128:132] == b"DICM" else 0
    syntax = ""
    while content[at : at + 2] == b"\x02\x00":
        number = int.from_bytes(content[at + 2 : at + 4], "little")
        long = content[at + 4 : at + 6] in _LONG
        begin, size = (at + 8, 4) if long else (at + 6, 2)
        length = int.from_bytes(content[begin : begin + size], "little")
        at = begin + size + length
        if (2, number) == _SYNTAX:
            syntax = content[at - length : at].decode("latin-1").strip("\0 ")
    return at if syntax == _DEFLATED else None
