"""Every layer that has an exact form computes there what it does in floats, as far as grids go."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic import layers
from tfclic.entropy import lazy, lowering, wavefront
from tfclic.entropy.networks import Exact, Networks, Traced
from tfclic.models import slices
from tfclic.models.hyper import leaky_relu

SIZE, CHANNELS = (5, 6), 4
MADE = {
    "dense": lambda: tf.keras.layers.Dense(3),
    "dense with leaky ReLU": lambda: tf.keras.layers.Dense(3, leaky_relu),
    "1x1": lambda: layers.SubpixelConv2D(3, 1, 1),
    "3x3": lambda: layers.SubpixelConv2D(3, 3, 1, activation="relu"),
    "5x5": lambda: layers.SubpixelConv2D(3, 5, 1, activation=leaky_relu),
    "sub-pixel": lambda: layers.SubpixelConv2D(3, 3, 2),
    "causal": lambda: layers.MaskedConv2D(3),
    "window": lambda: layers.MaskedConv2D(3, 7, mask="window"),
    "checkerboard": lambda: layers.MaskedConv2D(3, mask="checkerboard"),
    "volume": lambda: layers.MaskedConv3D(3, activation=leaky_relu),
    "neighbourhood": lambda: layers.NeighbourhoodNetwork((4, 4, 4), 3, leaky_relu),
    "in turn": lambda: layers.Sequential([layers.SubpixelConv2D(4, 3), tf.keras.layers.Dense(3)]),
    "block": lambda: slices.EntropyBottleneck(CHANNELS),
    "support": lambda: slices.Support(3, 4, 1, "bottleneck"),
}


class Codec(tf.Module):
    """What gives a network its name."""

    def __init__(self, network):
        super().__init__()
        self.network = network


@pytest.mark.parametrize("name", MADE)
def test_exact_is_close_to_float(name):
    network = MADE[name]()
    integers = np.random.default_rng(0).integers(-9, 10, [*SIZE, CHANNELS]).astype(np.float32)
    want = network(tf.constant(integers[None]))[0]
    networks = Networks(Codec(network))
    grid = lazy.Grid(*SIZE)
    known = lazy.Known(tf.constant(64 * integers), lowering.ACTIVATIONS, grid)
    found = Exact(networks).run(network, known).on()
    unit = 2.0**found.form.bits
    if getattr(network, "is_volume", False):
        order = wavefront.volume_order(*SIZE, tf.range(CHANNELS), CHANNELS, network.mask)
        rows = found.at(order)(wavefront.arrange(wavefront.as_volume(known.whole()), order), None)
        got = wavefront.from_volume(tf.gather(rows, order.rank), want) / unit
    elif not isinstance(found, Traced):
        mask = getattr(network, "mask", None)
        order = wavefront.raster_order(*SIZE) if mask is None else wavefront.order(*SIZE, mask)
        rows = found.at(order)(wavefront.arrange(known.whole(), order), None)
        got = tf.reshape(tf.gather(rows, order.rank), want.shape) / unit
    else:
        got = found.whole() / unit
    assert got.shape == want.shape
    assert np.abs(want).max() > 1
    np.testing.assert_allclose(got, want, atol=0.25)
    np.testing.assert_array_equal(got * unit, np.round(got * unit))


def test_windows_of_anything_but_activations_are_refused():
    network = MADE["neighbourhood"]()
    network(tf.zeros([1, *SIZE, CHANNELS]))
    with pytest.raises(ValueError, match="layer windows"):
        lowering.lower(network, lowering.integers(127), lowering.ACTIVATIONS, "windows")


def test_every_layer_with_an_exact_form_is_here():
    made = {type(make()) for make in MADE.values()}
    known = {kind for kind in lowering.lower.registry if kind is not object}
    assert known <= made
