"""Latents in slices of channels: how many channels each has, and the networks that predict one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tfclic import errors
from tfclic.layers import Composite, NAFBlock, SubpixelConv2D
from tfclic.models.hyper import leaky_relu

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.layers import Operations
    from tfclic.layers.composite import Value
    from tfclic.models.hyper import Activation

# the paper's 1/2, less the smallest step of exact latents: what is added to a latent never reaches
# halfway to the next symbol, so that latents tell which symbols they were made from
RESIDUAL_LIMIT = 31 / 64
TANH_RANGE = 4  # beyond it, tanh is 1 to a part in 1000


def slice_sizes(
    channels: int, count: int, power: float, sizes: Sequence[int] = ()
) -> tuple[int, ...]:
    """How many channels each slice has.

    Args:
      channels: M, of all slices.
      count: number of slices.
      power: k; sizes are proportional to 1, 2**k, 3**k, ... rounded down, and the last slice takes
        what is left. 0 makes them even, a negative number the first ones large.
      sizes: explicit sizes, which `count` and `power` then do not matter for.

    Returns:
      A tuple of positive ints with the sum M.

    Raises:
      errors.UsageError: there is no such schedule.
    """
    if not sizes:
        if count < 1:
            raise errors.UsageError(f"There have to be slices, not {count} of them.")
        shares = np.arange(1, count + 1) ** float(power)
        *first, _ = np.floor(channels * shares / shares.sum() + 1e-9).astype(int).tolist()
        sizes = [*first, channels - sum(first)]
    listed = ", ".join(map(str, sizes))
    if any(size < 1 or size != int(size) for size in sizes):
        raise errors.UsageError(f"Every slice needs a channel; the sizes are {listed}.")
    if sum(sizes) != channels:
        raise errors.UsageError(
            f"The slices' sizes {listed} make {sum(sizes)} channels, not {channels}."
        )
    return tuple(map(int, sizes))


def conv(filters: int, kernel_size: int, activation: Activation = None) -> SubpixelConv2D:
    """A convolution that `tfclic.exact.fixed_point` knows."""
    return SubpixelConv2D(filters, kernel_size, 1, activation=activation)


class EntropyBottleneck(Composite):
    """The transforms' bottleneck block with leaky ReLU: 1x1 C/2, 3x3 C/2, 1x1 C, plus its input.

    It may stand where the paper has NAF blocks in the entropy model: it has an exact integer form.
    """

    def __init__(self, filters: int, name: str | None = None) -> None:
        super().__init__(name=name)
        half = max(filters // 2, 1)
        self.body = [conv(half, 1, leaky_relu), conv(half, 3, leaky_relu), conv(filters, 1)]

    def compose(self, code: Operations, x: Value) -> Value:
        return x + code.in_turn(self.body, x)


BLOCKS = {"bottleneck": EntropyBottleneck, "naf": NAFBlock}


class Support(Composite):
    """What is known of a slice, worked up: `[B, h, w, C] -> [B, h, w, C]`.

    Args:
      channels: C.
      filters: of the blocks in between.
      blocks: how many.
      block: which, of `BLOCKS`.
    """

    def __init__(
        self, channels: int, filters: int, blocks: int, block: str, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.enter = conv(filters, 1)
        self.blocks = [BLOCKS[block](filters) for _ in range(blocks)]
        self.leave = conv(channels, 1)

    def compose(self, code: Operations, x: Value) -> Value:
        x = code.run(self.enter, x)
        return code.run(self.leave, x + code.in_turn(self.blocks, x))


class Stack(Composite):
    """Three 3x3 convolutions with leaky ReLU in between, to a slice."""

    def __init__(self, size: int, widths: Sequence[int], name: str | None = None) -> None:
        super().__init__(name=name)
        self.layers = [*(conv(width, 3, leaky_relu) for width in widths), conv(size, 3)]

    def compose(self, code: Operations, x: Value) -> Value:
        return code.in_turn(self.layers, x)


class Residual(Stack):
    """Latent residual prediction: the support of means, and a slice, to what is added to it."""

    def compose(self, code: Operations, *inputs: Value) -> Value:
        found = super().compose(code, code.concat(*inputs))
        return code.tabulated(bounded_residual, found, TANH_RANGE)


def bounded_residual(x: tf.Tensor) -> tf.Tensor:
    """The paper's tanh(x) / 2, a little less."""
    return RESIDUAL_LIMIT * tf.tanh(x)


class Slice(tf.keras.layers.Layer):
    """The networks of one slice.

    Args:
      config: ConfigDict with `latent_channels`, `slice_widths` and `support_channels`,
        `support_blocks` and `support_block`.
      size: channels of the slice.
      known: channels of the slices that it depends on.
      residual: whether latent residual prediction follows.
    """

    def __init__(
        self,
        config: ConfigDict,
        size: int,
        known: int,
        residual: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.features = config.latent_channels
        channels = self.features + known
        support = config.support_channels, config.support_blocks, config.support_block
        self.mean_support = Support(channels, *support, name="mean_support")
        self.scale_support = Support(channels, *support, name="scale_support")
        self.mean = Stack(size, config.slice_widths, name="mean")
        self.scale = Stack(size, config.slice_widths, name="scale")
        self.residual = Residual(size, config.slice_widths, name="residual") if residual else None

    def parameters(
        self, code: Operations, features: Sequence[Value], known: Sequence[Value]
    ) -> tuple[Value, Value, Value]:
        """Distributions of the slice.

        Args:
          code: a runner (see `tfclic.entropy.program`).
          features: a pair, of the hyper syntheses for means and for scales.
          known: list of the slices it depends on, as decoded.

        Returns:
          `(means, log_scales, support)`: `[B, h, w, size]` each, scales as natural logarithms, and
          the support of the means, for the residual.
        """
        mean_features, scale_features = features
        support = code.run(self.mean_support, code.concat(mean_features, *known))
        scale_support = code.run(self.scale_support, code.concat(scale_features, *known))
        return code.run(self.mean, support), code.run(self.scale, scale_support), support
