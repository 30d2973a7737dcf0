"""Tensors as messages and as JSON, to numpy arrays and back; strings are arrays of objects."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfclic.format.served import BINARY
from tfclic.serving import protos
from tfclic.serving.refusals import invalid

if TYPE_CHECKING:
    import numpy.typing as npt

STRING = protos.types_pb2.DT_STRING
FLOAT = protos.types_pb2.DT_FLOAT
BOOL = protos.types_pb2.DT_BOOL
INT32 = protos.types_pb2.DT_INT32
# By the numbers of TensorFlow's types: the array's type, and the field of a TensorProto.
_KINDS: dict[int, tuple[Any, str]] = {
    protos.types_pb2.DT_FLOAT: (np.float32, "float_val"),
    protos.types_pb2.DT_DOUBLE: (np.float64, "double_val"),
    protos.types_pb2.DT_INT32: (np.int32, "int_val"),
    protos.types_pb2.DT_UINT8: (np.uint8, "int_val"),
    protos.types_pb2.DT_INT16: (np.int16, "int_val"),
    protos.types_pb2.DT_INT64: (np.int64, "int64_val"),
    protos.types_pb2.DT_BOOL: (np.bool_, "bool_val"),
    STRING: (np.object_, "string_val"),
}
_NUMBERS = {np.dtype(array): number for number, (array, _) in _KINDS.items()}
MOST_REPEATED = 1 << 20  # elements that one value may stand for
# that numpy's arrays have; more than any signature's
MOST_DIMENSIONS, MOST_ELEMENTS = 32, 1 << 40


def type_name(number: int) -> str:
    """A type as messages to people have it, such as "float"."""
    name = protos.types_pb2.DataType.Name(number) if number in _all_types() else "unknown"
    return name[3:].lower() if name.startswith("DT_") else name


def _all_types() -> list[int]:
    return protos.types_pb2.DataType.values()


def number_of(array: np.ndarray) -> int:
    """TensorFlow's number of an array's type; 0, which is none, if it has no such type."""
    return _NUMBERS.get(array.dtype, 0)


def to_array(tensor: protos.tensor_pb2.TensorProto) -> np.ndarray:
    """The array of a TensorProto.

    Raises:
      Refusal: it is of a type that is not served, or does not hold what its shape says.
    """
    if tensor.dtype not in _KINDS:
        raise invalid(f"Tensors of type {type_name(tensor.dtype)} are not taken.")
    dtype, field = _KINDS[tensor.dtype]
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    size = math.prod(shape)
    if tensor.tensor_shape.unknown_rank or min(shape, default=0) < 0:
        raise invalid("A tensor's shape is not known.")
    _check_shape(shape)
    if tensor.tensor_content and tensor.dtype != STRING:
        if len(tensor.tensor_content) != size * np.dtype(dtype).itemsize:
            raise invalid("A tensor does not hold what its shape says.")
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
    values = getattr(tensor, field)
    if field == "int_val" and values:
        limits = np.iinfo(dtype)
        if min(values) < limits.min or max(values) > limits.max:
            raise invalid(f"A number does not fit into {type_name(tensor.dtype)}.")
    if len(values) == size:
        array = np.empty(size, dtype)
        array[:] = values
        return array.reshape(shape)
    # one value stands for all, as TensorFlow has it
    if len(values) == 1 and dtype is not np.object_ and size <= MOST_REPEATED:
        return np.broadcast_to(np.asarray(values[0], dtype), shape)
    raise invalid("A tensor does not hold what its shape says.")


def _check_shape(shape: Sequence[int]) -> None:
    """Refuses a shape that no array has; without elements, it may say anything else."""
    if len(shape) > MOST_DIMENSIONS:
        raise invalid(f"A tensor has more than {MOST_DIMENSIONS} dimensions.")
    if math.prod(filter(None, shape)) > MOST_ELEMENTS:
        raise invalid("A tensor's shape is too large.")


def to_proto(value: npt.ArrayLike) -> protos.tensor_pb2.TensorProto:
    """The TensorProto of an array, a number or bytes."""
    array = np.asarray(value, np.object_ if isinstance(value, bytes) else None)
    tensor = protos.tensor_pb2.TensorProto(dtype=_NUMBERS[array.dtype])
    tensor.tensor_shape.SetInParent()
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if tensor.dtype == STRING:
        tensor.string_val.extend(array.ravel().tolist())
    else:
        tensor.tensor_content = np.ascontiguousarray(array).tobytes()
    return tensor


def from_json(value: Any, number: int) -> np.ndarray:
    """The array of a JSON value.

    Args:
      value: whatever JSON can say; `{"b64": text}` is a string of bytes.
      number: the type that the signature asks for.

    Raises:
      Refusal: it is not of this type, or ragged.
    """
    dtype = _KINDS[number][0]
    shape, flat = [], [value]
    while flat and all(isinstance(each, list) for each in flat):
        if len({len(each) for each in flat}) > 1:
            raise invalid("Lists that are one tensor have to be of one length.")
        shape.append(len(flat[0]))
        flat = [item for each in flat for item in each]
    if any(isinstance(each, list) for each in flat):
        raise invalid("Lists that are one tensor have to be of one depth.")
    _check_shape(shape)
    converted = [_scalar(each, number) for each in flat]
    try:
        array = np.empty(len(flat), dtype)
        array[:] = converted
    except (OverflowError, ValueError):
        raise invalid(f"A number does not fit into {type_name(number)}.") from None
    return array.reshape(shape)


def _scalar(value: Any, number: int) -> bytes | bool | float:
    if number == STRING:
        if isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str):
            try:
                return base64.b64decode(value["b64"], validate=True)
            except (binascii.Error, ValueError):
                raise invalid("A value of b64 is not base64.") from None
        if isinstance(value, str):
            return value.encode("utf-8", "surrogatepass")
    elif number == protos.types_pb2.DT_BOOL:
        if isinstance(value, bool):
            return value
    elif isinstance(value, int) and not isinstance(value, bool):
        limits = None if np.dtype(_KINDS[number][0]).kind == "f" else np.iinfo(_KINDS[number][0])
        if limits is None or limits.min <= value <= limits.max:
            return value
        raise invalid(f"A number does not fit into {type_name(number)}.")
    elif isinstance(value, float) and np.dtype(_KINDS[number][0]).kind == "f":
        return value
    raise invalid(f"A value is not of type {type_name(number)}.")


def to_json(name: str, value: npt.ArrayLike) -> Any:
    """An output as JSON can say it: nested lists; bytes in base64 if its name asks for it."""
    array = np.asarray(value, np.object_ if isinstance(value, bytes) else None)
    if array.dtype != np.object_:
        return array.tolist()
    written = np.empty(array.shape, np.object_)
    for i, each in enumerate(array.flat):
        if name.endswith(BINARY):
            written.flat[i] = {"b64": base64.b64encode(each).decode()}
        else:
            written.flat[i] = each.decode("utf-8", "replace")
    return written.tolist()
