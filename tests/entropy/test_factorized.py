"""A distribution for each channel: floats, integers and coded symbols mean the same."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_compression as tfc

from tfclic.entropy import coders, decisions, factorized, mixture
from tfclic.entropy import integer_mixture as im

GAINS = tf.constant([[1.0, 1.0], [0.25, 2.0]])


@pytest.fixture(scope="module")
def prior():
    tf.keras.utils.set_random_seed(0)
    return factorized.FactorizedPrior(2)


@pytest.fixture(scope="module")
def tables(prior):
    return prior.tables(GAINS)


def test_without_a_gain_it_is_the_noisy_density(prior):
    latents = tf.random.stateless_normal([50, 2], [1, 2], 0, 3)
    noisy = tfc.UniformNoiseAdapter(prior.density)
    np.testing.assert_allclose(prior.likelihood(latents, 1.0), noisy.prob(latents), rtol=1e-4)


def test_a_gain_widens_the_distribution(prior):
    y = tf.constant([[3.0, 3.0]])
    parts = prior.likelihood(2 * y + [[-0.5], [0.5]], 2.0)
    np.testing.assert_allclose(
        tf.reduce_sum(parts, 0), prior.density.cdf(y + 0.5)[0] - prior.density.cdf(y - 0.5)[0], 1e-4
    )


def test_integers_are_the_likelihoods(prior, tables):
    masses, centres, spreads = tables
    assert masses.shape == (4, im.SYMBOLS + 1)
    assert np.all(masses[:, 0] == 0) and np.all(np.diff(masses) >= im.FLOOR)
    y = np.arange(mixture.LATENT_MIN, mixture.LATENT_MAX + 1, dtype=np.float32)
    for row, (gain, channel) in enumerate([(1, 0), (1, 1), (0.25, 0), (2, 1)]):
        want = prior.likelihood(np.repeat(y[:, None], 2, 1), float(gain))[:, channel].numpy()
        got = np.diff(masses[row]) / masses[row, -1]
        np.testing.assert_allclose(got[1:-1], want[1:-1], atol=1e-6, rtol=1e-3)
        assert got[centres[row]] == got.max()
    assert spreads[2] < spreads[0] < spreads[3]


def test_symbols_come_back_at_their_cost(tables):
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(4, dtype=np.int32), 1000)
    shares = np.diff(tables[0]) / tables[0][:, -1:]
    symbols = np.concatenate([rng.choice(im.SYMBOLS, 1000, p=share) for share in shares])
    symbols[::100] = rng.integers(0, im.SYMBOLS, 40)

    @tf.function
    def there_and_back(symbols):
        dist = factorized.distribution(rows, *(tf.constant(table) for table in tables))
        encoder = coders.RangeEncoder(coders.NO_TABLE)
        state, _ = decisions.code(encoder, encoder.start(), dist, symbols)
        string = encoder.finish(state)
        decoder = coders.RangeDecoder(coders.NO_TABLE, string)
        state, found = decisions.code(decoder, decoder.start(), dist, tf.zeros_like(symbols))
        return string, found, decoder.finish(state)

    string, found, sound = there_and_back(tf.constant(symbols, tf.int32))
    np.testing.assert_array_equal(found, symbols)
    assert sound
    bits = -np.log2(shares[rows, symbols]).sum()
    assert 8 * len(string.numpy()) == pytest.approx(bits, rel=0.005, abs=64)
