"""Arrays to tensors of TensorFlow's C API, and back."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

_STRING = 7  # TF_DataType
_DTYPES = {
    1: np.float32,
    2: np.float64,
    3: np.int32,
    4: np.uint8,
    5: np.int16,
    9: np.int64,
    10: np.bool_,
}
_STRING_BYTES = 24  # sizeof(TF_TString)


def to_tensor(c: ctypes.CDLL, value: Any) -> int:
    """A new tensor of bytes, a numpy array or a number; several strings are an array of objects.

    Args:
      c: the C API.
      value: what it is to hold.

    Returns:
      The TF_Tensor, which the caller deletes.
    """
    if isinstance(value, bytes) or getattr(value, "dtype", None) == np.object_:
        return _to_strings(c, np.asarray(value, np.object_))
    array = np.ascontiguousarray(value).reshape(np.shape(value))
    kind = next(kind for kind, dtype in _DTYPES.items() if dtype == array.dtype)
    sizes = (ctypes.c_int64 * array.ndim)(*array.shape)
    tensor = c.TF_AllocateTensor(kind, sizes, array.ndim, array.nbytes)
    ctypes.memmove(c.TF_TensorData(tensor), array.ctypes.data, array.nbytes)
    return tensor


def from_tensor(c: ctypes.CDLL, tensor: int | None) -> Any:
    """What a TF_Tensor holds, copied: bytes for a string, otherwise a numpy array."""
    kind, start = c.TF_TensorType(tensor), c.TF_TensorData(tensor)
    shape = [c.TF_Dim(tensor, i) for i in range(c.TF_NumDims(tensor))]
    if kind == _STRING:
        array = np.empty(shape, np.object_)
        for i in range(array.size):
            text = start + i * _STRING_BYTES
            array.flat[i] = ctypes.string_at(
                c.TF_StringGetDataPointer(text), c.TF_StringGetSize(text)
            )
        return array if shape else array.item()
    array = np.empty(shape, _DTYPES[kind])
    ctypes.memmove(array.ctypes.data, start, array.nbytes)
    return array


def _to_strings(c: ctypes.CDLL, array: np.ndarray) -> int:
    sizes = (ctypes.c_int64 * array.ndim)(*array.shape)
    tensor = c.TF_AllocateTensor(_STRING, sizes, array.ndim, _STRING_BYTES * array.size)
    start = c.TF_TensorData(tensor)
    for i, value in enumerate(array.flat):
        text = start + i * _STRING_BYTES
        c.TF_StringInit(text)
        c.TF_StringCopy(text, value, len(value))
    return tensor
