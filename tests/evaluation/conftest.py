"""A made explanation of a file: two parts, six channels, mixtures of three Gaussians."""

import types

import numpy as np
import pytest

from tfclic.evaluation import inspection
from tfclic.runtime.statistics import Part

ROWS, COLUMNS, CHANNELS, MIXTURES = 8, 12, 6, 3  # of an image of 90x130 pixels
TILES = 6


def made_latents():
    """All arrays that a model would give for the latents."""
    rng = np.random.default_rng(2)
    shape = ROWS, COLUMNS, CHANNELS
    weights = rng.dirichlet([1] * MIXTURES, shape)
    means, scales = rng.normal(0, 6, [*shape, MIXTURES]), rng.uniform(0.5, 5, [*shape, MIXTURES])
    latents = np.round(means[..., 0] + rng.normal(0, 2, shape)).astype(np.int16)
    bits = np.zeros(shape)
    for place in np.ndindex(shape):
        masses = inspection.mixture_masses(weights[place], means[place], scales[place])
        bits[place] = inspection.bits(masses[latents[place] - inspection.LATENT_MIN])
    floats = {"latents_bits": bits, "weights": weights, "means": means, "scales": scales}
    return {"latents": latents, **{k: a.astype(np.float32) for k, a in floats.items()}}


def part_of(bits):
    """The `Part` of bits `[h, w, C]`, equally many in each string."""
    return Part(bits.sum(2), bits.sum((0, 1)), np.full(TILES, bits.sum() / TILES))


@pytest.fixture(scope="package")
def explanation():
    """Has `parts`, `channel`, `each`, `assembled` and `slices` of an `statistics.Statistics`."""
    latents = made_latents()
    rng = np.random.default_rng(3)
    hyper_latents = rng.uniform(1, 4, [2, 3, 4])
    every = {**latents, "hyper_latents_bits": hyper_latents}
    every["hyper_latents"] = rng.normal(0, 3, [2, 3, 4]).round()
    return types.SimpleNamespace(
        parts={
            "hyper_latents": part_of(hyper_latents),
            "latents": part_of(latents["latents_bits"]),
        },
        channel=lambda index: {name: array[:, :, index] for name, array in latents.items()},
        each=lambda work: [work(every)],
        assembled=lambda pieces: pieces[0],
        slices=[1, 2, 3],
    )
