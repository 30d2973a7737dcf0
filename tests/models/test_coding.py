"""Exact coding: round trips, one pass against step by step, and the cost of rounding."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf

from tfclic.entropy import conditional_streams, exact_runners, lowering, wavefront
from tfclic.models.hyper import HYPER_LIMIT

SIZE = tf.TensorSpec([], tf.int32)


@pytest.fixture(scope="module")
def coding(codec):
    made = codec.entropy_coder()
    latents, hyper = (tf.TensorSpec([None, None, n], tf.float32) for n in (6, 4))
    # for any size, so that each is traced once
    signatures = {
        "compress": [hyper, latents],
        "read": [tf.TensorSpec([], tf.string), SIZE, SIZE],
        "statistics": [hyper, latents],
        "quantize": [{"latents": latents, "hyper_latents": hyper}],
    }
    for name, signature in signatures.items():
        traced = tf.function(getattr(made, name), signature, autograph=False)
        setattr(made, f"{name}_", traced)
    made.decompress_ = lambda *given: made.read_(*given)[1]
    return made


def random_latents(height, width, seed=0, spread=3.0):
    rng = np.random.default_rng(seed)
    latents = np.round(rng.normal(0, spread, (height, width, 6)))
    hyper = np.round(rng.normal(0, 3, (height // 4, width // 4, 4)))
    return tf.constant(latents, tf.float32), tf.constant(hyper, tf.float32)


def quantized(coding, latents, hyper):
    return coding.quantize_({"latents": latents, **coding.layout.split(hyper)})


def estimate(coding, hyper, latents):
    return float(coding.total_bits(coding.statistics_(hyper, latents)))


class Noting(exact_runners.Statistics):
    """Keeps the stream of the latents."""

    def _conditional(self, stream, name):
        self.stream = stream
        return super()._conditional(stream, name)


def stream_of(codec, coding, latents, hyper):
    """The latents' `Conditional` under these hyper latents."""
    runner = Noting(coding, latents.shape[:2], {"latents": latents, **coding.layout.split(hyper)})
    codec.entropy(runner)
    return runner.stream


@pytest.mark.parametrize("size", [(4, 4), (4, 28), (20, 4), (32, 48)])
def test_round_trip(coding, size):
    latents, hyper = random_latents(*size)
    string = coding.compress_(hyper, latents)
    np.testing.assert_array_equal(coding.decompress_(string, *size), latents)


@pytest.mark.parametrize("spread", [0, 100, 1000])
def test_round_trip_of_silent_and_of_clipped_latents(coding, spread):
    latents, hyper = quantized(coding, *random_latents(8, 8, spread=spread))
    assert np.abs(latents).max() <= 256 and latents.numpy().min() >= -255
    string = coding.compress_(hyper, latents)
    np.testing.assert_array_equal(coding.decompress_(string, 8, 8), latents)


def test_reading_gives_back_both_parts(coding):
    latents, hyper = random_latents(8, 12)
    found = coding.read_(coding.compress_(hyper, latents), 8, 12)
    for array, expected in zip(found, (hyper, latents)):
        np.testing.assert_array_equal(array, expected)


def test_explanation_is_of_each_element_in_its_place(coding):
    latents, hyper = random_latents(8, 12)
    explained = coding.statistics_
    found = explained(hyper, latents)
    np.testing.assert_allclose(tf.reduce_sum(found["weights"], -1), 1, rtol=1e-6)
    steps = 16 * found["means"]
    np.testing.assert_array_equal(steps, np.round(steps))
    # what is in the last row is in no context above it
    changed = explained(hyper, tf.tensor_scatter_nd_update(latents, [[7, 4, 2]], [60.0]))
    differs = found["latents_bits"] != changed["latents_bits"]
    assert differs[7, 4, 2] and not np.any(differs[:7]) and not np.any(differs[7, :4])
    np.testing.assert_array_equal(found["hyper_latents_bits"], changed["hyper_latents_bits"])


def test_hyper_latents_beyond_the_table_are_clipped_and_coded(coding):
    latents, hyper = quantized(coding, tf.zeros([8, 8, 6]), tf.fill([2, 2, 4], 1e6))
    assert np.all(hyper == HYPER_LIMIT)
    string = coding.compress_(hyper, latents)
    np.testing.assert_array_equal(coding.decompress_(string, 8, 8), latents)


def test_one_pass_and_single_positions_agree_in_every_bit(codec, coding):
    latents, hyper = random_latents(8, 12)
    stream = stream_of(codec, coding, latents, hyper)
    rows, known = stream.rows(None), wavefront.arrange(latents, stream.order)
    together = rows(known, tf.range(96))
    for i in range(96):
        np.testing.assert_array_equal(together[i : i + 1], rows(known, tf.constant([i])))


def test_parameters_do_not_depend_on_what_is_not_decoded_yet(codec, coding):
    latents, hyper = random_latents(8, 12)
    stream = stream_of(codec, coding, latents, hyper)
    rows, known = stream.rows(None), wavefront.arrange(latents, stream.order)
    rank = stream.order.rank[3 * 12 + 5].numpy()
    garbled = tf.where(tf.range(97)[:, None] < rank, known, 7.0)
    garbled = tf.concat([garbled[:-1], known[-1:]], 0)
    a, b = (rows(x, tf.constant([rank])) for x in (known, garbled))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("together", [1, 3])
def test_wavefronts_taken_together_give_the_same_string(coding, monkeypatch, together):
    latents, hyper = random_latents(8, 12)
    monkeypatch.setattr(conditional_streams, "WAVEFRONTS_TOGETHER", together)
    string = tf.function(coding.compress)(hyper, latents)
    assert string == coding.compress_(hyper, latents)


def test_size_is_close_to_the_estimate_and_to_the_float_model(codec, coding):
    image = 0.3 + 0.4 * np.random.default_rng(3).random((1, 16, 24, 3))
    image = tf.image.resize(tf.constant(image, tf.float32), [128, 192], "bicubic")
    quality = tf.constant([100.0])
    latents = codec.analyse(image, quality)
    latents, hyper = coding.quantize_({k: x[0] for k, x in codec.sources(latents).items()})
    bits = 8 * len(coding.compress_(hyper, latents).numpy())
    assert bits == pytest.approx(estimate(coding, hyper, latents), rel=0.01, abs=64)
    assert bits == pytest.approx(float(codec(image, quality).bits[0]), rel=0.01, abs=64)


def test_no_forged_string_makes_the_reader_go_on_for_ever(coding):
    # a row of negative precision has an escape code, which zeros at the end never finish
    table = coding.streams["hyper_latents"].table.numpy()
    assert np.all(table[:, 0] == 16)
    assert np.all(table[:, 1] == 0) and np.all(table[:, -1] == 1 << 16)
    assert np.all(np.diff(table[:, 1:]) > 0)
    assert table.shape[1] == 2 + 2 * HYPER_LIMIT + 1
    last = int(table[0, -2]) << 16  # the last symbol, then zeros without end
    for rest in (b"", bytes(60), b"\x01" * 60):
        with contextlib.suppress(tf.errors.InvalidArgumentError):
            latents = coding.decompress_(last.to_bytes(4, "big") + rest, 4, 4)
            assert latents.shape == [4, 4, 6]


def test_a_string_of_a_smaller_image_is_refused(coding):
    latents, hyper = random_latents(8, 12)
    string = coding.compress_(hyper, latents)
    np.testing.assert_array_equal(coding.decompress_(string, 8, 12), latents)
    for size in [(4, 12), (8, 8), (12, 12), (40, 40)]:
        with pytest.raises(tf.errors.InvalidArgumentError, match="not an image of this size"):
            coding.decompress_(string, *size)


def test_the_least_bits_are_fewer_than_any_string_takes(coding):
    # the likeliest value in every channel, and latents whose distributions make them certain
    table = coding.streams["hyper_latents"].table.numpy()
    likeliest = np.diff(table[:, 1:]).argmax(1) - HYPER_LIMIT
    hyper = tf.constant(np.broadcast_to(likeliest, [8, 8, 4]), tf.float32)
    string = coding.compress_(hyper, tf.zeros([32, 32, 6])).numpy()
    assert 0 < 64 * coding.least_bits <= 8 * (len(string) + 16)


def test_latents_are_rounded_to_what_is_best_by_rate_and_distortion(codec, coding):
    rng = np.random.default_rng(3)
    exact_latents = tf.constant(rng.normal(0, 3, (8, 12, 6)), tf.float32)
    hyper = random_latents(8, 12)[1]
    chosen, _ = quantized(coding, exact_latents, hyper)
    nearest, error = tf.round(exact_latents), np.abs(chosen - exact_latents)
    assert np.all(error < 1) and np.any(chosen != nearest)
    second = nearest + tf.where(exact_latents >= nearest, 1.0, -1.0)
    stream, candidates = stream_of(codec, coding, nearest, hyper), (nearest, second)
    both = stream.bits(stream.all_rows(nearest), candidates)
    costs = [bits + 16 * tf.square(exact_latents - each) for bits, each in zip(both, candidates)]
    np.testing.assert_array_equal(chosen, tf.where(costs[1] < costs[0], second, nearest))
    # fewer bits, although what is around each latent is no longer the nearest
    assert estimate(coding, hyper, chosen) < estimate(coding, hyper, nearest)


def test_bits_of_known_latents_are_those_explained(codec, coding):
    latents, hyper = random_latents(8, 12)
    stream = stream_of(codec, coding, latents, hyper)
    (found,) = stream.bits(stream.all_rows(latents), [latents])
    explained = coding.statistics(hyper, latents)["latents_bits"]
    np.testing.assert_array_equal(found, explained)


@pytest.mark.parametrize("used", [[1, 4], [0, 1, 2, 3, 4, 5]])
def test_what_silent_channels_leave_is_coded_alike(codec, coding, used):
    latents, hyper = random_latents(8, 12)
    latents *= np.isin(np.arange(6), used).astype(np.float32)
    stream = stream_of(codec, coding, latents, hyper)
    known = tf.gather(latents, used, axis=-1)
    every = stream.bits(stream.all_rows(latents), [latents])[0]
    rows = stream.all_rows(known, lowering.Used(tf.constant(used), 6))
    (found,) = stream.bits(rows, [known])
    np.testing.assert_array_equal(found, tf.gather(every, used, axis=-1))


def test_silent_channels_are_not_in_the_string(coding):
    latents, hyper = random_latents(32, 32)
    latents *= tf.constant([0.0, 1, 0, 1, 1, 0])
    string = coding.compress_(hyper, latents)
    np.testing.assert_array_equal(coding.decompress_(string, 32, 32), latents)
    explained = coding.statistics_(hyper, latents)
    np.testing.assert_array_equal(explained["latents_bits"].numpy()[..., [0, 2, 5]], 0)
    bits = coding.names["latents"].bits(tf.constant([1, 3, 4]))
    assert tf.reduce_sum(explained["channels_bits"]).numpy() == pytest.approx(float(bits))
    assert 8 * len(string.numpy()) == pytest.approx(
        estimate(coding, hyper, latents), rel=0.01, abs=64
    )


def test_channels_that_can_be_foretold_are_named_in_few_bits(make_codec):
    latents, hyper = random_latents(32, 32)
    latents *= tf.constant([0.0, 1, 0, 1, 1, 0])
    codec, lengths, bits = make_codec(), [], []
    foretold = np.array([[0, 1, 0, 1, 1, 0]], np.float32)
    for activity in (codec.activity, 1 - foretold, foretold):
        codec.activity.assign(tf.broadcast_to(activity, codec.activity.shape))
        made = codec.entropy_coder()
        string = tf.function(made.compress)(hyper, latents)
        np.testing.assert_array_equal(made.decompress(string, 32, 32), latents)
        bits.append(float(tf.reduce_sum(made.statistics(hyper, latents)["channels_bits"])))
        lengths.append(len(string.numpy()))
    digits = made.names["latents"].rows.bit_length()
    assert bits[2] == pytest.approx(digits, abs=0.01)
    assert digits + 2 < bits[0] < bits[1]
    # three channels against a share of 1 in 4096, three against a sparser row's of 4092
    assert bits[1] == pytest.approx(digits + 3 * 12 + 3 * 10)
    assert 8 * (lengths[1] - lengths[2]) == pytest.approx(3 * 12 + 3 * 10, abs=8)


def test_without_a_weight_rounding_is_plain(coding, monkeypatch):
    monkeypatch.setattr(coding, "distortion_weight", None)
    exact = tf.random.stateless_normal([8, 8, 6], [1, 2], stddev=200.0)
    found, _ = coding.quantize({"latents": exact, **coding.layout.split(tf.zeros([2, 2, 4]))})
    np.testing.assert_array_equal(found, tf.clip_by_value(tf.round(exact), -255.0, 256.0))


def test_a_single_gaussian_codes_too(make_codec):
    coding = make_codec(mixtures=1).entropy_coder()
    latents, hyper = random_latents(4, 8)
    string = tf.function(coding.compress)(hyper, latents)
    np.testing.assert_array_equal(tf.function(coding.decompress)(string, 4, 8), latents)


def test_silent_latents_take_few_bytes_but_not_too_few(make_codec):
    codec = make_codec()
    bias = codec.parameter_network.layers[-1].bias
    bias.assign(np.repeat([0, 0, np.log(0.11)], bias.shape[0] // 3))  # all certain to be zero
    coding = codec.entropy_coder()
    string = tf.function(coding.compress)(tf.zeros([16, 16, 4]), tf.zeros([64, 64, 6]))
    decompress = tf.function(coding.decompress, [tf.TensorSpec([], tf.string), SIZE, SIZE])
    assert np.all(decompress(string, 64, 64) == 0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="too large for so few bytes"):
        decompress(tf.strings.substr(string, 0, 20), 40_000, 40_000)
