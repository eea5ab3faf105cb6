"""The encodings of single values in MDS, as an allow-list: text, bytes, JSON, scalars and arrays.

What `streaming` calls `pkl` runs code when it is read, and images are no business of ours: both are errors here.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import numpy.typing as npt

from corpusmith.errors import InputError

#: name -> code of the dtype byte in an array without a fixed dtype
_DTYPE_CODES = {
    "uint8": 8,
    "int8": 9,
    "uint16": 16,
    "int16": 17,
    "float16": 18,
    "uint32": 32,
    "int32": 33,
    "float32": 34,
    "uint64": 64,
    "int64": 65,
    "float64": 66,
}
_DTYPE_NAMES = {code: name for name, code in _DTYPE_CODES.items()}
_SHAPE_DTYPES = [np.dtype(name) for name in ("<u1", "<u2", "<u4", "<u8")]
_MAX_AXES = 63

Bytes = bytes | memoryview


@dataclass(frozen=True, slots=True)
class ValueCodec:
    """An encoding: its size in bytes (None where it varies), value to bytes and back.

    `encode` raises InputError for a value that the encoding does not take, `decode` ValueError for bytes that are none.
    """

    size: int | None
    encode: Callable[[Any], bytes]
    decode: Callable[[Bytes], Any]


@functools.cache
def codec_of(encoding: str, where: str) -> ValueCodec:
    """The codec of an encoding's name; `where` begins the error for one that is unknown or refused."""
    if encoding in _PLAIN:
        return _PLAIN[encoding]
    if encoding in _DTYPE_CODES:
        return _scalar(np.dtype(encoding).newbyteorder("<"), encoding)
    head, *rest = encoding.split(":")
    if head == "ndarray" and len(rest) <= 2 and all(rest):
        return _array(encoding, rest, where)
    known = ", ".join([*_PLAIN, *_DTYPE_CODES, "ndarray[:DTYPE[:SHAPE]]"])
    raise InputError(f"{where}: the MDS encoding {encoding!r} is not one of {known}")


def _want(kind: type | tuple[type, ...], name: str, value: Any) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InputError(f"the MDS encoding {name!r} does not take {type(value).__name__}")
    return value


def _scalar(dtype: np.dtype[Any], name: str) -> ValueCodec:
    def encode(value: Any) -> bytes:
        return np.asarray(_want((int, float, np.integer, np.floating), name, value)).astype(dtype).tobytes()

    def decode(data: Bytes) -> Any:
        return np.frombuffer(data, dtype=dtype)[0]

    return ValueCodec(dtype.itemsize, encode, decode)


def _text(data: Bytes) -> str:
    return bytes(data).decode("utf-8")


def _decimal(data: Bytes) -> Decimal:
    try:
        return Decimal(_text(data))
    except InvalidOperation as error:
        raise ValueError(f"not a decimal number: {bytes(data)[:40]!r}") from error


def _encode_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _encode_str(value: Any) -> bytes:
    text: str = _want(str, "str", value)
    return text.encode("utf-8", "replace")


_PLAIN: dict[str, ValueCodec] = {
    "str": ValueCodec(None, _encode_str, _text),
    "bytes": ValueCodec(None, lambda value: bytes(_want(bytes, "bytes", value)), bytes),
    "int": ValueCodec(
        8,
        lambda value: int(_want(int, "int", value)).to_bytes(8, "little", signed=True),
        lambda data: int.from_bytes(data, "little", signed=True),
    ),
    "str_int": ValueCodec(
        None, lambda value: str(_want(int, "str_int", value)).encode(), lambda data: int(_text(data))
    ),
    "str_float": ValueCodec(
        None, lambda value: str(_want(float, "str_float", value)).encode(), lambda data: float(_text(data))
    ),
    "str_decimal": ValueCodec(None, lambda value: str(_want(Decimal, "str_decimal", value)).encode(), _decimal),
    "json": ValueCodec(None, _encode_json, lambda data: json.loads(bytes(data))),
}


# --- arrays ------------------------------------------------------------------------------------------------------


def _array(encoding: str, parts: list[str], where: str) -> ValueCodec:
    """`ndarray`, `ndarray:DTYPE` or `ndarray:DTYPE:d0,d1,…`."""
    if parts and parts[0] not in _DTYPE_CODES:
        raise InputError(f"{where}: the MDS encoding {encoding!r} has an unknown dtype {parts[0]!r}")
    dtype = np.dtype(parts[0]).newbyteorder("<") if parts else None
    shape = None
    if len(parts) == 2:
        if not all(size.isdigit() and int(size) > 0 for size in parts[1].split(",")):
            raise InputError(f"{where}: the shape of {encoding!r} must be positive sizes with commas between them")
        shape = tuple(map(int, parts[1].split(",")))
    size = None if shape is None or dtype is None else math.prod(shape) * dtype.itemsize

    def encode(value: Any) -> bytes:
        array = _check_array(value, encoding, dtype, shape)
        head = b"" if dtype is not None else bytes([_DTYPE_CODES[array.dtype.name]])
        head += b"" if shape is not None else _encode_shape(array.shape)
        return head + array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()

    def decode(data: Bytes) -> npt.NDArray[Any]:
        return _decode_array(data, dtype, shape)

    return ValueCodec(size, encode, decode)


def _check_array(
    value: Any, encoding: str, dtype: np.dtype[Any] | None, shape: tuple[int, ...] | None
) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = _want(np.ndarray, encoding, value)
    fits = array.dtype.name in _DTYPE_CODES if dtype is None else array.dtype.newbyteorder("<") == dtype
    if not fits:
        raise InputError(f"the MDS encoding {encoding!r} does not take an array of {array.dtype}")
    if not array.size or not 1 <= array.ndim <= _MAX_AXES:
        raise InputError(f"the MDS encoding {encoding!r} does not take an array of shape {array.shape}")
    if shape is not None and array.shape != shape:
        raise InputError(f"the MDS encoding {encoding!r} does not take an array of shape {array.shape}")
    return array


def _encode_shape(shape: tuple[int, ...]) -> bytes:
    width = next(width for width, dtype in enumerate(_SHAPE_DTYPES) if max(shape) <= np.iinfo(dtype).max)
    return bytes([len(shape) << 2 | width]) + np.array(shape, dtype=_SHAPE_DTYPES[width]).tobytes()


def _decode_array(data: Bytes, dtype: np.dtype[Any] | None, shape: tuple[int, ...] | None) -> npt.NDArray[Any]:
    position = 0
    if dtype is None:
        if not data or data[0] not in _DTYPE_NAMES:
            raise ValueError("an array of unknown dtype")
        dtype, position = np.dtype(_DTYPE_NAMES[data[0]]).newbyteorder("<"), 1
    if shape is None:
        if position >= len(data):
            raise ValueError("an array without a shape")
        axes, width = data[position] >> 2, _SHAPE_DTYPES[data[position] & 3]
        end = position + 1 + axes * width.itemsize
        shape = tuple(np.frombuffer(data[position + 1 : end], dtype=width).tolist())
        position = end
        if len(shape) != axes:
            raise ValueError("an array whose shape ends early")
    if math.prod(shape) * dtype.itemsize != len(data) - position:
        raise ValueError(f"an array of shape {shape} and {dtype} in {len(data) - position} bytes")
    return np.frombuffer(data, dtype=dtype, offset=position).reshape(shape)
