"""Codecs whose latents depend on hyper latents and, where there is one, on a context."""

import tensorflow as tf

from tfclic.entropy import mixture
from tfclic.entropy.gaussian_mixture import GaussianMixture
from tfclic.models import base
from tfclic.models.conditional_coding import ConditionalCoding
from tfclic.models.hyper import ENTROPY_SLOPE, HyperCodec, leaky_relu

__all__ = ["ENTROPY_SLOPE", "ConditionalCodec", "leaky_relu"]


class ConditionalCodec(HyperCodec):
    """Latents follow Gaussians, or mixtures of them, that networks derive from what is known.

    ```
    hyper_synthesis(hyper latents) -> features
    parameter_network([features, context(latents before)]) -> parameters of the latents
    ```

    Without a parameter network the features are the parameters. A subclass makes `hyper_analysis`
    and `hyper_synthesis` (a `Sequential` of `SubpixelConv2D`) and may make `context` (a
    `MaskedConv2D`) and `parameter_network` (a `Sequential` of `Dense`).

    Args:
      config: as `HyperCodec`, and
        synthesis_input: "noise" (papers) or "round": what the synthesis transform sees in training.
        context_input: likewise, what the context sees of the latents; "noise" if it is missing. A
          decoder gives it integers: of a channel that is silent zeros, where there is noise else.
      mixtures: K, number of Gaussians.
      slope: of the leaky ReLU in the networks that give parameters.
      kinds: 3 if the networks give logits, means and log scales, `[..., 3KN]`; 2 if they give means
        and log scales of a single Gaussian, 1 if its log scales alone: then its mean is 0.
      **transforms: as `TransformCodec`.
    """

    def __init__(self, config, mixtures=1, kinds=3, slope=ENTROPY_SLOPE, **transforms):
        super().__init__(config, **transforms)
        self.kinds, self.slope = kinds, slope
        # not as attributes of the class: Keras would not track what replaces them
        self.context = self.parameter_network = None
        self.mixture = GaussianMixture(mixtures)

    def entropy(self, latents, quality, seed, training):
        """`base.Coded` of latents `[B, h, w, N]`: quantised, with their bits and the side's."""
        hyper, seen, hyper_bits = self.coded_hyper_latents(latents, seed, training)
        if training:
            noisy = latents + base.uniform_noise(tf.shape(latents), seed, 2)
        else:
            noisy = tf.round(latents)
        if self.config.synthesis_input == "noise":
            seen = hyper
        rounded = base.round_straight_through(latents)
        rounds_context = self.config.get("context_input", "noise") == "round"
        before = rounded if training and rounds_context else noisy
        parameters = self.parameters(before, self.hyper_synthesis(seen))
        quantised, bits = self.mixture(noisy, parameters, training=training)
        if training and self.config.synthesis_input == "round":
            quantised = rounded
        parts = {"latents": tf.reduce_sum(bits, [1, 2, 3]), "hyper_latents": hyper_bits}
        return base.Coded(quantised, seen, parts)

    def rate(self, latents, hyper_latents, quality, floor):
        """Bits `[B]` of what is coded; see `ImageCodec`."""
        parameters = self.parameters(latents, self.hyper_synthesis(hyper_latents))
        likelihood = tf.maximum(self.mixture.likelihood(latents, parameters), floor)
        parts = tf.math.log(likelihood), self.hyper_prior.log_prob(hyper_latents)
        return -tf.add_n([tf.reduce_sum(x, [1, 2, 3]) for x in parts]) / tf.math.log(2.0)

    def parameters(self, latents, features):
        """Mixture parameters `[B, h, w, 3KN]` of all latents at once."""
        found = features
        if self.context is not None:
            found = tf.concat([features, self.context(latents)], -1)
        if self.parameter_network is not None:
            found = self.parameter_network(found)
        return mixture.completed(found, self.kinds)

    def axes(self):
        """How weights are put together (see `tfclic.training.growing`)."""
        network = self.parameter_network
        last = network.layers[-1] if network else self.hyper_synthesis.layers[-1].conv
        kinds = self.kinds * self.mixture.mixtures
        for variable in last.weights:
            last_axis = len(variable.shape) - 1
            yield variable, {last_axis: (variable.shape[-1] // kinds,) * kinds}
        if network and self.context is not None:
            first, seen = network.layers[0].kernel, self.context.filters
            yield first, {0: (first.shape[0] - seen, seen)}

    def coding(self):
        """The exact integer form of the entropy model, for export."""
        return ConditionalCoding(self, self.slope)
