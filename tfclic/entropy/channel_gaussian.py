"""Zero-mean Gaussians with a scale for each channel."""

import tensorflow as tf

# scales have a long way to go, by an optimizer whose steps are those of the networks' weights
SPEED = 10.0


class ChannelGaussian(tf.Module):
    """Parameters of a `GaussianMixture` of one Gaussian that depend on the channel alone.

    Args:
      channels: C.
    """

    def __init__(self, channels, name="channel_gaussian"):
        super().__init__(name=name)
        self.slow_log_scales = tf.Variable(tf.zeros([channels]), name="slow_log_scales")

    @property
    def log_scales(self):
        """float32 `[C]`, natural logarithms."""
        return SPEED * self.slow_log_scales

    def assign(self, log_scales):
        """Sets the logarithms, `[C]`."""
        self.slow_log_scales.assign(tf.convert_to_tensor(log_scales) / SPEED)

    def parameters(self, shape):
        """Logits, means and log scales, float32 `[..., 3C]`, of latents of `shape` `[..., C]`."""
        scales = tf.broadcast_to(self.log_scales, shape)
        return tf.concat([tf.zeros_like(scales), tf.zeros_like(scales), scales], -1)
