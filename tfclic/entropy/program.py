"""Entropy models as programs, and what training and evaluation make of them.

A codec's `entropy(code)` is a program: it says how the parts of what is coded depend on each other,
and nothing of what happens at each of them. That is up to the runner it is given:

| runner | makes of it |
|---|---|
| `float_runners.Rounding` | rounded values and their bits, in floats |
| `float_runners.RDORounding` | the same, of the two integers beside a latent that which is better |
| `float_runners.Training` | the same with noise in the place of rounding, and auxiliary losses |
| `float_runners.Moving` | bits of given integers, and of those beside them |
| `float_runners.Rate` | the bits of given integers, in floats |
| `walking.Walker` | a string, and back, in exact integers |
| `exact_runners.Quantizer` | integers, chosen by rate and distortion |
| `exact_runners.Statistics` | what each element costs, and why |

A program computes with `run`, `concat`, `tabulated` (see `tfclic.layers.Floats`) and sums. Its
*nodes* each name a stream, code its values, and return them as a decoder has them:

- `independent`: elements whose distribution depends on their channel alone;
- `gained`: on their channel, and on a gain, that of the quality;
- `conditional`: Gaussians, or mixtures of them, with parameters that follow from what was coded
  before, and from a context of the stream's own values, if it has one.

Values come from *sources*, a dict of arrays by name: a node has the source of its name, or else the
next channels of `LATENTS`. All sources but `LATENTS` are side information.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import tensorflow as tf
import tensorflow_compression as tfc

from tfclic.entropy import mixture
from tfclic.layers import Operations

if TYPE_CHECKING:
    import numpy as np

    from tfclic.entropy.factorized import FactorizedPrior
    from tfclic.entropy.float_runners import Training
    from tfclic.layers import MaskedConv2D, MaskedConv3D
    from tfclic.layers.composite import Tensors, Value

LATENTS = "latents"
# of errors in rounding by rate and distortion, bits for a squared step (benchmarks/rounding.py)
DISTORTION_WEIGHT = 16.0

Piece = Callable[[Mapping[str, tf.Tensor]], tf.Tensor]
Likelihood = Callable[[tf.Tensor], tf.Tensor]
Costs = Callable[[Sequence[tf.Tensor]], Sequence[tf.Tensor]]
Gain = Callable[[tf.Tensor], tf.Tensor]


class Prior(Protocol):
    """A distribution for each channel."""

    def prob(self, values: tf.Tensor) -> tf.Tensor: ...

    def fit(self, masses: np.ndarray, first: int) -> list[tf.Variable]: ...


class Runner(Operations, Protocol):
    """What a program is given; `float_runners.Rounding` says what its nodes take."""

    def independent(self, name: str, prior: Prior, stride: int = 1) -> Value: ...

    def gained(self, name: str, prior: FactorizedPrior, gain: Gain) -> Value: ...

    def conditional(
        self,
        name: str,
        channels: int,
        parameters: Any,
        *,
        mixtures: int = 1,
        num_parameters: int = 2,
        stride: int = 1,
        context: MaskedConv2D | MaskedConv3D | None = None,
        around_mean: bool = False,
    ) -> Value: ...

    def refined(self, value: Value, network: tf.Module, *inputs: Value) -> Value: ...

    def add_losses(self, make: Callable[[Training], Tensors]) -> None: ...


def round_straight_through(x: tf.Tensor) -> tf.Tensor:
    """Rounds; the gradient passes as if it did not."""
    return x + tf.stop_gradient(tf.round(x) - x)


def bits_of_each(likelihood: tf.Tensor, floor: float = mixture.LIKELIHOOD_FLOOR) -> tf.Tensor:
    """Bits of likelihoods, of their shape, with gradients below the floor."""
    return tf.math.log(tfc.lower_bound(likelihood, floor)) / -math.log(2.0)


def bits(likelihood: tf.Tensor, floor: float = mixture.LIKELIHOOD_FLOOR) -> tf.Tensor:
    """Bits of each image, `[B]`, of likelihoods `[B, h, w, C]`, with gradients below the floor."""
    return tf.reduce_sum(bits_of_each(likelihood, floor), [1, 2, 3])


def clipped(latents: tf.Tensor) -> tf.Tensor:
    """Latents within what can be coded."""
    return tf.clip_by_value(latents, mixture.LATENT_MIN, mixture.LATENT_MAX)


def rdo_quantize(
    latents: tf.Tensor, nearest: tf.Tensor, weight: float | tf.Tensor, bits: Costs
) -> tf.Tensor:
    """Of the two integers beside each latent that with fewer bits + weight * error ** 2.

    Args:
      latents: float32, of any shape.
      nearest: the nearest integers.
      weight: bits that a squared error is worth.
      bits: function of both candidates to what each of them costs.

    Returns:
      float32, integers.
    """
    second = clipped(nearest + tf.where(latents >= nearest, 1.0, -1.0))
    both = nearest, second
    costs = [
        cost + weight * tf.math.squared_difference(latents, each)
        for each, cost in zip(both, bits(both))
    ]
    return tf.where(costs[1] < costs[0], second, nearest)


class Pieces:
    """Finds what belongs to each node in dicts of arrays that are like the sources."""

    def __init__(self) -> None:
        self._used = 0

    def next(self, name: str, channels: int, arrays: Mapping[str, tf.Tensor]) -> Piece:
        """A function of such a dict to the array `[..., channels]` of node `name`.

        Args:
          name: of the node.
          channels: int, of the node.
          arrays: one of the dicts.
        """
        if name in arrays:
            return operator.itemgetter(name)
        start, self._used = self._used, self._used + channels
        return lambda arrays: _channels(arrays[LATENTS], start, channels)


def _channels(array: tf.Tensor, start: int, count: int) -> tf.Tensor:
    # not as a strided slice, whose gradient is slow
    first = [0] * (len(array.shape) - 1)
    return tf.slice(array, [*first, start], [*(-1 for _ in first), count])
