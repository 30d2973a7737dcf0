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
    # priors have drawn; functions made ready after this stay so
    tf.keras.utils.set_random_seed(0)
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
def assert_maps(make_pixels, soft):
    """A function of an exported codec: files whose quality differs are what the encoder knows."""

    def check(loaded):
        pixels = soft(make_pixels(70, 130))
        halves = np.array([[0.0, 100.0]])
        for tile in (64, 1024):
            known = loaded.evaluate(pixels, halves, tile=tile)
            file = known["file"]
            np.testing.assert_array_equal(loaded.decompress(file), known["reconstruction"])
            np.testing.assert_array_equal(loaded.decode_latents(file), known["latents"])
            assert loaded.info(file)["map_bytes"]
        low, high = (loaded.evaluate(pixels, quality) for quality in (0, 100))
        latents = known["latents"].astype(int)
        # the ends are far from each other's qualities, as far as models look at few latents
        assert np.abs(latents[:, 5:]).sum() > np.abs(low["latents"][:, 5:].astype(int)).sum()
        assert np.abs(latents[:, :3]).sum() < np.abs(high["latents"][:, :3].astype(int)).sum()
        assert len(low["file"]) < len(file) < len(high["file"]) + 40
        assert loaded.compress(pixels, np.full((2, 2), 40.0)) == loaded.compress(pixels, 40)

    return check


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
