"""The side of `speed.py` that runs tfclic: makes a model of random weights, or codes with one."""

import json
import sys

import numpy as np
import speed_statistics as made
import turns

from tfclic import runtime
from tfclic.runtime import session as sessions

# bits per pixel of the nearest integers; rounding by rate and distortion comes to about 0.5
NEAREST_AIM = 0.6


def make(name, width, folder, transforms):
    """Exports a model of that configuration and width with random weights; returns its path."""
    import tensorflow as tf
    from ml_collections import config_dict

    from tfclic import configuration, models
    from tfclic.export import integers, saving
    from tfclic.format import model as form
    from tfclic.training import building

    tf.keras.utils.set_random_seed(0)
    _, config = configuration.load(name)
    model = config_dict.ConfigDict(config.model.to_dict())
    model.update(latent_channels=width, lmbdas=(0.015,))
    if model.name != "cca":
        model.widths = (width,) * 3
    prepare = {"gmm_attention": _mixtures, "coarse_to_fine": _levels, "cca": _slices}[model.name]
    if model.name == "gmm_attention":
        model.update(hyper_channels=width, feature_channels=2 * width)
    codec = models.build(model)
    building.build_variables(codec)
    set_scales = prepare(codec, width)
    pixels = tf.constant(made.image()[None] / 255.0, tf.float32)
    latents = codec.analysis((pixels - 0.5) * 4.0)
    level = tf.math.reduce_std(latents, [0, 1, 2])

    def bpp_of(largest):
        wanted = made.spreads(width, largest).astype(np.float32)
        codec.gain.base.assign(tf.math.log(wanted / level)[None])
        scaled = latents * wanted / level
        set_scales(tf.math.log(tf.maximum(wanted, 0.11)), scaled)
        parts = codec.coded(scaled, None).parts
        return float(tf.add_n(list(parts.values()))[0]) / made.HEIGHT / made.WIDTH

    made.fit(bpp_of, NEAREST_AIM)
    seen = None if transforms == form.FLOAT32 else integers.measured(codec, [made.image()])
    how = {"seen": seen, "transforms": transforms}
    return str(saving.save(codec, folder, f"random-{width}", **how))


def _mixtures(codec, width):
    """Prepares gmm_attention; returns what sets its scales."""
    import tensorflow as tf

    _quieten_hyper_latents(codec)
    last = codec.parameter_network.layers[-1]
    last.kernel.assign(last.kernel * 0.1)
    still = tf.tile(tf.zeros([width]), [2 * codec.config.mixtures])

    def set_scales(log_scales, _):
        last.bias.assign(tf.concat([still, tf.tile(log_scales, [codec.config.mixtures])], 0))

    return set_scales


def _quieten_hyper_latents(codec):
    """Most hyper latents of a trained model are 0, and its prior knows."""
    from tfclic.entropy.factorized import ChannelPrior

    channels = codec.config.hyper_channels
    codec.hyper_prior = ChannelPrior(batch_shape=(channels,), init_scale=0.3)
    codec.hyper_analysis.layers[-1].kernel.assign(codec.hyper_analysis.layers[-1].kernel * 0.3)


def _slices(codec, _):
    """Prepares cca; returns what sets its scales."""
    import tensorflow as tf

    _quieten_hyper_latents(codec)
    for part in codec.slices:
        for stack in (part.mean, part.scale, part.residual):
            last = stack.layers[-1].conv
            last.kernel.assign(last.kernel * 0.1)

    def set_scales(log_scales, _):
        for part, values in zip(codec.slices, tf.split(log_scales, codec.sizes)):
            part.scale.layers[-1].conv.bias.assign(values)

    return set_scales


def _levels(codec, width):
    """Prepares coarse_to_fine; returns what sets its scales."""
    import tensorflow as tf

    for network in (codec.prediction, codec.fine_prediction):
        network.kernels[-1].assign(network.kernels[-1] * 0.1)
    analyses = {"fine": codec.fine_analysis, "coarse": codec.coarse_analysis}
    lasts = {name: analysis.layers[-1] for name, analysis in analyses.items()}
    starts = {name: last.kernel.numpy() for name, last in lasts.items()}

    def set_scales(log_scales, latents):
        # hyper latents of a trained model are mostly small too
        scales = []
        for name, last in lasts.items():
            last.kernel.assign(starts[name])
        for name, last in lasts.items():
            level = tf.math.reduce_std(codec.sources(latents)[name], [0, 1, 2])
            last.kernel.assign(last.kernel * 0.3 / level)
            scales.append(tf.fill(level.shape, np.float32(np.log(0.3))))
        still = [tf.zeros_like(log_scales), tf.zeros_like(scales[0])]
        codec.prediction.biases[-1].assign(tf.concat([still[0], log_scales], 0))
        codec.fine_prediction.biases[-1].assign(tf.concat([still[1], scales[0]], 0))
        codec.coarse_prior.assign(scales[1])

    return set_scales


def code(name):
    """Codes the image once for each line of stdin; answers with JSON lines."""
    codec, image, spent = runtime.load(name), made.image(), {}
    run = sessions.Session.run

    def timed(self, function, **arguments):
        spent[function], result = turns.timed(lambda: run(self, function, **arguments))
        return result

    sessions.Session.run = timed  # of all graphs that a model has
    quality = 50
    if len(codec.model.card.config.get("model", {}).get("lmbdas", [])) > 1:
        # near the bits that the made models take
        data = codec.compress(image, bpp=made.AIM)
        quality = codec.info(data)["quality"]
    for _ in sys.stdin:
        spent.clear()
        encode, data = turns.timed(codec.compress, image, quality)
        decode, _ = turns.timed(codec.decompress, data)
        bpp = 8 * len(data) / made.HEIGHT / made.WIDTH
        found = {"encode": encode, "decode": decode, "bpp": bpp, "parts": spent}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    if "folder" in options:
        print(json.dumps(make(**options)))
    else:
        code(options["model"])
