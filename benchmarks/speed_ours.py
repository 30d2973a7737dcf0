"""The side of `speed.py` that runs tfclic: makes a model of random weights, or codes with one."""

import json
import sys

import numpy as np
import speed_statistics as made
import turns

from tfclic.codec import runtime


def make(width, folder):
    """Exports gmm_attention of that width with random weights; returns its path."""
    import tensorflow as tf
    import tensorflow_compression as tfc
    from ml_collections import config_dict

    from tfclic import configuration, models
    from tfclic.codec import export
    from tfclic.training import checkpoints

    tf.keras.utils.set_random_seed(0)
    _, config = configuration.load("gmm_attention")
    model = config_dict.ConfigDict(config.model.to_dict())
    model.update(latent_channels=width, widths=(width,) * 3, hyper_channels=width)
    model.update(feature_channels=2 * width, lmbdas=(0.015,))
    codec = models.build(model)
    # most hyper latents of a trained model are 0, and its prior knows
    codec.hyper_prior = tfc.NoisyDeepFactorized(batch_shape=(width,), init_scale=0.3)
    checkpoints.build_variables(codec)
    codec.hyper_analysis.layers[-1].kernel.assign(codec.hyper_analysis.layers[-1].kernel * 0.3)
    last = codec.parameter_network.layers[-1]
    last.kernel.assign(last.kernel * 0.1)
    pixels = tf.constant(made.image()[None] / 255.0, tf.float32)
    latents = codec.analysis((pixels - 0.5) * 4.0)
    level = tf.math.reduce_std(latents, [0, 1, 2])
    still = tf.tile(tf.zeros([width]), [2 * model.mixtures])

    def bpp_of(largest):
        wanted = made.spreads(width, largest).astype(np.float32)
        codec.gain.base.assign(tf.math.log(wanted / level)[None])
        scales = tf.tile(tf.math.log(tf.maximum(wanted, 0.11)), [model.mixtures])
        last.bias.assign(tf.concat([still, scales], 0))
        parts = codec.entropy(latents * wanted / level, None, None, training=False).parts
        return float(tf.add_n(list(parts.values()))[0]) / made.HEIGHT / made.WIDTH

    made.fit(bpp_of)
    return str(export.save(codec, folder, f"random-{width}"))


def code(name):
    """Codes the image once for each line of stdin; answers with JSON lines."""
    codec, image, spent = runtime.load(name), made.image(), {}
    run = codec._session.run

    def timed(function, **arguments):
        spent[function], result = turns.timed(lambda: run(function, **arguments))
        return result

    codec._session.run = timed
    quality = 50
    if len(codec.model.card["config"].get("model", {}).get("lmbdas", [])) > 1:
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
        print(json.dumps(make(options["width"], options["folder"])))
    else:
        code(options["model"])
