"""recurrent: iterations of binary codes, of which a quality sends the first ones."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic import configuration, errors, models, runtime
from tfclic.export import integers, saving
from tfclic.models import base
from tfclic.training import building

IMAGES = tf.constant(np.random.default_rng(0).random((2, 64, 128, 3)), tf.float32)
QUALITIES = tf.constant([0.0, 100.0])


@pytest.fixture(scope="module")
def codec():
    _, config = configuration.load("recurrent")
    config.model.update(
        lmbdas=(0.0016, 0.0075, 0.045),
        code_channels=2,
        latent_channels=6,
        encoder_widths=(4, 4, 4, 4),
        decoder_widths=(8, 8, 8, 8),
        context_channels=6,
        parameter_channels=(6,),
    )
    tf.keras.utils.set_random_seed(0)
    codec = models.build(config.model)
    building.build_variables(codec)
    return codec


@pytest.fixture(scope="module")
def loaded(codec, export_for_reading, tmp_path_factory):
    def unwanted(*_):
        raise AssertionError("efforts would move codes")

    folder = tmp_path_factory.mktemp("exported")
    path = export_for_reading(codec, folder, "recurrent", refinement=unwanted)
    return runtime.load(path)


def test_a_step_has_a_gradient_for_every_variable(codec):
    with tf.GradientTape() as tape:
        out = codec(IMAGES, QUALITIES, seed=tf.constant([1, 2]), training=True)
        loss = tf.reduce_sum(out.bits) + tf.reduce_sum(tf.square(out.reconstruction - IMAGES))
    gradients = tape.gradient(loss, codec.trainable_variables)
    assert all(g is not None and np.all(np.isfinite(g)) for g in gradients)
    paths = {path.split("/")[0] for path in building.variable_paths(codec)}
    assert paths == {"activity", "codes", "encoder_network", "iterations"}


def test_qualities_send_the_first_iterations(codec):
    few, all_codes = (
        codec.analyse(IMAGES[:1], QUALITIES[:1]),
        codec.analyse(IMAGES[:1], QUALITIES[1:]),
    )
    middle = codec.analyse(IMAGES[:1], tf.constant([40.0]))
    assert set(np.unique(all_codes)) == {-1, 1}
    for found, channels in ((few, 2), (middle, 4)):
        np.testing.assert_array_equal(found[..., :channels], all_codes[..., :channels])
        assert not np.any(found[..., channels:])


def test_decoders_add_what_iterations_send(codec):
    codes = codec.analyse(IMAGES, QUALITIES[1:])
    first = tf.concat([codes[..., :2], tf.zeros_like(codes[..., 2:])], -1)
    added, states = codec.iterations.decoder(codes[..., :2], [None] * 4)
    np.testing.assert_allclose(codec.iterations(first), added, atol=1e-6)
    more, _ = codec.iterations.decoder(codes[..., 2:4], states)
    second = tf.concat([codes[..., :4], tf.zeros_like(codes[..., 4:])], -1)
    np.testing.assert_allclose(codec.iterations(second), added + more, atol=1e-6)


def test_encoders_see_what_is_missing_yet(codec):
    codes = codec.analysis(base.centred(IMAGES))
    image = codec.iterations(tf.concat([codes[..., :2], tf.zeros_like(codes[..., 2:])], -1))
    first, states = codec.encoder_network(base.centred(IMAGES), [None] * 3)
    second, _ = codec.encoder_network(base.centred(IMAGES) - image, states)
    np.testing.assert_array_equal(codes[..., :4], tf.concat([first, second], -1))


def test_files_decode_to_what_the_encoder_knows(loaded, make_pixels, soft, assert_files_agree):
    assert_files_agree(loaded, soft(make_pixels(70, 130)), (8, 12, 6))


def test_tiles_and_sizes_that_rise_with_quality(loaded, make_pixels):
    pixels = make_pixels(70, 130)
    known = loaded.evaluate(pixels, 100, tile=64)
    assert loaded.info(known["file"])["tiles"] == 6
    np.testing.assert_array_equal(loaded.decompress(known["file"]), known["reconstruction"])
    sizes = [len(loaded.compress(pixels, quality)) for quality in (0, 50, 100)]
    assert sizes == sorted(set(sizes))


def test_codes_are_not_refined_and_pixels_not_in_integers(codec, loaded, tmp_path):
    with pytest.raises(errors.InexactError, match="other latents"):
        saving.save(codec, tmp_path, "recurrent", seen=integers.measured(codec, [IMAGES[0]]))
    assert loaded.model.card.refinement is None
    assert loaded.model.card.transforms == "float32"


def test_qualities_may_differ_from_place_to_place(loaded, assert_maps):
    assert_maps(loaded)
