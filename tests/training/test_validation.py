import numpy as np
import pytest
import tensorflow as tf

from tfclic.entropy import active
from tfclic.training import validation
from tfclic.training.state import State

IMAGES = [
    np.random.default_rng(i).integers(0, 256, [64, 64 * (i + 1), 3], np.uint8) for i in range(2)
]


@pytest.fixture
def made(fake, config):
    """(codec, state, evaluate)."""
    codec = fake.FakeCodec(config.model.lmbdas)
    state = State(codec, config.training)
    return codec, state, validation.make_evaluate(codec, config.training)


def test_weights_are_averaged_only_inside(made):
    _, state, _ = made
    before = {name: v.numpy() for name, v in state.weights.items()}
    for average in state.ema.values():
        average.assign(tf.ones_like(average))
    with pytest.raises(RuntimeError), validation.averaged_weights(state):
        assert all(np.all(state.weights[path].numpy() == 1) for path in state.ema)
        raise RuntimeError
    for name, value in before.items():
        np.testing.assert_array_equal(state.weights[name], value)


def test_result_is_the_mean_over_images_of_the_rounded_codec(made, config):
    codec, state, evaluate = made
    result, pictures = validation.validate(evaluate, state, IMAGES, codec.lmbdas, shown=1)
    assert result["lmbda"] == list(config.model.lmbdas)
    for level in range(2):
        bpp, error = [], []
        for image in IMAGES:
            x = tf.cast(image, tf.float32)[None] / 255.0
            out = codec(x, tf.constant([codec.quality_of(level)]), training=False)
            decoded = np.round(np.clip(out.reconstruction[0].numpy(), 0, 1) * 255)
            bpp.append(float(out.bits[0]) / image[..., 0].size)
            error.append(np.mean((decoded - image) ** 2))
        assert result["bpp"][level] == pytest.approx(np.mean(bpp), rel=1e-4)
        # the one part it has
        assert result["bpp/latents"][level] == pytest.approx(result["bpp"][level])
        assert result["distortion"][level] == pytest.approx(np.mean(error), rel=1e-4)
        assert result["psnr"][level] == pytest.approx(
            np.mean(10 * np.log10(255**2 / np.array(error))), abs=1e-2
        )
        expected = np.mean(bpp) + config.model.lmbdas[level] * np.mean(error)
        assert result["loss"][level] == pytest.approx(expected, rel=1e-4)
    assert result["mean_loss"] == pytest.approx(np.mean(result["loss"]))
    (picture,) = pictures
    assert picture.shape == (64, 3 * 64, 3)
    np.testing.assert_array_equal(picture[:, :64], IMAGES[0])


def test_it_measures_which_channels_are_in_use(make_codec, config):
    codec = make_codec()
    louder = np.array([1, 0, 0.01, 0.02, 0.05, 0.1], np.float32)
    state = State(codec, config.training)
    for path, average in state.ema.items():
        if path.startswith("nonlinear_analysis"):
            average.assign(tf.zeros_like(average))
    kernel = state.ema["block_analysis/kernel"]
    kernel.assign(kernel * louder)
    evaluate = validation.make_evaluate(codec, config.training, state)
    images = IMAGES[0], np.full_like(IMAGES[1], 128)
    validation.validate(evaluate, state, images, codec.lmbdas)

    shares = np.zeros([len(codec.lmbdas), 6])
    with validation.averaged_weights(state):
        for level in range(len(codec.lmbdas)):
            for image in images:
                x = tf.cast(image, tf.float32)[None] / 255.0
                latents = np.round(codec.analyse(x, tf.constant([codec.quality_of(level)])))[0]
                shares[level] += (np.count_nonzero(latents, (0, 1)) > 3) / 2
    assert np.all(shares[:, 1] == 0) and set(shares.flat) == {0, 0.5, 1}
    np.testing.assert_allclose(codec.activity, active.estimated(shares, 2), rtol=1e-5)


def test_it_can_be_stopped_or_empty(made):
    codec, state, evaluate = made
    stopped = validation.validate(evaluate, state, IMAGES, codec.lmbdas, stopped=lambda: True)
    assert stopped is None
    assert validation.validate(evaluate, state, [], codec.lmbdas) is None
