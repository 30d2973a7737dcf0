"""benchmarks/preview.py: of the tiny system, what its levels alone are worth."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic import models
from tfclic.export import stored
from tfclic.training import building


@pytest.fixture(scope="module")
def preview(without_graphs):
    with without_graphs("preview") as module:
        yield module


def test_it_tells_shares_and_three_pictures(preview, tiny_system, make_pixels):
    codec = models.build(tiny_system("coarse_to_fine_small").model)
    building.build_variables(codec)
    pixels = tf.constant(make_pixels(64, 64) / 255, tf.float32)
    coding = stored.StoredCodec(codec).coding
    share, expected, nothing, whole = preview.measured(codec, coding, pixels, 100.0)
    assert 0 < share < 100
    # the block transform keeps the image, and without latents there is none
    assert whole > nothing + 3
    assert np.isfinite(expected) and expected < whole
