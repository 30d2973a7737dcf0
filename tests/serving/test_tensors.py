"""Tensors as messages and JSON, against TensorFlow's own conversions."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic.serving import tensors
from tfclic.serving.refusals import Refusal

ARRAYS = [
    np.array([[1.5, -np.inf], [0, 3]], np.float32),
    np.array([], np.float64),
    np.array(-7, np.int32),
    np.arange(6, dtype=np.uint8).reshape(2, 3),
    np.array([-300], np.int16),
    np.array([1 << 40, -1]),
    np.array([True, False]),
    np.array([[b"", b"\0 text \xff"]], np.object_),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.dtype))
def test_messages_are_tensorflows(array):
    assert np.array_equal(tf.make_ndarray(tensors.to_proto(array)), array)
    got = tensors.to_array(tf.make_tensor_proto(array))
    assert got.dtype == array.dtype and np.array_equal(got, array)


@pytest.mark.parametrize("array", ARRAYS[:1] + ARRAYS[2:7], ids=lambda array: str(array.dtype))
def test_messages_may_list_their_values(array):
    # as clients in other languages write them
    listed = tf.make_tensor_proto(array.tolist(), tf.as_dtype(array.dtype))
    assert np.array_equal(tensors.to_array(listed), array)


def test_one_value_stands_for_all():
    proto = tensors.to_proto(np.zeros([2, 3], np.float32))
    proto.tensor_content = b""
    proto.float_val.append(5)
    assert np.array_equal(tensors.to_array(proto), np.full([2, 3], 5))


def test_json_is_told_by_the_name_of_an_output():
    array = np.array([[b"a"], [b"\xff"]], np.object_)
    assert tensors.to_json("x_bytes", array) == [[{"b64": "YQ=="}], [{"b64": "/w=="}]]
    assert tensors.to_json("text", array[:1]) == [["a"]]
    assert tensors.to_json("x", np.array([1.5, 2], np.float32)) == [1.5, 2.0]


@pytest.mark.parametrize(
    "value, kind",
    [([300], tf.uint8), ([1.5], tf.int32), ([True], tf.int32), ([1], tf.bool), ([None], tf.string)],
)
def test_json_of_another_type_is_refused(value, kind):
    with pytest.raises(Refusal):
        tensors.from_json(value, kind.as_datatype_enum)


@pytest.mark.parametrize("values", [[300], [300, 1], [-1, 1]])
def test_numbers_of_messages_that_do_not_fit_are_refused(values):
    proto = tensors.to_proto(np.zeros(2, np.uint8))
    proto.tensor_content = b""
    proto.int_val.extend(values)
    with pytest.raises(Refusal, match="A number does not fit into uint8."):
        tensors.to_array(proto)


def test_shapes_that_no_array_has_are_refused():
    deep = [7.0]
    for _ in range(40):
        deep = [deep]
    with pytest.raises(Refusal, match="more than 32 dimensions"):
        tensors.from_json(deep, tensors.FLOAT)


@pytest.mark.parametrize(
    "shape, values", [([1] * 40, [7.0]), ([1 << 62, 1 << 62, 0], []), ([0, (1 << 63) - 1], [])]
)
def test_shapes_of_messages_that_no_array_has_are_refused(shape, values):
    proto = tensors.to_proto(np.zeros(0, np.float32))
    del proto.tensor_shape.dim[:]
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    proto.float_val.extend(values)
    with pytest.raises(Refusal):
        tensors.to_array(proto)
