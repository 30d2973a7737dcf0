"""docs/format.md is enough to read latents: up to `read_factorized` all is made from that text."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfclic import configuration, models
from tfclic.training import building


@pytest.fixture
def coder_class(monkeypatch):
    """The reader of the range coder, made from the same text."""
    monkeypatch.syspath_prepend(pathlib.Path(__file__).parent)
    from test_format_document import Coder

    return Coder


def clip(x, low, high):
    return min(max(x, low), high)


def decisions(mass, centre, spread):
    """One element's: yields (part, whole), takes the answers, returns the symbol."""
    if (yield mass(centre + 1) - mass(centre), mass(512)):
        return centre
    above = mass(512) - mass(centre + 1)
    up = yield above, above + mass(centre)
    low, high = (centre + 1, 512) if up else (0, centre)
    step, galloping = spread, True
    while high - low > 1:
        threshold = (low + high) >> 1
        if galloping:
            threshold = low + step if up else high - step
        threshold = clip(threshold, low + 1, high - 1)
        yes = yield mass(high) - mass(threshold), mass(high) - mass(low)
        low, high = (threshold, high) if yes else (low, threshold)
        step, galloping = min(2 * step, 512), galloping and yes == up
    return min(low, 511)


def read_step(coder, elements):
    """Symbols of elements that are coded together, in rounds."""
    symbols, asked = {}, {}
    for number, element in enumerate(elements):
        asked[number] = element, next(element)
    while asked:
        for number, (element, (part, whole)) in list(asked.items()):
            k = clip(4096 * part // whole, 1, 4095)
            try:
                answer = bool(coder.symbol(16, [0, 65536 - 16 * k, 65536]))
                asked[number] = element, element.send(answer)
            except StopIteration as end:
                symbols[number] = end.value
                del asked[number]
    return [symbols[number] for number in sorted(symbols)]


def read_factorized(coder, positions, channels, masses, centres, spreads):
    """(level, latents) of a string of `factorized`, at most 4096 positions."""
    levels = len(centres) // channels
    level = coder.symbol(16, [65536 * j // levels for j in range(levels + 1)])
    rows = [level * channels + channel for _ in range(positions) for channel in range(channels)]
    elements = [decisions(masses[row].__getitem__, centres[row], spreads[row]) for row in rows]
    return level, [symbol - 255 for symbol in read_step(coder, elements)]


def test_the_string_of_factorized(coder_class):
    _, config = configuration.load("factorized")
    config.model.update(latent_channels=3, widths=(2, 2, 2))
    codec = models.build(config.model)
    building.build_variables(codec)
    coding = codec.entropy_coder()
    stream = coding.streams["latents"]
    latents = np.random.default_rng(0).logistic(0, 3, (4, 8, 3)).astype(np.float32)
    latents, hyper_latents = coding.quantize({"latents": tf.constant(latents)})
    string = coding.compress(hyper_latents, latents).numpy()
    tables = (x.numpy().tolist() for x in (stream.masses, stream.centres, stream.spreads))
    level, found = read_factorized(coder_class(string), 32, 3, *tables)
    assert level == stream.best_level(latents)[0]
    np.testing.assert_array_equal(np.reshape(found, [4, 8, 3]), latents)
