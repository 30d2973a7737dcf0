"""Symbols through binary decisions and the range coder, and back."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfclic.entropy import coders, decisions, mixture
from tfclic.entropy import integer_mixture as im


def distribution(parameters):
    return im.distribution(im.IntegerParameters(*parameters))


@tf.function
def encode(parameters, symbols):
    coder = coders.RangeEncoder(coders.NO_TABLE)
    state, _ = decisions.code(coder, coder.start(), distribution(parameters), symbols)
    return coder.finish(state)


@tf.function
def decode(parameters, string):
    coder = coders.RangeDecoder(coders.NO_TABLE, string)
    blank = tf.zeros(tf.shape(parameters[0])[:1], tf.int32)
    state, symbols = decisions.code(coder, coder.start(), distribution(parameters), blank)
    return symbols, coder.finish(state)


@tf.function
def count(parameters, symbols):
    coder = coders.BitCounter()
    state, _ = decisions.code(coder, coder.start(), distribution(parameters), symbols)
    return coder.finish(state)


def drawn(elements, mixtures, seed):
    """Parameters `[E, K]`, symbols drawn from them, and the symbols' ideal length in bits."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (elements, mixtures)).astype(np.float32)
    means = rng.normal(0, 3, (elements, mixtures)).astype(np.float32)
    scales = rng.uniform(0.11, 5, (elements, mixtures)).astype(np.float32)
    weights = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    which = (weights.cumsum(1) < rng.random((elements, 1))).sum(1).clip(0, mixtures - 1)
    chosen = np.arange(elements), which
    y = np.round(rng.normal(means[chosen], scales[chosen]))
    cdf = [stats.norm.cdf(y[:, None] + half, means, scales) for half in (-0.5, 0.5)]
    ideal = -np.log2((weights * (cdf[1] - cdf[0])).sum(1)).sum()
    parameters = im.to_integers(logits, means, np.log(scales))
    return parameters, tf.constant(y - mixture.LATENT_MIN, tf.int32), ideal


@pytest.mark.parametrize("mixtures", [1, 3, 5])
def test_round_trip(mixtures):
    parameters, symbols, _ = drawn(2000, mixtures, seed=mixtures)
    decoded, sane = decode(parameters, encode(parameters, symbols))
    np.testing.assert_array_equal(decoded, symbols)
    assert sane


def test_every_symbol_of_mismatched_distributions_round_trips():
    rng = np.random.default_rng(3)
    symbols = tf.constant(np.tile(np.arange(im.SYMBOLS), 4), tf.int32)
    shape = (len(symbols), 3)
    parameters = im.clip(
        tf.constant(rng.integers(-100, 100, shape), tf.float32),
        tf.constant(rng.integers(-4800, 4800, shape), tf.float32),
        tf.constant(rng.choice([0, 30, 63], shape), tf.float32),
    )
    decoded, _ = decode(parameters, encode(parameters, symbols))
    np.testing.assert_array_equal(decoded, symbols)


def test_length_is_close_to_ideal():
    parameters, symbols, ideal = drawn(100_000, 3, seed=4)
    length = 8 * len(encode(parameters, symbols).numpy())
    assert length <= 1.005 * ideal + 64
    np.testing.assert_allclose(count(parameters, symbols), length, rtol=1e-3)


def test_the_decoder_knows_when_it_reads_what_is_not_there():
    parameters, symbols, _ = drawn(2000, 3, seed=5)
    string = encode(parameters, symbols)

    @tf.function
    def exhausted(string, times):
        coder = coders.RangeDecoder(coders.NO_TABLE, string)
        state = coder.start()
        for _ in range(times):
            state, _ = decisions.code(coder, state, distribution(parameters), symbols)
        return coder.exhausted(state)

    assert not exhausted(string, 1)
    assert exhausted(string, 2)
    assert exhausted(tf.strings.substr(string, 0, tf.strings.length(string) // 2), 1)


def test_costs_are_a_lower_bound_of_what_the_coder_writes():
    # always the likelier outcome, where the coder's rounding weighs most
    likely = tf.fill([400_000], 4095)
    coder = coders.RangeEncoder(coders.NO_TABLE)
    state, _ = coder.decide(coder.start(), likely, tf.fill([400_000], True))
    string = coder.finish(state)
    least = int(coders.least_cost(4095 << 4)) * 400_000 / 2**coders.COST_BITS
    written = 8 * len(string.numpy())
    assert least - 16 <= written <= 1.1 * least + 16


def test_a_forged_string_gives_no_symbol_that_does_not_exist():
    coder = coders.RangeEncoder(coders.NO_TABLE)
    # not the centre, which is the last symbol, but above it
    state, _ = coder.decide(coder.start(), tf.constant([4095]), tf.constant([False]))
    state, _ = coder.decide(state, tf.constant([1]), tf.constant([True]))
    parameters = im.clip(*(tf.constant([[x]]) for x in (0.0, 4800.0, 0.0)))
    decoded, _ = decode(parameters, coder.finish(state))
    assert decoded == [im.SYMBOLS - 1]
