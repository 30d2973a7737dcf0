"""What the tests of models share."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic import configuration, models
from tfclic.export import container
from tfclic.training import building


def tiny_cca(**changes):
    """A cca small enough for tests, with all its variables made."""
    _, config = configuration.load("cca_small")
    config.model.update(
        latent_channels=12,
        widths=(4, 4, 4),
        hyper_channels=4,
        hyper_width=6,
        slices=3,
        support_channels=8,
        slice_widths=(8, 6),
        lmbdas=(0.0016, 0.0075, 0.045),
    )
    config.model.update(changes)
    tf.keras.utils.set_random_seed(0)
    codec = models.build(config.model)
    building.build_variables(codec)
    return codec


@pytest.fixture(scope="session")
def make_cca():
    """`tiny_cca`."""
    return tiny_cca


def _agree(loaded, pixels, shape):
    for quality in (0, 37.5, 100):
        known = loaded.evaluate(pixels, quality)
        assert known["latents"].shape == shape
        assert np.abs(known["latents"]).max() > 0
        np.testing.assert_array_equal(loaded.decode_latents(known["file"]), known["latents"])
        np.testing.assert_array_equal(loaded.decompress(known["file"]), known["reconstruction"])
        payload = len(container.parse(known["file"]).payload.numpy())
        assert 8 * payload == pytest.approx(known["estimated_bits"], rel=0.005, abs=8 * 24)


@pytest.fixture(scope="session")
def assert_files_agree():
    """A function of an exported codec, pixels and the shape of their latents, at three qualities.

    Files hold the latents and decode to the pixels that the encoder knows, at the size it expects.
    """
    return _agree


@pytest.fixture(scope="session")
def assert_tiles_and_targets(make_pixels):
    """Checks a loaded codec's tiles, that quality orders its files, and a target."""

    def check(loaded):
        pixels = make_pixels(70, 130)
        known = loaded.evaluate(pixels, 60, tile=64)
        assert loaded.info(known["file"])["tiles"] == 6
        np.testing.assert_array_equal(loaded.decompress(known["file"]), known["reconstruction"])
        sizes = [len(loaded.compress(pixels, quality)) for quality in (0, 50, 100)]
        assert sizes == sorted(set(sizes))
        wanted = sum(sizes[:2]) // 2
        assert 0.97 * wanted <= len(loaded.compress(pixels, file_bytes=wanted)) <= wanted

    return check
