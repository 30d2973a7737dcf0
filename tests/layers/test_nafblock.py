"""The NAF block: where it starts, what it sees, and that it is the paper's."""

import numpy as np
import tensorflow as tf

from tfclic.layers import NAFBlock
from tfclic.layers.nafblock import ChannelAttention, ChannelNorm, simple_gate


def normal(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(0, 1, shape), tf.float32)


def test_starts_as_the_identity_that_learns_at_once():
    block, x = NAFBlock(4), normal(2, 6, 8, 4)
    with tf.GradientTape() as tape:
        y = block(x)
        loss = tf.reduce_sum(y * normal(2, 6, 8, 4, seed=1))
    np.testing.assert_array_equal(y, x)
    gradients = tape.gradient(loss, [block.beta, block.gamma])
    assert all(np.all(np.abs(g) > 0) for g in gradients)


def test_norm_is_over_the_channels_of_each_position():
    y = ChannelNorm()(3 + 5 * normal(2, 3, 4, 8)).numpy()
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(-1), 1, atol=1e-3)


def test_gate_and_attention():
    x = normal(2, 3, 4, 6)
    np.testing.assert_array_equal(simple_gate(x), x[..., :3] * x[..., 3:])
    attention = ChannelAttention()
    y = attention(x)
    averages = tf.reduce_mean(x, [1, 2]) @ attention.project.kernel[0, 0]
    np.testing.assert_allclose(y, x * averages[:, None, None], rtol=1e-4, atol=1e-5)


def moved_by_one_pixel(block):
    """What the pixel at (3, 4) changes: for each position of 7x9, by how much at most."""
    x = normal(1, 7, 9, 4)
    changed = block(tf.tensor_scatter_nd_add(x, [[0, 3, 4, 0]], [3.0])) - block(x)
    return np.abs(changed[0]).max(-1)


def test_sees_its_neighbours_and_through_the_attention_the_whole_image():
    block = NAFBlock(4)
    block(normal(1, 7, 9, 4))
    block.beta.assign(tf.ones(4))
    block.gamma.assign(tf.ones(4))
    assert moved_by_one_pixel(block).min() > 0, "by the average"
    attention = next(layer for layer in block.mixing if isinstance(layer, ChannelAttention))
    attention.project.kernel.assign(tf.zeros_like(attention.project.kernel))
    attention.project.bias.assign(tf.ones_like(attention.project.bias))
    neighbours = np.zeros([7, 9], bool)
    neighbours[2:5, 3:6] = True
    np.testing.assert_array_equal(moved_by_one_pixel(block) > 0, neighbours, "by the convolution")


def test_every_weight_learns_once_the_factors_have_left_zero():
    block, x = NAFBlock(4), normal(2, 6, 8, 4)
    block(x)
    block.beta.assign(tf.ones(4))
    block.gamma.assign(tf.ones(4))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(block(x) * normal(2, 6, 8, 4, seed=1))
    gradients = tape.gradient(loss, block.trainable_variables)
    assert len(gradients) == 18
    assert all(np.abs(g).max() > 0 for g in gradients)
