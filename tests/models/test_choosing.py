"""Latents that are rounded and written by the same parameters, which are computed once."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic import models
from tfclic.training import building

WITHOUT_CONTEXT = "cca_small", "coarse_to_fine_small", "hyperprior", "mean_scale"


def coder_of(config):
    codec = models.build(config.model)
    building.build_variables(codec)
    return codec.entropy_coder()


@pytest.fixture(scope="module", params=WITHOUT_CONTEXT)
def coding(request, tiny_system):
    return coder_of(tiny_system(request.param))


def sources(coding, height, width, spread):
    """Random latents, and what else is coded, whatever the system's streams are."""
    rng = np.random.default_rng(0)
    # some channels are silent, and the last one is where it is rounded away
    spreads = np.where(np.arange(coding.channels) % 3 == 1, 0.01, spread)
    latents = rng.normal(0, spreads, [height, width, coding.channels])
    latents[..., -1] = 0.51 * (rng.random([height, width]) < 0.01)
    hyper = rng.normal(0, 2, [height // 4, width // 4, coding.layout.hyper_channels])
    sides = coding.layout.split(tf.constant(hyper, tf.float32))
    return {"latents": tf.constant(latents, tf.float32), **sides}


# strings of few positions hold all channels
@pytest.mark.parametrize("size, spread", [((8, 12), 3.0), ((32, 36), 3.0), ((32, 36), 0.01)])
def test_what_is_chosen_is_written_without_computing_parameters_again(coding, size, spread):
    given = sources(coding, *size, spread)
    latents, hyper, symbols, parameters = coding.choose(given)
    for array, expected in zip((latents, hyper), coding.quantize(given)):
        np.testing.assert_array_equal(array, expected)
    assert parameters.shape == [*size, sum(coding.layout.told_columns)]
    assert coding.write(hyper, symbols, parameters) == coding.compress(hyper, latents)


@pytest.mark.parametrize("name", ["gmm_attention_small", "elic_small", "factorized"])
def test_where_symbols_follow_from_their_neighbours_there_is_nothing_to_tell(name, tiny_system):
    assert coder_of(tiny_system(name)).layout.told_columns is None
