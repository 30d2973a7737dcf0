"""A codec of two convolutions, for tests of training."""

import collections

import tensorflow as tf

from tfclic.layers import uniform_noise

Output = collections.namedtuple("Output", ["reconstruction", "bits", "parts", "auxiliary_losses"])


class FakeCodec(tf.keras.Model):
    """Latents at 1/8 with stateless noise; the rate is the squared latents' logarithm."""

    stages = 1

    def __init__(self, lmbdas=(0.001, 0.01), channels=4):
        super().__init__()
        self.lmbdas = tuple(lmbdas)
        self.analysis = tf.keras.layers.Conv2D(channels, 9, 8, "same")
        self.synthesis = tf.keras.layers.Conv2DTranspose(3, 9, 8, "same")

    def quality_of(self, level):
        count = len(self.lmbdas)
        return 100.0 * level / (count - 1) if count > 1 else 100.0

    def call(self, images, quality, seed=None, training=True, rdo=False):
        gain = tf.reshape(1.0 + quality / 25.0, [-1, 1, 1, 1])
        latents = self.analysis(images) * gain
        if training:
            noisy = latents + uniform_noise(tf.shape(latents), seed, 0)
        else:
            noisy = tf.round(latents)
        bits = tf.reduce_sum(tf.math.log1p(tf.square(noisy)), [1, 2, 3])
        return Output(self.synthesis(noisy / gain), bits, {"latents": bits}, {})
