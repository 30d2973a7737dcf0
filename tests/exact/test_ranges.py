"""How large values get, but for rare ones."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic import layers
from tfclic.exact import ranges


@pytest.mark.parametrize("rare, found", [(1, 1.0), (2, 1.0), (3, 50.0)])
def test_one_value_in_a_thousand_may_be_beyond(rare, found):
    values = np.ones([4, 500, 2], np.float32)
    values[1, :rare, 1] = -50
    np.testing.assert_array_equal(ranges.usual(tf.constant(values)), [1.0, found])
    np.testing.assert_array_equal(ranges.largest(tf.constant(values)), [1.0, 50.0])


def test_of_few_values_none_is():
    values = tf.reshape(tf.range(999.0), [1, 999, 1])
    assert ranges.usual(values) == ranges.largest(values) == 998


def test_layers_are_seen_by_the_image_that_has_most():
    layer = tf.keras.layers.Conv2D(1, 1, kernel_initializer="ones")
    observed = ranges.Observed({id(layer): "layer"})
    for value in (1.0, 4.0, 2.0):
        made = observed.run(layers.Sequential([layer]), tf.fill([1, 2, 2, 3], value))
        np.testing.assert_allclose(made, 3 * value)
    (found,) = observed.ranges().values()
    np.testing.assert_allclose(found.given, [4 * ranges.ROOM] * 3)
    np.testing.assert_allclose(found.made, [12 * ranges.ROOM])


def test_silent_channels_have_some_room():
    found = ranges.with_room(np.array([0.0, 64.0]))
    np.testing.assert_allclose(found, [ranges.ROOM, 64 * ranges.ROOM])
    assert (ranges.with_room(np.zeros(2)) > 0).all()
