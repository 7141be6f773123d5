"""A .b2nd file as an array and nothing else: the format can also hold programs."""

from pathlib import Path
from typing import Any

import blosc2

from medssm.core.errors import BadDataError


def open_array(file: Path, **options: Any) -> Any:
    """Open an array without reading its chunks.

    Args:
        file: The .b2nd file.
        **options: Of `blosc2.open`, such as ``mmap_mode="r"``.

    Returns:
        The `blosc2.NDArray`.

    Raises:
        BadDataError: It is damaged, or holds an expression, a function or a reference, which
            blosc2 would evaluate.
    """
    try:
        # before 4.14.1 opening a file ran the function in it
        array = blosc2.open(str(file), mode="r", deserialize="safe", **options)
    except Exception as error:
        raise BadDataError(
            f"{file}: damaged, or no plain array ({error}). Delete it and run medssm preprocess "
            "again."
        ) from error
    if not isinstance(array, blosc2.NDArray):
        raise BadDataError(f"{file}: holds a {type(array).__name__}. Expected a plain array.")
    return array
