"""Where a picture ends by its own words: decoders fill in what a cut PNG, BMP or TIFF lacks."""

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from medssm.core.errors import BadDataError

_COPY = "copy the file again from its source, or export it again"
_PNG = b"\x89PNG\r\n\x1a\n"
# bytes of a value of each TIFF type, 1 to 18
_TIFF_BYTES = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8), start=1))
# tags of the offsets of strips and tiles, and of their lengths
_SEGMENTS = ((273, 279), (324, 325))


def check_end(path: Path) -> None:
    """Refuse a picture that is shorter than it says.

    Raises:
        BadDataError: It is cut off, or a checksum of a PNG does not fit.
    """
    with path.open("rb") as stream:
        mark = stream.read(8)
        length = path.stat().st_size
        if mark == _PNG:
            _check_png(path, stream)
            return
        try:
            if mark[:2] == b"BM":
                end = _end_of_bmp(stream)
            elif mark[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
                end = _end_of_tiff(stream, length)
            else:
                return
        except struct.error:
            end = length + 1
    if end > length:
        raise BadDataError(f"{path}: cut off: {length:,} bytes. Expected {end:,} or more; {_COPY}.")


def _check_png(path: Path, stream: BinaryIO) -> None:
    """Walk the chunks to the one that ends the picture, checksums included."""
    kind = b""
    while kind != b"IEND":
        head = stream.read(8)
        size = struct.unpack(">I", head[:4])[0] if len(head) == 8 else 0
        body = stream.read(size)
        check = stream.read(4)
        if len(head) < 8 or len(body) < size or len(check) < 4:
            raise BadDataError(f"{path}: cut off inside of the PNG's {stream.tell():,} bytes; "
                               f"{_COPY}.")  # fmt: skip
        kind = head[4:]
        if zlib.crc32(kind + body) != struct.unpack(">I", check)[0]:
            name = kind.decode("latin-1")
            raise BadDataError(f"{path}: damaged, the checksum of {name} does not fit; {_COPY}.")


def _end_of_bmp(stream: BinaryIO) -> int:
    stream.seek(2)
    size, _, offset, head, width, height = struct.unpack("<IIIIii", stream.read(24))
    _, bits, packed = struct.unpack("<HHI", stream.read(8))
    if packed or head < 40:
        return int(size)
    # not every writer fills in the size of the file
    return max(int(size), offset + abs(height) * ((width * bits + 31) // 32 * 4))


def _end_of_tiff(stream: BinaryIO, length: int) -> int:
    """The last byte that any page, value, strip or tile of a TIFF or BigTIFF needs."""
    stream.seek(0)
    mark = stream.read(4)
    order, big = "<" if mark[:2] == b"II" else ">", b"+" in mark
    number, count, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    stream.seek(8 if big else 4)
    page = _one(stream, order + number)
    end, seen = 0, set[int]()
    while page and page not in seen:
        seen.add(page)
        stream.seek(page)
        tags = _one(stream, order + count)
        table = stream.tell()
        end = max(end, table + tags * entry + struct.calcsize(number))
        if end > length:
            return end
        values = {}
        for index in range(tags):
            stream.seek(table + index * entry)
            tag, wide, reach = _tag(stream, order, number)
            end, values[tag] = max(end, reach), wide
        if end > length:
            return end
        for starts, sizes in _SEGMENTS:
            pairs = zip(values.get(starts, ()), values.get(sizes, ()), strict=False)
            end = max([end, *(at + size for at, size in pairs)])
        stream.seek(table + tags * entry)
        page = _one(stream, order + number)
    return end


def _tag(stream: BinaryIO, order: str, number: str) -> tuple[int, tuple[int, ...], int]:
    """A tag's number, its values where they are places or lengths, and where they end."""
    tag, kind = struct.unpack(order + "HH", stream.read(4))
    count = _one(stream, order + number)
    size = _TIFF_BYTES.get(kind, 0) * count
    at = stream.tell()
    if size > struct.calcsize(number):
        at = _one(stream, order + number)
    letter = {3: "H", 4: "I", 16: "Q"}.get(kind)
    if letter is None or not any(tag in pair for pair in _SEGMENTS):
        return tag, (), at + size
    stream.seek(at)
    content = stream.read(size)
    return tag, struct.unpack(f"{order}{count}{letter}", content), at + size


def _one(stream: BinaryIO, layout: str) -> int:
    return int(struct.unpack(layout, stream.read(struct.calcsize(layout)))[0])
