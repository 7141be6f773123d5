"""Pickles as data: arrays of every writer come out, and no type reads other memory."""

import io
import pickle
from typing import ClassVar

import numpy as np
import pytest

from medssm.data.plain_pickle import PlainUnpickler


class Made:
    """Pickles as a call and a state."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def _loaded(content, protocol=2):
    return PlainUnpickler(io.BytesIO(pickle.dumps(content, protocol))).load()


class _Encoding(PlainUnpickler):
    admitted: ClassVar = {("_codecs", "encode"): lambda text, name: text.encode(name)}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.int16).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(24, dtype=">f4").reshape(2, 3, 4).transpose(1, 0, 2),
        np.array([True, False]),
        np.array(["ab", "c"]),
        np.array([1, "a", None], dtype=object),
        np.array(2.5),
        np.zeros((0, 4), np.int64),
    ],
)
def test_arrays_come_out_as_they_were(array, protocol):
    stream = io.BytesIO(pickle.dumps({"a": array}, protocol))
    found = _Encoding(stream).load()["a"]
    # NumPy itself turns other orders of bytes into the own
    assert found.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
    assert np.array_equal(found, array)
    # workers get it as an array of NumPy's own
    assert type(pickle.loads(pickle.dumps(found, protocol))) is np.ndarray


def test_numbers_come_out_as_they_were():
    stream = io.BytesIO(pickle.dumps([np.float32(0.5), np.int64(-3), np.bool_(True)], 4))
    assert _Encoding(stream).load() == [0.5, -3, True]


FAR = (3, "|", None, ("a",), {"a": (np.dtype("f8"), 10**6)}, 8, 1, 16)
HIDDEN = (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 16)
RECONSTRUCT = np._core.multiarray._reconstruct


@pytest.mark.parametrize("state", [FAR, HIDDEN])
def test_a_type_with_fields_outside_of_its_bytes_is_refused(state):
    kind = Made(np.dtype, ("V8", False, True), state)
    # what it is refused for: NumPy takes the place of the field as it is told
    told = pickle.loads(pickle.dumps(kind)).fields["a"]
    assert told == state[4]["a"]
    with pytest.raises(pickle.UnpicklingError, match="'V8' is no type of numbers"):
        _loaded(kind)


@pytest.mark.parametrize(
    ("hostile", "message"),
    [
        (Made(RECONSTRUCT, (np.ndarray, (0,), 0), (1, (9,), np.dtype("f8"), False, [1])), None),
        (Made(np._core.multiarray.scalar, (np.dtype("O"), [1])), "an object in place"),
        (Made(np.ndarray, ((10**6,), "f8")), None),
        (Made(np._core.numeric._frombuffer, (bytearray(16), np.dtype("O"), (2,), "C")), None),
    ],
)
def test_claims_that_do_not_fit_are_errors(hostile, message):
    with pytest.raises(Exception, match=message):
        _loaded(hostile, 5)


def test_what_a_pickle_calls_it_cannot_change():
    stream = b"cnumpy._core.multiarray\n_reconstruct\n(N}X\x01\x00\x00\x00a\x88stb."
    with pytest.raises(pickle.UnpicklingError, match="changes a function"):
        PlainUnpickler(io.BytesIO(stream)).load()
