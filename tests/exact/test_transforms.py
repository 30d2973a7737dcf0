"""Layers of a synthesis in integers: as in floats, as far as grids go, and exact in any order."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic import layers
from tfclic.exact import gains, kernels, naming, ranges, transforms, values
from tfclic.exact.constants import Constants
from tfclic.layers import nafblock

SIZE, CHANNELS = (6, 8), 4
MADE = {
    "3x3": lambda: tf.keras.layers.Conv2D(5, 3, padding="same", activation="relu"),
    "5x5": lambda: tf.keras.layers.Conv2D(5, 5, padding="same", activation=tf.nn.leaky_relu),
    "1x1": lambda: layers.PointwiseConv2D(5),
    "many": lambda: tf.keras.layers.Conv2D(40, 3, padding="same"),
    "sub-pixel": lambda: layers.SubpixelConv2D(3, 3, activation="relu"),
    "blocks": lambda: layers.BlockSynthesis(CHANNELS, 1.0),
    "inverse GDN": lambda: layers.GDN(inverse=True),
    "in turn": lambda: layers.Sequential(
        [layers.SubpixelConv2D(CHANNELS, 3), layers.GDN(inverse=True), layers.SubpixelConv2D(3, 3)]
    ),
    "unit": lambda: layers.ResidualUnit(CHANNELS),
    "block": lambda: layers.ResidualBlock(CHANNELS),
    "block with a skip": lambda: layers.ResidualBlock(6),
    "up": lambda: layers.ResidualUp(CHANNELS),
    "attention": lambda: layers.Attention(CHANNELS),
    "attention to a convolution": lambda: layers.Sequential(
        [tf.keras.layers.Conv2D(8, 3, padding="same"), layers.Attention(8)]
    ),
    "depthwise": lambda: tf.keras.layers.DepthwiseConv2D(3, padding="same"),
    "norm": lambda: layers.ChannelNorm(),
    "NAF": lambda: started(layers.NAFBlock(CHANNELS)),
}


def started(block):
    """A NAF block that is not the identity, as which it begins."""
    block.build(tf.TensorShape([None, *SIZE, CHANNELS]))
    block.beta.assign([0.5, -0.3, 0.0, 1.0])
    block.gamma.assign([0.4, 0.3, -0.2, 0.0])
    return block


WITHOUT = {
    "strided": lambda: tf.keras.layers.Conv2D(5, 3, 2, padding="same"),
    "swish": lambda: tf.keras.layers.Conv2D(5, 3, padding="same", activation="swish"),
    "GDN": lambda: layers.GDN(),
    "non-local": lambda: layers.NonLocal(CHANNELS),
}


class Codec(tf.Module):
    """What gives a network its name."""

    def __init__(self, network):
        super().__init__()
        self.network = network


def integers(limit, seed=0):
    return np.random.default_rng(seed).integers(-limit, limit + 1, [1, *SIZE, CHANNELS])


def observed(network, given, unit):
    """A network's values in floats, and what makes the same in integers of 8 bits or more."""
    network(tf.constant(given, tf.float32))
    names = naming.names(Codec(network))
    looking = ranges.Observed(names)
    want = looking.run(network, tf.constant(given * unit, tf.float32))
    constants = Constants()

    def run(eight_bits, stride, given=given):
        ops = transforms.Integers(constants, looking.ranges(), names, eight_bits)
        limit = int(np.abs(given).max())
        steps = np.full(given.shape[-1], unit)
        tensor = tf.constant(given, tf.float32)
        return ops.run(network, values.Known(constants, "x", tensor, steps, limit, stride))

    return want, run, constants


def in_integers(network, given, unit):
    """A network's values in floats, and in integers with their steps."""
    want, run, _ = observed(network, given, unit)
    return want, run(False, 16)


@pytest.mark.parametrize("limit", [200, 30000])
@pytest.mark.parametrize("name", MADE)
def test_integers_are_close_to_floats(name, limit):
    network = MADE[name]()
    want, value = in_integers(network, integers(limit), 3.0 / limit)
    found = value.fine()
    assert found.tensor.shape == want.shape
    tensor = found.tensor.numpy()
    np.testing.assert_array_equal(tensor, np.round(tensor))
    assert np.abs(tensor).max() <= found.limit < 2**24
    peak = np.abs(want).max()
    assert peak > 0.1
    np.testing.assert_allclose(tensor * found.steps, want, atol=0.02 * peak)


def test_what_could_be_far_larger_than_it_is_stays_exact():
    network = layers.PointwiseConv2D(1)
    # neighbours in channels that cancel, nearly; all together they could be a million times as much
    rng = np.random.default_rng(0)
    given = 30_000 - rng.integers(0, 3, [1, *SIZE, 512])
    network.build(tf.TensorShape(given.shape))
    network.kernel.assign(np.tile([[1.0], [-1.0]], [256, 1]).reshape(network.kernel.shape))
    want, value = in_integers(network, given, 1.0)
    assert 0 < np.abs(want).max() < 100
    np.testing.assert_allclose(value.fine().tensor * value.fine().steps, want, atol=0.05)


class GatedAttention(layers.Composite):
    """Channel attention after a gate, as NAF blocks have it."""

    def build(self, _):
        self.attention = nafblock.ChannelAttention()

    def compose(self, ops, x):
        return ops.run(self.attention, ops.gated(x))


def test_averages_may_be_much_larger_than_those_that_were_seen():
    network, given, unit = GatedAttention(), integers(200, seed=3), 0.01
    _, run, _ = observed(network, given, unit)
    # products of halves that have nothing in common cancel; squares do not
    alike = np.tile(given[..., :2], 2)
    seen, asked = (np.abs(np.mean(x[..., :2] * x[..., 2:], (1, 2))) for x in (given, alike))
    assert (asked > 9 * seen).all() and (asked < 16 * seen).all()
    found = run(False, 16, alike).fine()
    want = network(tf.constant(alike * unit, tf.float32))
    np.testing.assert_allclose(found.tensor * found.steps, want, atol=0.01 * np.abs(want).max())


@pytest.mark.parametrize("name", [name for name in MADE if name != "NAF"])
def test_integers_of_bytes_are_close_to_floats_and_come_by_bytes_too(name, has_bytes):
    # what comes of another layer; latents have more bits
    first = layers.ResidualBlock(CHANNELS)
    network = layers.Sequential([first, MADE[name]()])
    want, run, constants = observed(network, integers(200), 0.02)
    value = run(True, 8)
    found = value.fine()
    # few are clipped
    error = np.sqrt(np.mean(np.square(found.tensor * found.steps - want)))
    assert error < 0.03 * np.abs(want).max()
    if not has_bytes:
        return

    def by_bytes():
        with constants.computing_in_bytes():
            return run(True, 8).fine().tensor

    made = tf.function(by_bytes, autograph=False)
    products = [each.type for each in made.get_concrete_function().graph.get_operations()]
    assert "QuantizedConv2DWithBias" in products
    np.testing.assert_array_equal(made(), found.tensor)


@pytest.mark.parametrize("name", WITHOUT)
def test_layers_without_an_exact_form_are_named(name):
    network = WITHOUT[name]()
    with pytest.raises(ValueError, match="layer network"):
        in_integers(network, integers(200), 0.01)


def test_every_layer_with_an_exact_form_is_here():
    made = {type(make()) for make in MADE.values()}
    known = {kind for kind in kernels.linear.registry if kind is not object}
    assert known <= made


@pytest.mark.parametrize("in_halves", [False, True])
@pytest.mark.parametrize("rows", [40, 4000])
def test_kernels_leave_no_sum_room_to_be_inexact(rows, in_halves):
    rng = np.random.default_rng(0)
    weights, bias = rng.normal(1, 0.3, (1, 1, rows, 3)), rng.normal(0, 1, 3)
    kernel = kernels.rounded(weights, bias, 256, in_halves)
    assert len(kernel.parts) == (2 if in_halves and rows == 40 else 1)
    for part, limit in zip(kernel.parts, kernel.limits):
        assert np.abs(part).max() <= 128
        assert 256 * np.abs(part).sum((0, 1, 2)).max() <= limit < 2**24
    total = sum(part * unit for part, unit in zip(kernel.parts, kernel.units))
    # sums of so many rows leave shorter integers for each
    np.testing.assert_allclose(total, weights, atol=1e-3 if len(kernel.parts) == 2 else 0.1)


def test_sums_are_those_of_integers():
    given = integers(256)
    layer = tf.keras.layers.Conv2D(40, 3, padding="same")
    layer.build([None, *SIZE, CHANNELS])
    described = kernels.linear(layer)
    kernel = kernels.rounded(described.kernel, described.bias, 256, False)
    padded = np.pad(given, [(0, 0), (1, 1), (1, 1), (0, 0)])
    (part,) = kernel.parts
    taps = [(i, j) for i in range(3) for j in range(3)]
    want = sum(
        padded[:, i : i + SIZE[0], j : j + SIZE[1]] @ part[i, j].astype(np.int64) for i, j in taps
    )
    for x in (tf.constant(given, tf.float32), tf.constant(given, tf.bfloat16)):
        # what hardware may shorten operands to
        shortened = tf.cast(x, tf.float32), tf.cast(tf.cast(part, tf.bfloat16), tf.float32)
        np.testing.assert_array_equal(kernels.convolved(*shortened), want)


def test_reach_is_where_changes_end():
    network = MADE["in turn"]()
    given = np.zeros([1, 12, 12, CHANNELS])
    given[0, 0, 0] = 200
    _, value = in_integers(network, given, 0.01)
    # 3x3 at the stride of 16 and at 8
    assert value.reach == 16 + 8
    assert value.stride == 4
    changed = np.any(value.fine().tensor.numpy()[0], -1)
    bias = np.any(value.fine().tensor.numpy()[0, -1, -1])
    assert not bias
    last = np.flatnonzero(changed.any(1)).max()
    assert last == (16 - 1 + value.reach) // 4


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_gains_are_those_of_the_layer(levels):
    lmbdas = np.geomspace(0.0016, 0.4, levels)
    layer = layers.QualityGain(3, lmbdas, 45.0)
    layer.build([])
    layer.correction.assign(tf.random.stateless_normal([levels, 3], [1, 2]))
    inverse = np.asarray(layer.correction - layer.log_gains(), np.float64) / np.log(2)
    logarithms = tf.constant(gains.fractions(inverse), tf.float32)
    for code in (0, 1, 9999, 32768, 65534, 65535):
        want = layer.inverse(tf.ones([1, 1, 1, 3]), tf.constant([100 * code / 65535]))[0, 0, 0]
        found = gains.interpolated(logarithms, code, 65535, lambda name, make: tf.constant(make()))
        np.testing.assert_allclose(found, want, rtol=1e-4)


def test_gains_of_several_codes_are_those_of_each():
    logarithms = tf.constant(np.arange(12.0).reshape(4, 3) * 50000 - 90000)
    codes = tf.constant([[0, 1, 30000], [43690, 65534, 65535]])

    def gains_of(code):
        return gains.interpolated(logarithms, code, 65535, lambda name, make: tf.constant(make()))

    found = gains_of(codes)
    assert found.shape == (2, 3, 3)
    for place in np.ndindex(2, 3):
        np.testing.assert_array_equal(found[place], gains_of(codes[place]))


def test_block_transforms_have_kernels_in_halves():
    want, value = in_integers(layers.BlockSynthesis(CHANNELS, 1.0), integers(30000), 1e-4)
    found = value.fine()
    error = np.abs(found.tensor.numpy() * found.steps - want).max()
    # bytes would leave some hundredths
    assert error < 1e-3 * np.abs(want).max()
