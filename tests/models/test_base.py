import numpy as np
import pytest
import tensorflow as tf

from tfclic.models import base


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("seed", [(5, 7), (-1371266664, -1083463874), (2**31 - 1, -1)])
def test_noise_is_that_of_tensorflow_also_where_xla_compiles_it(seed, compiled):
    seed, shape = tf.constant(seed), [2, 3, 5, 7]
    noise = tf.function(lambda s: base.uniform_noise(shape, s, 2), jit_compile=compiled)(seed)
    expected = tf.random.stateless_uniform(shape, seed + tf.constant([2, 0]), -0.5, 0.5)
    np.testing.assert_array_equal(noise, expected)
    assert len(np.unique(noise)) == noise.shape.num_elements()
