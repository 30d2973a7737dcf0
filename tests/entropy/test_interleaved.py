"""Decisions and symbols through the interleaved coder, and what it makes of other strings."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic.entropy import coders, interleaved

ROWS, SYMBOLS = 5, 40


@pytest.fixture(scope="module")
def table():
    """Rows of random masses, some of them 1."""
    masses = np.random.default_rng(0).geometric(0.001, [ROWS, SYMBOLS])
    masses[:, ::7] = 1
    ends = np.cumsum(masses * 50_000 // masses.sum(1, keepdims=True) + 1, 1)
    ends[:, -1] = 1 << coders.PRECISION
    return np.pad(ends, [(0, 0), (2, 0)]).astype(np.int32)


def drawn(count, seed):
    """Probabilities and outcomes, and what these take in bits."""
    random = np.random.default_rng(seed)
    probability = np.clip(np.round(4096 * random.beta(0.4, 0.4, count)), 1, 4095).astype(np.int32)
    truth = random.random(count) < probability / 4096
    return probability, truth, -np.log2(np.where(truth, probability, 4096 - probability) / 4096)


@tf.function(autograph=False)
def encode(table, lanes, ends, probability, truth, row, value):
    """Decisions in calls that end at `ends`, with all symbols after the first."""
    coder = interleaved.Encoder(table, lanes)
    state, _ = coder.decide(coder.start(), probability[: ends[0]], truth[: ends[0]])
    state, _ = coder.symbols(state, row, value)
    state, _ = coder.decide(state, probability[ends[0] :], truth[ends[0] :])
    return coder.finish(state)


@tf.function(autograph=False)
def decode(table, string, ends, probability, row):
    coder = interleaved.Decoder(table, string)
    state, first = coder.decide(coder.start(), probability[: ends[0]], probability[: ends[0]] > 0)
    state, value = coder.symbols(state, row, tf.zeros_like(row))
    found = tf.TensorArray(tf.bool, 0, True, infer_shape=False, element_shape=[None])

    def body(i, state, found):
        chosen = probability[ends[i] : ends[i + 1]]
        state, truth = coder.decide(state, chosen, chosen > 0)
        return i + 1, state, found.write(i + 1, truth)

    _, state, found = tf.while_loop(
        lambda i, *_: i < tf.size(ends) - 1, body, [0, state, found.write(0, first)]
    )
    return found.concat(), value, coder.finish(state), coder.exhausted(state)


def calls(count, number, seed):
    """Where calls end, some of which have nothing."""
    ends = np.sort(np.random.default_rng(seed).integers(0, count + 1, number))
    return tf.constant([*ends, ends[-1], count], tf.int32)


@pytest.mark.parametrize("lanes", [1, 2, 7, 64, 256])
def test_round_trip_in_any_number_of_lanes(table, lanes):
    count = 3000 if lanes > 1 else 300
    probability, truth, bits = drawn(count, lanes)
    random = np.random.default_rng(lanes)
    row = random.integers(0, ROWS, 500).astype(np.int32)
    value = random.integers(0, SYMBOLS, 500).astype(np.int32)
    ends = calls(count, 20, lanes)
    string = encode(table, tf.constant(lanes), ends, probability, truth, row, value)
    found, values, sound, exhausted = decode(table, string, ends, probability, row)
    np.testing.assert_array_equal(found, truth)
    np.testing.assert_array_equal(values, value)
    assert sound and not exhausted
    masses = np.diff(table[:, 1:])[row, value]
    ideal = bits.sum() - np.log2(masses / (1 << coders.PRECISION)).sum()
    length = 8 * len(string.numpy())
    # 2 bytes, up to 10 bits to say a length, and the last bit of each lane
    assert ideal <= length <= ideal + 16 + 11 * lanes + 8


def test_nothing_is_two_bytes():
    coder = interleaved.Encoder(coders.NO_TABLE)
    string = coder.finish(coder.start())
    assert len(string.numpy()) == 2
    decoder = interleaved.Decoder(coders.NO_TABLE, string)
    assert decoder.finish(decoder.start())


def test_lanes_follow_from_bits_and_take_little():
    @tf.function
    def write(probability, truth):
        coder = interleaved.Encoder(coders.NO_TABLE)
        return coder.finish(coder.decide(coder.start(), probability, truth)[0])

    for count, most_lanes, overhead in ((5_000, 12, 0.03), (500_000, 100, 0.003)):
        probability, truth, bits = drawn(count, 1)
        string = write(probability, truth).numpy()
        assert most_lanes / 2 < string[0] + 1 < most_lanes
        assert 8 * len(string) < (1 + overhead) * bits.sum()


def test_content_near_one_and_near_zero_comes_back():
    # low is all ones, and words are to be carried into when the size hangs over
    @tf.function
    def there_and_back(probability, outcome):
        coder = interleaved.Encoder(coders.NO_TABLE, 3)
        string = coder.finish(coder.decide(coder.start(), probability, outcome)[0])
        decoder = interleaved.Decoder(coders.NO_TABLE, string)
        state, found = decoder.decide(decoder.start(), probability, outcome)
        return found, decoder.finish(state)

    for likely, truth in ((4095, True), (1, False), (1, True), (3000, True), (2048, True)):
        outcome = np.full(5000, truth)
        outcome[[4000, 4500]] = not truth
        found, sound = there_and_back(tf.fill([5000], likely), outcome)
        np.testing.assert_array_equal(found, outcome)
        assert sound


@pytest.fixture(scope="module")
def written():
    """Probabilities of 2000 decisions, and their string in 5 lanes."""
    probability, truth, _ = drawn(2000, 5)
    coder = interleaved.Encoder(coders.NO_TABLE, 5)
    string = coder.finish(coder.decide(coder.start(), probability, truth)[0])
    return tf.constant(probability), string.numpy()


@tf.function(autograph=False)
def read(string, probability, strict=False):
    """Whether a string is sound, and is exhausted, after decisions."""
    decoder = interleaved.Decoder(coders.NO_TABLE, string, strict)
    state, _ = decoder.decide(decoder.start(), probability, probability > 0)
    return decoder.finish(state), decoder.exhausted(state)


def test_a_string_is_sound_when_all_was_read_and_no_more(written):
    probability, string = written

    def both(probability):
        return tuple(map(bool, read(tf.constant(string), probability)))

    assert both(probability) == (True, False)
    assert not both(probability[:-50])[0]
    assert not both(tf.concat([probability, tf.fill([50], 2048)], 0))[0]
    assert both(tf.tile(probability, [2])) == (False, True)


def test_damage_shows(written):
    probability, string = written
    strings = [string[:-1], string + b"\0", string[:40], string[:2], string[:1], b""]
    for bit in [*range(60), 8 * len(string) // 2, 8 * len(string) - 1]:
        damaged = bytearray(string)
        damaged[bit // 8] ^= 128 >> bit % 8
        strings.append(bytes(damaged))
    for damaged in strings:
        assert not read(tf.constant(damaged), probability)[0], damaged[:8]


def test_whatever_a_string_says_it_can_be_read(table):
    random = np.random.default_rng(9)
    probability = np.array([1, 2048, 4095] * 500, np.int32)
    row = tf.constant(np.arange(600) % ROWS, tf.int32)
    ends = tf.constant([10, 100, 1500])
    starts = [b"\xff\xff", b"\xff\x1f", b"\0\x1f", b"\0\xff", b"\x80\x10", b"\xff\0", b"\0\0"]
    for start in starts:
        for size in (0, 1, 40, 2000):
            for rest in (b"\0" * size, b"\xff" * size, random.bytes(size)):
                string = tf.constant(start + rest)
                found, values, sound, _ = decode(table, string, ends, probability, row)
                assert found.shape == [1500] and not sound
                assert np.all((values >= 0) & (values < SYMBOLS))


def test_only_the_strict_refuse(written):
    probability, string = written
    many = tf.tile(probability, [2])
    for strict in (True, False):
        decoder = interleaved.Decoder(coders.NO_TABLE, string, strict)
        state, _ = decoder.decide(decoder.start(), many, many > 0)
        assert bool(decoder.refuses(state)) == strict
