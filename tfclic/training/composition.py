"""How the weights of a codec are put together, as its entropy model's program tells.

One more runner of programs (see `tfclic.entropy.program`): it computes nothing, and follows the
channels of every value.
"""

import tensorflow as tf

from tfclic.layers import Composite, Floats, layers_of


class Channels:
    """A value of a program, as `Composition` knows it.

    Args:
      sizes: how many channels each of its parts has.
      layer: which makes it; None: it is joined from others, or coded.
    """

    def __init__(self, sizes, layer=None):
        self.sizes, self.layer = tuple(sizes), layer

    def __add__(self, _):
        return self


class Composition(Floats):
    """Notes how the axes of weights are put together.

    Attributes:
      axes: list of `(variable, {axis: sizes})`.
      latents: channels of each stream of latents.
    """

    stage = None

    def __init__(self):
        self.axes, self.latents = [], []

    def run(self, network, *values, hidden_bits=None):
        if isinstance(network, Composite):
            return network.compose(self, *values)
        (value,) = values
        first, *_, last = 2 * layers_of(network)
        if len(value.sizes) > 1:
            self._note(first.weights[:1], -2, value.sizes)
        return Channels([last.weights[-1].shape[-1] // getattr(last, "factor", 1) ** 2], last)

    def concat(self, *values):
        return Channels(size for value in values for size in value.sizes)

    def tabulated(self, function, value, limit):
        return value

    def independent(self, name, prior, stride=1):
        """As `program.Rounding.independent`."""
        return Channels(prior.prob(tf.zeros([1, 1])).shape[1:])

    def gained(self, name, prior, gain):
        """As `program.Rounding.gained`."""
        return self._coded(gain(tf.zeros([1])).shape[-1], 1)

    def conditional(self, name, channels, parameters, mixtures=1, kinds=2, stride=1, **kind):
        """As `program.Rounding.conditional`."""
        if kind.get("context") is not None:
            parameters = parameters(Channels([kind["context"].filters]))
        values = parameters if isinstance(parameters, tuple) else [parameters]
        for value in values:
            self._note(
                value.layer.weights[-2:], -1, (channels,) * (mixtures * kinds // len(values))
            )
        return self._coded(channels, stride)

    def refined(self, value, network, *inputs):
        """As `program.Rounding.refined`."""
        self.run(network, *inputs, value)
        return value

    def helped(self, make):
        """As `program.Rounding.helped`: nothing."""

    def of_transforms(self, codec):
        """Notes how the weights of a `models.transforms.TransformCodec` meet the latents.

        Of other layers than convolutions, such as attention at the latents, nothing is known.
        """
        if len(self.latents) < 2:
            return
        last = layers_of(codec.nonlinear_analysis)[::-1]
        self._note(_of_convolution(last), -1, self.latents)
        after = [codec.nonlinear_synthesis]
        after += [codec.hyper_analysis] if hasattr(codec, "hyper_analysis") else []
        for network in after:
            self._note(_of_convolution(layers_of(network))[:1], -2, self.latents)
        self._note(codec.gain.weights, -1, self.latents)
        if codec.config.block_transform:
            self._note(codec.block_analysis.weights, -1, self.latents)
            self._note(codec.block_synthesis.weights, -2, self.latents)

    def _coded(self, channels, stride):
        if stride == 1:
            self.latents.append(channels)
        return Channels([channels])

    def _note(self, variables, axis, sizes):
        self.axes += [(v, {len(v.shape) + axis: tuple(sizes)}) for v in variables]


def _of_convolution(layers):
    """The weights of the first of the layers that has any, if it is a convolution."""
    first = next(layer for layer in layers if layer.weights)
    conv = getattr(first, "conv", first)
    return conv.weights if hasattr(conv, "kernel") else []
