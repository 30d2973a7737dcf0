"""Exact coding of slices: round trips, real files, and the cost of rounding."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfclic import errors, runtime
from tfclic.cli import common, decompress
from tfclic.entropy import coders, exact_runners, lazy, lowering, mixture, walking
from tfclic.entropy import integer_mixture as im
from tfclic.entropy.conditional_streams import VALUE_STEP as STEP
from tfclic.entropy.networks import Exact
from tfclic.evaluation import inspection
from tfclic.exact import fixed_point
from tfclic.format import header, interface
from tfclic.layers import FLOATS
from tfclic.models.hyper import HYPER_LIMIT
from tfclic.models.slices import TANH_RANGE, bounded_residual
from tfclic.runtime import tiles


def prepared(codec):
    """Makes the slices of a codec that is not trained depend on each other; returns it."""
    for part in codec.slices:
        # latents of the block transform are larger than what is not trained expects
        last = part.scale.layers[-1].conv
        last.kernel.assign(0.1 * last.kernel)
        last.bias.assign(np.full(last.bias.shape, np.log(8), np.float32))
        part.mean.layers[-1].conv.kernel.assign(0.3 * part.mean.layers[-1].conv.kernel)
    for module in codec.transforms():
        for i, weight in enumerate(module.trainable_variables):
            # what begins without effect, such as NAF blocks, is to have one
            if not np.any(weight) and "bias" not in weight.name:
                weight.assign(tf.random.stateless_normal(weight.shape, [i, 0], stddev=0.3))
    return codec


@pytest.fixture(scope="module")
def codec(make_cca):
    return prepared(make_cca())


@pytest.fixture(scope="module")
def coding(codec):
    made = codec.entropy_coder()
    latents, hyper = (tf.TensorSpec([None, None, n], tf.float32) for n in (12, 4))
    size = tf.TensorSpec([], tf.int32)
    # for any size, so that each is traced once
    signatures = {
        "compress": [hyper, latents],
        "read": [tf.TensorSpec([], tf.string), size, size],
        "statistics": [hyper, latents],
    }
    for name, signature in signatures.items():
        traced = tf.function(getattr(made, name), signature, autograph=False)
        setattr(made, f"{name}_", traced)
    sources = {"latents": latents, "hyper_latents": hyper}
    made.quantize_ = tf.function(made.quantize, [sources], autograph=False)
    return made


def coded(coding, height, width, spread=8.0, seed=0):
    """Latents and hyper latents as coded, of random ones."""
    rng = np.random.default_rng(seed)
    latents = tf.constant(rng.normal(0, spread, (height, width, 12)), tf.float32)
    hyper = tf.constant(rng.normal(0, 3, (height // 4, width // 4, 4)), tf.float32)
    return coding.quantize_({"latents": latents, "hyper_latents": hyper})


@pytest.mark.parametrize("size", [(4, 4), (4, 28), (32, 48)])
def test_reading_gives_back_both_parts(coding, size):
    latents, hyper = coded(coding, *size)
    found = coding.read_(coding.compress_(hyper, latents), *size)
    for array, expected in zip(found, (hyper, latents)):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("spread", [0.0, 100.0, 10_000.0])
def test_latents_of_any_size_fit_and_come_back(coding, spread):
    latents, hyper = coded(coding, 8, 8, spread)
    assert np.abs(latents).max() <= fixed_point.ACTIVATION_LIMIT
    _, found = coding.read_(coding.compress_(hyper, latents), 8, 8)
    np.testing.assert_array_equal(found, latents)


def test_means_that_no_symbol_is_near_are_forgone(make_cca):
    codec = prepared(make_cca())
    last = codec.slices[0].mean.layers[-1].conv
    last.kernel.assign(30 * last.kernel)
    coding = codec.entropy_coder()
    hyper = np.zeros((8, 8, 4), np.float32)
    hyper[1, 1], hyper[6, 6] = 40, 1  # the former far beyond what means are made for
    latents = np.random.default_rng(0).normal(0, 3, (32, 32, 12)).astype(np.float32)
    latents[:8, :8, : codec.sizes[0]] = 250
    sources = {"latents": tf.constant(latents), "hyper_latents": tf.constant(hyper)}
    size = tf.constant(32), tf.constant(32)
    runner = exact_runners.Quantizer(coding, size, sources)
    alone, _ = coding._ran(runner)
    assert np.any(runner.missed) and np.abs(alone / STEP - latents).max() > 10
    found, side, symbols, _ = tf.function(coding.choose, autograph=False)(sources)
    np.testing.assert_allclose(found / STEP, latents, atol=1.5)
    assert np.abs(symbols).max() < 256
    # elsewhere it says what it said
    np.testing.assert_array_equal(side[6, 6], hyper[6, 6])
    assert not np.any(side[:4, :4])
    _, read = coding.read(coding.compress(side, found), *size)
    np.testing.assert_array_equal(read, found)


def test_what_is_coded_is_near_what_was_given(coding):
    latents = tf.constant(np.random.default_rng(0).normal(0, 8, (8, 12, 12)), tf.float32)
    sources = {"latents": latents, "hyper_latents": tf.fill([2, 3, 4], 1e6)}
    found, _ = coding.quantize_(sources)
    # a step by rounding, and less than half a step of latent residual
    assert np.abs(found / STEP - latents).max() < 1.5


def test_latent_residuals_never_reach_the_next_symbol():
    itself = lowering.ACTIVATIONS._replace(limit=TANH_RANGE * STEP)
    arguments = tf.range(-TANH_RANGE * STEP, TANH_RANGE * STEP + 1, dtype=tf.float32)
    value = lazy.Known(arguments[:, None], itself, lazy.Grid(len(arguments), 1))
    table = lazy.Tabulated(bounded_residual, value, TANH_RANGE).whole()[:, 0, 0].numpy()
    assert table[0] == -31 and table[-1] == 31 and table[len(table) // 2] == 0
    np.testing.assert_array_equal(table, -table[::-1])
    assert np.all(np.diff(table) >= 0)
    exact = STEP * 31 / 64 * np.tanh(np.arange(-256, 257) / STEP)
    np.testing.assert_allclose(table, exact, atol=0.5)
    # the largest symbol, mean and residual together
    assert STEP * (mixture.LATENT_MAX - mixture.LATENT_MIN) + 31 <= fixed_point.ACTIVATION_LIMIT


def test_explanation_is_of_each_element_in_its_place(coding):
    latents, hyper = coded(coding, 8, 12)
    found = coding.statistics_(hyper, latents)
    np.testing.assert_array_equal(found["weights"], np.ones([8, 12, 12, 1]))
    means = found["means"][..., 0]
    np.testing.assert_array_equal(16 * means, np.round(16 * means))
    symbols = found["latents"] - means
    np.testing.assert_array_equal(symbols, np.round(symbols))
    assert np.abs(found["latents"] - latents / STEP).max() < 0.5
    scales = found["scales"][..., 0].numpy()
    assert mixture.SCALE_MIN - 1e-4 <= scales.min() and scales.max() < 257
    wide = tf.math.erf((symbols + 0.5) / scales / 2**0.5)
    mass = 0.5 * (wide - tf.math.erf((symbols - 0.5) / scales / 2**0.5))
    np.testing.assert_allclose(2.0 ** -found["latents_bits"], mass, rtol=0.05, atol=1e-3)


def test_slices_depend_on_those_before_and_on_no_others(coding):
    latents, hyper = coded(coding, 8, 12)
    before = coding.statistics_(hyper, latents)
    changed = tf.tensor_scatter_nd_add(latents, [[3, 5, 2]], [STEP * 20.0])  # of the second slice
    after = coding.statistics_(hyper, changed)
    for name in ("means", "scales"):
        differs = np.any(before[name] != after[name], (0, 1, 3))
        assert not np.any(differs[:4]), "the first two slices: one and three channels"
        assert np.any(differs[4:])
    np.testing.assert_array_equal(before["hyper_latents_bits"], after["hyper_latents_bits"])


class Noting(walking.Walker):
    """Keeps the parameters of all slices: lists of float32 `[h, w, size]`, integers."""

    def __init__(self, coding, size, sources=None):
        encoder = coders.BitCounter()
        super().__init__(coding, size, encoder, sources)
        self.kept, self.symbols = [], {}

    def _conditional(self, stream, name):
        self.kept.append((stream.mean_values, stream.parameters.whole()))
        return super()._conditional(stream, name)


class Decoding(Noting):
    """Gets the symbols of each slice as a decoder does."""

    def __init__(self, coding, size, symbols):
        super().__init__(coding, size)
        self.given = symbols

    def _independent(self, stream, name, shape):
        return self.given[name]

    def _conditional(self, stream, name):
        super()._conditional(stream, name)
        return self.given[name]


def test_one_pass_and_slice_by_slice_agree_in_every_bit(codec, coding):
    latents, hyper = coded(coding, 8, 12)
    together = Noting(coding, (8, 12), {"latents": latents, "hyper_latents": hyper})
    codec.entropy(together)
    alone = Decoding(coding, (8, 12), together.streams)
    np.testing.assert_array_equal(codec.entropy(alone).whole(), latents)
    assert len(together.kept) == len(alone.kept) == 3
    for pairs in zip(together.kept, alone.kept):
        for a, b in zip(*pairs):
            np.testing.assert_array_equal(a, b)


def relative_error(got, want):
    return float(np.sqrt(np.mean(np.square(got - want))) / np.std(want))


def test_exact_networks_are_close_to_the_trained_ones(codec, coding):
    latents, hyper = coded(coding, 16, 24)
    networks = codec.mean_synthesis, codec.scale_synthesis
    z = lazy.Known(hyper, lowering.integers(HYPER_LIMIT), lazy.Grid(4, 6))
    features = []
    for network in networks:
        exactly = Exact(coding.networks).run(network, z, hidden_bits=8).on().whole()
        features.append(exactly[None] / STEP)
        assert relative_error(features[-1], network(hyper[None])) < 0.02
    known = tf.split(latents[None] / STEP, codec.sizes, -1)
    noting = Noting(coding, (16, 24), {"latents": latents, "hyper_latents": hyper})
    codec.entropy(noting)
    for i, (part, (means, scales)) in enumerate(zip(codec.slices, noting.kept)):
        want, log_scales, support = part.parameters(FLOATS, features, known[:i])
        means = means[None] / STEP
        assert np.abs(means - want).max() < 0.1
        rows = (log_scales - np.log(mixture.SCALE_MIN)) / mixture.SCALE_STEP
        assert np.abs(scales[None] - rows).max() < 1
        quantised = means + tf.round(known[i] - means)
        # kernels have 8 bits
        found = quantised + part.residual(support, quantised)
        assert np.abs(found - known[i]).max() < 0.1


def test_size_is_close_to_the_estimate_and_to_the_float_model(codec, coding):
    image = 0.3 + 0.4 * np.random.default_rng(3).random((1, 16, 24, 3))
    image = tf.image.resize(tf.constant(image, tf.float32), [128, 192], "bicubic")
    quality = tf.constant([100.0])
    latents = codec.analyse(image, quality)
    latents, hyper = coding.quantize_({k: x[0] for k, x in codec.sources(latents).items()})
    bits = 8 * len(coding.compress_(hyper, latents).numpy())
    exact = float(coding.total_bits(coding.statistics_(hyper, latents)))
    assert bits == pytest.approx(exact, rel=0.01, abs=64)
    assert bits == pytest.approx(float(codec(image, quality).bits[0]), rel=0.02, abs=64)
    floor = im.FLOOR / 2.0**im.MASS_BITS
    rate = codec.rate(latents[None] / STEP, {"hyper_latents": hyper[None]}, quality, floor)
    assert float(rate[0]) == pytest.approx(exact, rel=0.005)


def test_a_string_of_a_smaller_image_is_refused(coding):
    latents, hyper = coded(coding, 8, 12)
    string = coding.compress_(hyper, latents)
    for size in [(4, 12), (8, 8), (12, 12), (40, 40)]:
        with pytest.raises(tf.errors.InvalidArgumentError, match="not an image of this size"):
            coding.read_(string, *size)


def test_large_residuals_leave_the_float_count_as_it_is(make_cca):
    codec = prepared(make_cca())
    rng = np.random.default_rng(8)
    for part in codec.slices:
        means, scales, residual = (
            x.layers[-1].conv for x in (part.mean, part.scale, part.residual)
        )
        means.bias.assign(rng.uniform(-0.5, 0.5, means.bias.shape).astype(np.float32))
        scales.bias.assign(np.full(scales.bias.shape, np.log(0.3), np.float32))
        residual.bias.assign(rng.choice([-3.0, 3.0], residual.bias.shape).astype(np.float32))
    coding = codec.entropy_coder()
    latents = tf.constant(rng.normal(0, 0.3, (16, 24, 12)), tf.float32)
    sources = {"latents": latents, "hyper_latents": tf.zeros([4, 6, 4])}
    latents, hyper = coding.quantize(sources)
    exact = float(coding.total_bits(coding.statistics(hyper, latents)))
    floor = im.FLOOR / 2.0**im.MASS_BITS
    sides = {"hyper_latents": hyper[None]}
    rate = float(codec.rate(latents[None] / STEP, sides, None, floor)[0])
    assert rate == pytest.approx(exact, rel=0.01)


def test_the_least_bits_are_fewer_than_any_string_takes(make_cca):
    codec = prepared(make_cca())
    for part in codec.slices:
        last = part.scale.layers[-1].conv
        last.kernel.assign(tf.zeros_like(last.kernel))
        last.bias.assign(np.full(last.bias.shape, np.log(0.11), np.float32))
    coding = codec.entropy_coder()
    likeliest = (
        np.diff(coding.streams["hyper_latents"].table.numpy()[:, 1:]).argmax(1) - HYPER_LIMIT
    )
    hyper = tf.constant(np.broadcast_to(likeliest, [8, 8, 4]), tf.float32)

    class Silent(exact_runners.Quantizer):
        def _conditional(self, stream, name):
            return tf.zeros([*stream.grid.size, stream.channels])

    runner = Silent(coding, (32, 32), {"latents": None, "hyper_latents": hyper})
    found = codec.entropy(runner).whole()
    string = tf.function(coding.compress)(hyper, found).numpy()
    assert 0 < 64 * coding.least_bits <= 8 * (len(string) + 16)


@pytest.fixture(scope="module")
def folder(codec, export_for_reading, tmp_path_factory):
    return export_for_reading(codec, tmp_path_factory.mktemp("exported"), "cca", is_whole=True)


@pytest.fixture(scope="module")
def loaded(folder):
    return runtime.load(folder)


def test_files_decode_to_what_the_encoder_knows(loaded, make_pixels, soft, assert_files_agree):
    assert_files_agree(loaded, soft(make_pixels(70, 130)), (8, 12, 12))


def test_what_is_synthesised_is_what_the_codec_would_make(codec, loaded, make_pixels, soft):
    pixels = soft(make_pixels(64, 128))
    known = loaded.evaluate(pixels, 100)
    latents = tf.constant(known["latents"][None] / STEP, tf.float32)
    image = codec.synthesise(latents, {}, tf.constant([100.0]))[0] * 255
    # weights are stored with 16 bits
    assert np.abs(np.clip(image, 0, 255) - known["reconstruction"]).max() < 3


def test_what_slices_take_is_told(codec, loaded, make_pixels, soft):
    data = loaded.compress(soft(make_pixels(64, 128)), 60)
    explanation = loaded.statistics(data)
    found = inspection.report(loaded, data, explanation, explanation.parts)
    assert [each["channels"] for each in found["slices"]] == list(codec.sizes)
    bits = sum(each["bits"] for each in found["slices"])
    assert bits == pytest.approx(found["parts"]["latents"])
    assert found["slices"][0]["bits"] == pytest.approx(
        explanation.parts["latents"].channels[: codec.sizes[0]].sum()
    )
    assert any(line.startswith("slice of the latents") for line in inspection.lines(found))


def test_tiles_and_targets(loaded, assert_tiles_and_targets):
    assert_tiles_and_targets(loaded)


def test_qualities_may_differ_from_place_to_place(loaded, assert_maps):
    assert_maps(loaded)


def test_slices_and_beginnings_know_the_qualities(codec, loaded, make_pixels, soft):
    data = loaded.compress(soft(make_pixels(64, 128)), np.array([[20.0, 90.0]]))
    count, whole = len(codec.sizes), loaded.decompress(data)
    np.testing.assert_array_equal(loaded.decompress(data, slices=count), whole)
    image, received = loaded.decompress_beginning(data)
    np.testing.assert_array_equal(image, whole)
    assert received.least == count
    by_slices = [loaded.decompress(data, slices=n) for n in range(count + 1)]
    image, received = loaded.decompress_beginning(data[: len(data) * 2 // 3])
    assert received.least >= 0
    np.testing.assert_array_equal(image, by_slices[received.least])
    for length in range(4, 30, 5):
        # the map is not there
        with pytest.raises(errors.FileFormatError):
            loaded.decompress_beginning(data[:length])


def test_a_region_is_that_part_of_the_image(loaded, make_pixels, soft):
    data = loaded.compress(soft(make_pixels(64, 320)), 60)
    region = loaded.decompress(data, region=(10, 20, 30, 40))
    # though channel attention averages over the whole
    np.testing.assert_array_equal(region, loaded.decompress(data)[20:60, 10:40])


def test_the_auxiliary_model_is_not_in_the_export(codec, coding, folder):
    before = [v.numpy() for v in coding.variables]
    for part in codec.auxiliary:
        for variable in part.trainable_variables:
            variable.assign(variable + 1)
    after = [v.numpy() for v in codec.entropy_coder().variables]
    assert len(before) == len(after) > 100
    for a, b in zip(before, after):
        np.testing.assert_array_equal(a, b)
    # and what is exported is that, and the transforms
    stored = dict(tf.train.list_variables(str(folder / "variables" / "variables")))
    transforms = [v for module in codec.transforms() for v in module.variables]
    expected = sum(v.shape.num_elements() for v in [*coding.variables, *transforms])
    # of large kernels, the step of each column
    expected += sum(int(np.prod(shape)) for name, shape in stored.items() if "/steps/" in name)
    found = [int(np.prod(shape)) for name, shape in stored.items() if "VARIABLE_VALUE" in name]
    assert sum(found) == expected


def test_slices_are_read_one_after_the_other(codec, loaded, make_pixels, soft):
    pixels = soft(make_pixels(64, 128))
    data = loaded.compress(pixels, 60)
    count = len(codec.sizes)
    assert loaded.slices == count
    images = [loaded.decompress(data, slices=n) for n in range(count + 1)]
    np.testing.assert_array_equal(images[-1], loaded.decompress(data))
    assert all(np.any(image != images[-1]) for image in images[:-1])
    # what is expected of those that were not read is their means, that is, symbols of 0
    known = loaded.decode_latents(data)
    seen = {}

    def spy(function, *arguments):
        found = loaded._graphs.call(errors.FileFormatError, function, *arguments)
        if function is interface.READ_PARTS:
            seen[int(arguments[-1])] = found.latents
        return found

    for n in range(count + 1):
        tiles.decode(spy, data, reading=tiles.Parts(n))
    ends = np.cumsum((0, *codec.sizes))
    for n, latents in seen.items():
        np.testing.assert_array_equal(latents[..., : ends[n]], known[..., : ends[n]])
    np.testing.assert_array_equal(seen[count], known)
    assert np.any(seen[0][..., : ends[1]] != known[..., : ends[1]])


def test_beginnings_of_files_give_what_is_there(codec, loaded, make_pixels, soft):
    pixels = soft(make_pixels(64, 128))
    data = loaded.compress(pixels, 60)
    count, whole = len(codec.sizes), loaded.decompress(data)
    by_slices = [loaded.decompress(data, slices=n) for n in range(count + 1)]
    found = []
    for length in range(len(data) // 8, len(data), len(data) // 16):
        image, received = loaded.decompress_beginning(data[:length])
        assert image.shape == whole.shape and received.slices == count
        assert 0 < received.share < 1 and received.tiles == 0
        if received.least >= 0:
            np.testing.assert_array_equal(image, by_slices[received.least])
        found.append(received.least)
    assert found == sorted(found) and len(set(found)) > 2
    image, received = loaded.decompress_beginning(data)
    np.testing.assert_array_equal(image, whole)
    assert received == (1.0, count, count, 1)


def test_beginnings_of_tiled_files_have_their_first_tiles(codec, loaded, make_pixels, soft):
    data = loaded.compress(soft(make_pixels(64, 320)), 60, tile=64)
    whole = loaded.decompress(data)
    lengths = header.parse(data).lengths
    assert len(lengths) == 5
    cut = len(data) - lengths[4] - lengths[3] // 2
    image, received = loaded.decompress_beginning(data[:cut])
    assert received.least == -1 and received.tiles == 3
    # two tiles are made from what is there alone
    np.testing.assert_array_equal(image[:, :128], whole[:, :128])
    assert np.any(image[:, 256:] != whole[:, 256:])


def test_beginnings_that_hold_nothing_are_refused(loaded, make_pixels, soft):
    data = loaded.compress(soft(make_pixels(64, 64)), 60)
    for length in (0, 2, 8, 12):
        with pytest.raises(errors.FileFormatError):
            loaded.decompress_beginning(data[:length])
    with pytest.raises(errors.FileFormatError):
        # it claims more than what is there can be the beginning of
        loaded.decompress_beginning(data[:4] + b"\xff\xff\xff\xff\x07" + data[6:])
    with pytest.raises(errors.UsageError, match="0 to"):
        loaded.decompress(data, slices=9)
    foreign = bytearray(data)
    foreign[6] ^= 1
    with pytest.raises(errors.ModelError, match="fingerprint"):
        loaded.decompress_beginning(bytes(foreign[:-9]))


def test_the_program_makes_the_best_of_what_is_there(
    folder, loaded, make_pixels, soft, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("TFCLIC_MODELS", str(folder))
    data = loaded.compress(soft(make_pixels(64, 128)), 60)
    (tmp_path / "whole.tfclic").write_bytes(data)
    (tmp_path / "half.tfclic").write_bytes(data[: len(data) // 2])

    def status(*words):
        args = decompress.make_parser().parse_args([*words])
        return common.guarded(decompress.decompress, args, "decompress")

    half, whole = str(tmp_path / "half.tfclic"), str(tmp_path / "whole.tfclic")
    assert status(half) == 4 and "truncated" in capsys.readouterr().err
    assert not (tmp_path / "half.png").exists()
    assert status("--partial", half) == 4
    assert "slices of the latents" in capsys.readouterr().err
    written = np.asarray(Image.open(tmp_path / "half.png"))
    np.testing.assert_array_equal(written, loaded.decompress_beginning(data[: len(data) // 2])[0])
    # nothing but the checksum is missing
    (tmp_path / "half.tfclic").write_bytes(data[:-1])
    assert status("--partial", "--force", half) == 4
    assert "of the others" not in capsys.readouterr().err
    assert status("--slices", "1", whole) == 0
    written = np.asarray(Image.open(tmp_path / "whole.png"))
    np.testing.assert_array_equal(written, loaded.decompress(data, slices=1))
    assert status("--partial", "--force", whole) == 0
