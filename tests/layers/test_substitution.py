import numpy as np
import tensorflow as tf

from tfclic.layers.substitution import frozen, substituted


def test_layers_read_other_weights_inside_and_their_own_after():
    layer = tf.keras.layers.Dense(2, use_bias=False)
    x = tf.constant([[1.0, 2.0]])
    own = layer(x)
    with substituted([layer], {id(layer.kernel): tf.zeros([2, 2], tf.float16)}):
        np.testing.assert_array_equal(layer(x), [[0, 0]])
    np.testing.assert_array_equal(layer(x), own)
    assert isinstance(layer.kernel, tf.Variable)


def test_held_weights_give_gradients_to_inputs_alone():
    model = tf.keras.Sequential([tf.keras.layers.Dense(3), tf.keras.layers.Dense(2)])
    x = tf.Variable([[1.0, 2.0]])
    model(x)
    with tf.GradientTape(persistent=True) as tape:
        free = tf.reduce_sum(model(x))
        with frozen([model]):
            constant = tf.reduce_sum(model(x))
    assert constant == free
    np.testing.assert_array_equal(tape.gradient(constant, x), tape.gradient(free, x))
    assert tape.gradient(constant, model.trainable_variables) == [None] * 4
    assert all(g is not None for g in tape.gradient(free, model.trainable_variables))
