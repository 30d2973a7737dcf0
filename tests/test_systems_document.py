"""docs/systems.md: the system in it is one, as it stands there."""

import pathlib
import re

import numpy as np
import tensorflow as tf

from tfclic import configuration, models
from tfclic.training import building

DOCUMENT = pathlib.Path(__file__).parents[1] / "docs" / "systems.md"


def test_the_system_trains_and_codes(tmp_path, monkeypatch):
    system, config_file = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    (tmp_path / "two_halves.py").write_text(system)
    (tmp_path / "config.py").write_text(config_file)
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    _, config = configuration.load(str(tmp_path / "config.py"))
    config.model.update(latent_channels=6, widths=(4, 4, 4), hyper_channels=4, lmbdas=(0.002, 0.02))
    codec = models.build(config.model)
    building.build_variables(codec)
    rng = np.random.default_rng(0)
    images = tf.constant(rng.random((1, 64, 64, 3)), tf.float32)
    with tf.GradientTape() as tape:
        out = codec(images, tf.constant([50.0]), seed=tf.constant([1, 2]), training=True)
        loss = out.bits[0] + tf.reduce_sum(tf.square(out.reconstruction - images))
    assert set(out.parts) == {"hyper_latents", "first", "second"}
    gradients = tape.gradient(loss, codec.trainable_variables)
    assert all(g is not None and np.all(np.isfinite(g)) for g in gradients)

    coding = codec.entropy_coder()
    latents = tf.constant(rng.normal(0, 3, (1, 8, 12, 6)), tf.float32)
    sources = {name: array[0] for name, array in codec.sources(latents).items()}
    latents, hyper_latents = coding.quantize(sources)
    found = coding.read(coding.compress(hyper_latents, latents), 8, 12)
    for array, expected in zip(found, (hyper_latents, latents), strict=True):
        np.testing.assert_array_equal(array, expected)
    # the second half follows from the first, and not the other way round
    before, after = (
        coding.statistics(hyper_latents, each)
        for each in (latents, tf.tensor_scatter_nd_add(latents, [[3, 5, 1]], [9.0]))
    )
    differs = np.any(before["scales"] != after["scales"], (0, 1, 3))
    assert not np.any(differs[:3]) and np.any(differs[3:])
