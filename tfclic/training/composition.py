"""How the weights of a codec are put together, as its entropy model's program tells.

One more runner of programs (see `tfclic.entropy.program`): it computes nothing, and follows the
channels of every value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfclic.layers import Composite, Floats, NAFBlock, layers_of

if TYPE_CHECKING:
    from tfclic.models.base import ImageCodec


class Channels:
    """A value of a program, as `Composition` knows it.

    Args:
      sizes: how many channels each of its parts has.
      layer: which makes it; None: it is joined from others, or coded.
    """

    def __init__(self, sizes: Iterable[int], layer: tf.keras.layers.Layer | None = None) -> None:
        self.sizes, self.layer = tuple(sizes), layer

    def __add__(self, _: object) -> Channels:
        return self


class Composition(Floats):
    """Notes how the axes of weights are put together.

    Attributes:
      axes: list of `(variable, {axis: sizes})`.
      latents: channels of each stream of latents.
    """

    def __init__(self) -> None:
        self.axes: list[tuple[tf.Variable, dict[int, tuple[int, ...]]]] = []
        self.latents: list[int] = []

    def run(
        self, network: tf.Module, *values: Channels, hidden_bits: int | None = None
    ) -> Channels:
        if isinstance(network, Composite) and not isinstance(network, NAFBlock):
            return network.compose(self, *values)
        (value,) = values
        layers = layers_of(network)
        last = layers[-1]
        if len(value.sizes) > 1:
            self._note(layers[0].weights[:1], -2, value.sizes)
        return Channels([last.weights[-1].shape[-1] // getattr(last, "factor", 1) ** 2], last)

    def concat(self, *values: Channels) -> Channels:
        return Channels(size for value in values for size in value.sizes)

    def tabulated(
        self, function: Callable[[tf.Tensor], tf.Tensor], value: Channels, limit: float
    ) -> Channels:
        return value

    def independent(self, name: str, prior: Any, stride: int = 1) -> Channels:
        """As `float_runners.Rounding.independent`."""
        return Channels(prior.prob(tf.zeros([1, 1])).shape[1:])

    def gained(self, name: str, prior: Any, gain: Callable[[tf.Tensor], tf.Tensor]) -> Channels:
        """As `float_runners.Rounding.gained`."""
        return self._coded(gain(tf.zeros([1])).shape[-1], 1)

    def conditional(
        self,
        name: str,
        channels: int,
        parameters: Any,
        mixtures: int = 1,
        num_parameters: int = 2,
        stride: int = 1,
        **kind: Any,
    ) -> Channels:
        """As `float_runners.Rounding.conditional`."""
        each = channels
        if kind.get("context") is not None:
            parameters = parameters(Channels([kind["context"].filters]))
            each = 1 if kind["context"].is_volume else channels
        values = parameters if isinstance(parameters, tuple) else [parameters]
        for value in values:
            parts = (each,) * (mixtures * num_parameters // len(values))
            self._note(value.layer.weights[-2:], -1, parts)
        return self._coded(channels, stride)

    def refined(self, value: Channels, network: tf.Module, *inputs: Channels) -> Channels:
        """As `float_runners.Rounding.refined`."""
        self.run(network, *inputs, value)
        return value

    def add_losses(self, make: Callable[[Any], Any]) -> None:
        """As `float_runners.Rounding.add_losses`: nothing."""

    def of_transforms(self, codec: ImageCodec) -> None:
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
        self._note([*codec.gain.weights, codec.activity], -1, self.latents)
        if codec.config.block_transform:
            self._note(codec.block_analysis.weights, -1, self.latents)
            self._note(codec.block_synthesis.weights, -2, self.latents)

    def _coded(self, channels: int, stride: int) -> Channels:
        if stride == 1:
            self.latents.append(channels)
        return Channels([channels])

    def _note(self, variables: Iterable[tf.Variable], axis: int, sizes: Iterable[int]) -> None:
        self.axes += [(v, {len(v.shape) + axis: tuple(sizes)}) for v in variables]


def _of_convolution(layers: Iterable[tf.keras.layers.Layer]) -> list[tf.Variable]:
    """The weights of the first of the layers that has any, if it is a convolution."""
    first = next(layer for layer in layers if layer.weights)
    conv = getattr(first, "conv", first)
    return conv.weights if hasattr(conv, "kernel") else []
