"""Zero-mean Gaussians with a scale for each channel."""

import tensorflow as tf


class ChannelGaussian(tf.Module):
    """Parameters of a `GaussianMixture` of one Gaussian that depend on the channel alone.

    Args:
      channels: C.
    """

    def __init__(self, channels, name="channel_gaussian"):
        super().__init__(name=name)
        self.log_scales = tf.Variable(tf.zeros([channels]), name="log_scales")

    def parameters(self, shape):
        """Logits, means and log scales, float32 `[..., 3C]`, of latents of `shape` `[..., C]`."""
        scales = tf.broadcast_to(self.log_scales, shape)
        return tf.concat([tf.zeros_like(scales), tf.zeros_like(scales), scales], -1)
