"""Zero-mean Gaussians with a scale for each channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from tfclic.entropy import mixture

if TYPE_CHECKING:
    import numpy as np

# scales have a long way to go, by an optimizer whose steps are those of the networks' weights
SPEED = 10.0


class ChannelGaussian(tf.Module):
    """The prior of a stream whose distributions depend on the channel alone.

    Args:
      channels: C.
    """

    def __init__(self, channels: int, name: str = "channel_gaussian") -> None:
        super().__init__(name=name)
        self.slow_log_scales = tf.Variable(tf.zeros([channels]), name="slow_log_scales")

    @property
    def log_scales(self) -> tf.Tensor:
        """float32 `[C]`, natural logarithms."""
        return SPEED * self.slow_log_scales

    def assign(self, log_scales: tf.Tensor) -> None:
        """Sets the logarithms, `[C]`."""
        self.slow_log_scales.assign(tf.convert_to_tensor(log_scales) / SPEED)

    def parameters(self, shape: tf.Tensor) -> tf.Tensor:
        """Means and log scales, float32 `[..., 2C]`, of latents of `shape` `[..., C]`."""
        scales = tf.broadcast_to(self.log_scales, shape)
        return tf.concat([tf.zeros_like(scales), scales], -1)

    def prob(self, values: tf.Tensor) -> tf.Tensor:
        """P(y) of integers or values with noise, float32 `[..., C]`, or `[..., 1]` for all."""
        shape = tf.concat([tf.shape(values)[:-1], tf.shape(self.slow_log_scales)], 0)
        parameters = mixture.completed(self.parameters(shape), 2)
        return mixture.likelihood(tf.broadcast_to(values, shape), parameters)

    def fit(self, masses: np.ndarray, first: int) -> list[tf.Variable]:
        """Fits it to probabilities, float32 `[n, C]`, of the integers from `first` on.

        The scale follows from how likely 0 is.

        Returns:
          Its variables.
        """
        inverses = 2 * tf.math.ndtri((1 + tf.cast(masses[-first], tf.float64)) / 2)
        self.assign(-tf.math.log(tf.cast(inverses, tf.float32)))
        return [self.slow_log_scales]
