"""The model: every ablation trains, quality orders the rate, padding repeats the image."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic import configuration, errors, models
from tfclic.models import base
from tfclic.training import building

IMAGES = tf.constant(np.random.default_rng(0).random((2, 64, 128, 3)), tf.float32)
QUALITY = tf.constant([0.0, 80.0])

ABLATIONS = [
    dict(),
    dict(mixtures=1),
    dict(mixtures=5),
    dict(attention="none"),
    dict(attention="non_local"),
    dict(residual=False),
    dict(residual=False, kernel_size=9, attention="none"),
    dict(block_transform=False, synthesis_input="noise"),
    dict(lmbdas=(0.01,)),
]


@pytest.mark.parametrize("changes", ABLATIONS, ids=str)
def test_every_ablation_has_finite_losses_and_gradients(make_codec, changes):
    codec = make_codec(**changes)
    with tf.GradientTape() as tape:
        out = codec(IMAGES, QUALITY, seed=tf.constant([1, 2]), training=True)
        loss = tf.reduce_sum(out.bits) + tf.reduce_sum(tf.square(out.reconstruction - IMAGES))
    assert out.reconstruction.shape == IMAGES.shape
    assert out.bits.shape == (2,)
    gradients = tape.gradient(loss, codec.trainable_variables)
    missing = [v.name for v, g in zip(codec.trainable_variables, gradients) if g is None]
    single = len(codec.lmbdas) == 1
    assert [name for name in missing if not (single and "rises" in name)] == []
    assert all(np.all(np.isfinite(g)) for g in gradients if g is not None)


def relative_error(got, want):
    """Root mean square of the difference over the standard deviation of `want`."""
    return float(np.sqrt(np.mean(np.square(got - want))) / np.std(want))


def test_bfloat16_transforms_are_close_to_float32(make_codec):
    # without the block transform, beside which the transforms start at zero
    codec = make_codec(block_transform=False)
    mixed = make_codec(block_transform=False, compute_dtype="bfloat16")
    for a, b in zip(mixed.variables, codec.variables):
        a.assign(b)
    assert mixed.nonlinear_analysis.compute_dtype == "bfloat16"
    assert mixed.parameter_network.compute_dtype == "float32"
    latents, other = (c.analyse(IMAGES, QUALITY) for c in (codec, mixed))
    assert other.dtype == tf.float32
    # each way on its own: rounding between them turns a last bit into a whole step
    assert 0 < relative_error(other, latents) < 0.05
    images, other = (c.synthesise(latents, None, QUALITY) for c in (codec, mixed))
    assert other.dtype == tf.float32
    assert 0 < relative_error(other, images) < 0.05


def test_variables_are_filed_under_the_names_that_checkpoints_have(codec):
    paths = building.variable_paths(codec)
    trained = {id(v) for v in codec.trainable_variables}
    assert {id(v) for path, v in paths.items() if path != "activity"} == trained
    entropy = {"hyper_analysis", "hyper_synthesis", "hyper_prior", "context", "parameter_network"}
    nonlinear = {"nonlinear_analysis", "nonlinear_synthesis"}
    linear = {"block_analysis", "block_synthesis", "gain"}
    assert {path.split("/")[0] for path in paths} == entropy | nonlinear | linear | {"activity"}


def test_parts_add_up_to_the_bits(codec):
    out = codec(IMAGES, QUALITY)
    np.testing.assert_allclose(tf.add_n(list(out.parts.values())), out.bits)
    assert set(out.parts) == {"latents", "hyper_latents"}


def test_noise_is_a_function_of_the_seed(codec):
    runs = [codec(IMAGES, QUALITY, seed=tf.constant(s), training=True) for s in ([1, 2], [1, 2])]
    np.testing.assert_array_equal(runs[0].bits, runs[1].bits)
    other = codec(IMAGES, QUALITY, seed=tf.constant([1, 3]), training=True)
    assert np.any(other.bits != runs[0].bits)


def test_rate_and_fidelity_rise_with_quality(codec):
    quality = tf.linspace(0.0, 100.0, 6)
    smooth = tf.image.resize(IMAGES[:1, ::16, ::16], [64, 128], "bicubic")
    magnitude = [np.abs(codec.analyse(smooth, q[None])).sum() for q in quality]
    assert np.all(np.diff(magnitude) > 0)
    errors_ = [
        float(tf.reduce_mean(tf.square(codec(smooth, q[None]).reconstruction - smooth)))
        for q in quality
    ]
    assert errors_[-1] < errors_[0]


def test_qualities_of_levels(codec, make_codec):
    assert [codec.quality_of(level) for level in range(6)] == [0, 20, 40, 60, 80, 100]
    assert make_codec(lmbdas=(0.01,)).quality_of(0) == 100


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (63, 65), (64, 64), (200, 3)])
def test_padding_reflects_to_whole_blocks(size):
    image = np.random.default_rng(1).random((1, *size, 3))
    padded = base.pad_image(tf.constant(image)).numpy()
    assert padded.shape[1] % 64 == padded.shape[2] % 64 == 0
    np.testing.assert_array_equal(padded[:, : size[0], : size[1]], image)
    margins = [(0, (-n) % 64) for n in size]
    np.testing.assert_array_equal(padded, np.pad(image, [(0, 0), *margins, (0, 0)], "symmetric"))


def test_paper_configurations_have_the_paper_widths():
    _, config = configuration.load("gmm_attention")
    assert config.model.widths == (192, 192, 192)
    _, config = configuration.load("gmm_attention_n128")
    assert config.model.latent_channels == 128
    assert config.model.lmbdas == (0.0016, 0.0032, 0.0075)


def test_an_unknown_model_is_refused():
    _, config = configuration.load("gmm_attention")
    config.model.name = "jpeg"
    with pytest.raises(errors.ModelError, match="gmm_attention"):
        models.build(config.model)
