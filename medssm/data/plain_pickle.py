"""Pickles read as data: containers and arrays, made by code of ours that trusts no claim.

A list of admitted names is not enough by itself. NumPy takes the fields of a type out of a pickle
without looking whether they lie inside of the array, so that a type alone reads other memory; and
whatever a pickle names, it may change the attributes of.
"""

import pickle
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NoReturn

import numpy as np

_CODE = re.compile(r"[<>=|]?([?bB]|[biufc]\d{1,2}|[SU]\d{0,9}|O8?)")
_ORDERS = ("<", ">", "=", "|")
_NUMPY = ("numpy.core", "numpy._core")


class Maker:
    """A function that a pickle may call, and nothing else: its attributes stay as they are."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        """Call it."""
        return self._call(*arguments)

    def __setstate__(self, state: Any) -> NoReturn:
        """Refuse."""
        raise pickle.UnpicklingError("it changes a function")


class _Kind:
    """The type of numbers or text; of the state that follows, the order of bytes alone counts."""

    __slots__ = ("dtype",)

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str) or not _CODE.fullmatch(code):
            raise pickle.UnpicklingError(f"{code!r} is no type of numbers or text")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        """Take the order of bytes."""
        if state[1] not in _ORDERS:
            raise pickle.UnpicklingError(f"{state[1]!r} is no order of bytes")
        self.dtype = self.dtype.newbyteorder(state[1])


def _kind(code: object, *_: object) -> _Kind:
    return _Kind(code)


class _Array(np.ndarray):
    """An array whose type is a `_Kind`; NumPy then holds its bytes against its shape."""

    def __setstate__(self, state: Any) -> None:
        version, shape, kind, by_columns, content = state
        super().__setstate__((version, shape, _type(kind), by_columns, content))

    def __reduce__(self) -> Any:
        return np.asarray(self).__reduce__()


def _type(kind: object) -> np.dtype[Any]:
    if not isinstance(kind, _Kind):
        raise pickle.UnpicklingError("an array without a type")
    return kind.dtype


def _array(*_: object) -> np.ndarray:
    return np.ndarray.__new__(_Array, (0,), "b")


def _number(kind: object, content: bytes) -> Any:
    if _type(kind).hasobject:
        raise pickle.UnpicklingError("an object in place of a number")
    (number,) = np.frombuffer(content, _type(kind))
    return number


def _from_buffer(
    content: Any, kind: object, shape: Any, order: str, axes: Any = None
) -> np.ndarray:
    values = np.frombuffer(content, _type(kind))
    if order == "K" and axes is not None:
        return values.reshape(shape).transpose(axes)
    return values.reshape(shape, order="F" if order == "F" else "C")


# what the pickle of an array names; the class itself only stands as an argument
ARRAYS: Mapping[tuple[str, str], Any] = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): Maker(_kind),
    # of no bytes, by protocol 2
    ("__builtin__", "bytes"): bytes,
    **{(f"{base}.multiarray", "_reconstruct"): Maker(_array) for base in _NUMPY},
    **{(f"{base}.multiarray", "scalar"): Maker(_number) for base in _NUMPY},
    **{(f"{base}.numeric", "_frombuffer"): Maker(_from_buffer) for base in _NUMPY},
}


class PlainUnpickler(pickle.Unpickler):
    """Makes what its table names and arrays; any other name is an error.

    Subclasses set `admitted`: module and name to what stands for it.
    """

    admitted: ClassVar[Mapping[tuple[str, str], Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Admit what is data, refuse what could run."""
        for table in (ARRAYS, self.admitted):
            if (module, name) in table:
                return table[module, name]
        raise pickle.UnpicklingError(f"{module}.{name} is no array, tensor or container")
