"""What runs programs in floats: see `tfclic.entropy.program`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfclic.entropy import integer_mixture as im
from tfclic.entropy import mixture
from tfclic.entropy.program import (
    DISTORTION_WEIGHT,
    LATENTS,
    Pieces,
    bits,
    bits_of_each,
    clipped,
    rdo_quantize,
    round_straight_through,
)
from tfclic.layers import Floats, uniform_noise

if TYPE_CHECKING:
    from tfclic.entropy.factorized import FactorizedPrior
    from tfclic.entropy.program import Gain, Likelihood, Piece, Prior
    from tfclic.layers import MaskedConv2D, MaskedConv3D
    from tfclic.layers.composite import Tensors


class Rounding(Floats):
    """Rounds to the nearest integers, and counts bits by the float densities.

    Gradients of bits reach parameters, and means as if nothing were rounded.

    Attributes:
      bits: dict from streams to float32 `[B]`.
      y_hat: dict from streams to values as a decoder has them, side information too.
      counts: list of float32 `[B, C]`, of each stream of latents: how many of each channel are not
        zero as they are coded.
      auxiliary_losses: dict of float32 `[B]`, what training minimises beside rate and distortion.

    Args:
      sources: dict of float32 `[B, h, w, C]`.
      quality: float32 `[B]`, 0..100.
      stage: int32 `[]`, from 0, of training that takes several; None: after all of them.
    """

    def __init__(
        self, sources: Tensors, quality: tf.Tensor, stage: tf.Tensor | None = None
    ) -> None:
        self.sources, self.quality, self.stage = sources, quality, stage
        self.bits: Tensors = {}
        self.y_hat: Tensors = {}
        self.auxiliary_losses: Tensors = {}
        self.counts: list[tf.Tensor] = []
        self._pieces = Pieces()

    def independent(self, name: str, prior: Prior, stride: int = 1) -> tf.Tensor:
        """Codes elements whose distribution depends on their channel alone.

        Args:
          name: of the stream.
          prior: has `prob(values)`, likelihoods of integers, or of values with noise.
          stride: latents to an element, each way.
        """
        return self._coded(name, operator.itemgetter(name), prior.prob)

    def gained(self, name: str, prior: FactorizedPrior, gain: Gain) -> tf.Tensor:
        """Codes latents with distributions of channels before a gain.

        Args:
          name: of the stream.
          prior: a `tfclic.entropy.factorized.FactorizedPrior`.
          gain: function of qualities `[n]` to gains `[n, 1, 1, C]`.
        """
        gains = gain(self.quality)
        piece = operator.itemgetter(name)
        return self._coded(name, piece, lambda values: prior.likelihood(values, gains))

    def conditional(
        self,
        name: str,
        channels: int,
        parameters: Any,
        mixtures: int = 1,
        num_parameters: int = 2,
        stride: int = 1,
        context: MaskedConv2D | MaskedConv3D | None = None,
        around_mean: bool = False,
    ) -> tf.Tensor:
        """Codes elements that each follow their own mixture of K Gaussians.

        Args:
          name: of the stream.
          channels: C.
          parameters: a value with `num_parameters * K * C` channels, or a value for each of these;
            with a context, a function of what that makes of the stream to such a value, in which no
            position depends on another one.
          mixtures: K.
          num_parameters: of a Gaussian: 3 if they are logit, mean and log scale, 2 if they are mean
            and log scale, 1 if it is the log scale, the mean being 0.
          stride: latents to an element, each way.
          context: a layer such as `MaskedConv2D`, of the stream's own values; with a
            `MaskedConv3D` parameters, `num_parameters * K` of them, are those of a single value.
          around_mean: whether values are coded as whole differences from their means, K being 1.

        Raises:
          ValueError: K is not among those that integers can hold.
        """
        im.check_mixtures(mixtures)
        piece = self._pieces.next(name, channels, self.sources)
        if context is not None:
            parameters = parameters(context(self._context_input(piece)))
            if context.is_volume:
                parameters = mixture.of_volume(parameters)
        if isinstance(parameters, tuple):
            parameters = tf.concat(parameters, -1)
        parameters = mixture.completed(parameters, num_parameters)
        means = 0.0
        if around_mean:
            _, means, log_scales = tf.split(parameters, mixture.NUM_PARAMETERS, -1)
            parameters = mixture.completed(log_scales, 1)

        def likelihood(values: tf.Tensor) -> tf.Tensor:
            return mixture.likelihood(values, parameters, mixtures)

        return self._coded(name, piece, likelihood, means)

    def refined(self, value: tf.Tensor, network: tf.Module, *inputs: tf.Tensor) -> tf.Tensor:
        """What a decoder makes of the value of the latest node: a network adds to it.

        Args:
          value: as the node returned it.
          network: a layer of `*inputs` and the value.
        """
        return value + self.run(network, *inputs, value)

    def add_losses(self, make: Callable[[Training], Tensors]) -> None:
        """Adds `make(self)`, a dict, to the auxiliary losses, where anyone trains."""

    def _coded(
        self, name: str, piece: Piece, likelihood: Likelihood, means: tf.Tensor = 0.0
    ) -> tf.Tensor:
        counted = self._y_tilde(piece, means)
        self.bits[name] = bits(likelihood(counted))
        if not self._is_side(name):
            self.counts.append(tf.math.count_nonzero(counted, [1, 2], dtype=tf.float32))
        self.y_hat[name] = self._y_hat(piece, means)
        return self.y_hat[name]

    def _is_side(self, name: str) -> bool:
        """Whether a stream is side information, and no part of the latents."""
        return name in self.sources and name != LATENTS

    def _context_input(self, piece: Piece) -> tf.Tensor:
        return tf.round(piece(self.sources))

    def _y_tilde(self, piece: Piece, means: tf.Tensor) -> tf.Tensor:
        """What bits are counted of, without the means; in training with noise."""
        return round_straight_through(piece(self.sources) - means)

    def _y_hat(self, piece: Piece, means: tf.Tensor) -> tf.Tensor:
        return self._y_tilde(piece, means) + means


class RDORounding(Rounding):
    """Rounds latents by rate and distortion, as exports do (`exact_runners.Quantizer`), in floats.

    Probabilities are those that the nearest integers give each other; so this says what is coded,
    and `Rounding` of that what it costs. Channels whose nearest integers are all zero stay so.
    """

    def __init__(
        self, sources: Tensors, quality: tf.Tensor, stage: tf.Tensor | None = None
    ) -> None:
        super().__init__(sources, quality, stage)
        self._integers: list[tf.Tensor] = []
        self._latents: list[tf.Tensor] = []

    def integers(self) -> tf.Tensor:
        """Latents as they were rounded, `[B, h, w, C]`, without the means that they count from."""
        return tf.concat(self._integers, -1)

    def quantized(self) -> Tensors:
        """The sources, with latents as they were rounded, which takes no gradients."""
        latents = tf.concat(self._latents, -1)
        return {**self.sources, LATENTS: tf.stop_gradient(latents)}

    def _coded(
        self, name: str, piece: Piece, likelihood: Likelihood, means: tf.Tensor = 0.0
    ) -> tf.Tensor:
        latents = piece(self.sources) - means
        y_hat = nearest = clipped(tf.round(latents))
        if not self._is_side(name):

            def costs(candidates: Sequence[tf.Tensor]) -> list[tf.Tensor]:
                return [bits_of_each(likelihood(each)) for each in candidates]

            y_hat = rdo_quantize(latents, nearest, DISTORTION_WEIGHT, costs)
            is_silent = tf.reduce_all(tf.equal(nearest, 0), [1, 2], keepdims=True)
            y_hat = tf.where(is_silent, nearest, y_hat)
            self._integers.append(y_hat)
            self._latents.append(y_hat + means)
        self.bits[name] = bits(likelihood(y_hat))
        self.y_hat[name] = y_hat + means
        return self.y_hat[name]


class Training(Rounding):
    """Counts bits of values with noise, and lets gradients through.

    Attributes:
      noisy: the sources with uniform noise.

    Args:
      sources, quality: as for `Rounding`; sources have noise of their own by their order.
      seed: int32 `[2]`, of the noise.
      synthesis_input: "round" or "noise", what networks and the synthesis transform see.
      context_input: likewise, what contexts see.
      stage: as for `Rounding`.
    """

    def __init__(
        self,
        sources: Tensors,
        quality: tf.Tensor,
        seed: tf.Tensor,
        synthesis_input: str = "round",
        context_input: str = "round",
        stage: tf.Tensor | None = None,
    ) -> None:
        super().__init__(sources, quality, stage)
        self._sees_noise = synthesis_input == "noise"
        self._context_sees_noise = context_input == "noise"
        self.noisy = {
            name: exact + uniform_noise(tf.shape(exact), seed, number)
            for number, (name, exact) in enumerate(sources.items(), 1)
        }

    def add_losses(self, make: Callable[[Training], Tensors]) -> None:
        self.auxiliary_losses.update(make(self))

    def _context_input(self, piece: Piece) -> tf.Tensor:
        noisy = self._context_sees_noise
        return piece(self.noisy) if noisy else round_straight_through(piece(self.sources))

    def _y_tilde(self, piece: Piece, means: tf.Tensor) -> tf.Tensor:
        return piece(self.noisy) - means

    def _y_hat(self, piece: Piece, means: tf.Tensor) -> tf.Tensor:
        if self._sees_noise:
            return piece(self.noisy)
        return round_straight_through(piece(self.sources) - means) + means


class _WithoutPriors(Rounding):
    """Counts no bits of side information under priors, of which exports have tables alone."""

    def independent(self, name: str, prior: Prior, stride: int = 1) -> tf.Tensor:
        self.y_hat[name] = tf.round(self.sources[name])
        return self.y_hat[name]


class RDOLatents(_WithoutPriors, RDORounding):
    """As `RDORounding`, for what is made of latents alone."""


class Moving(_WithoutPriors):
    """Counts the bits of integers, and what the next ones below and above would take instead.

    Gradients are those of what follows on an integer: others that are coded after it, and pixels.
    What the integer itself takes is counted for each of the three. Side information is rounded,
    and its bits are left out.

    Attributes:
      changes: list of float32 `[B, h, w, C]` twice, of each stream of latents: by how much its bits
        change where an integer is one less, and where it is one more.
      latents: list of float32 `[B, h, w, C]`: the integers, with the means that they count from.

    Args:
      sources, quality: as for `Rounding`; of latents nothing but how many there are.
      integers: float32 `[B, h, w, C]`, of latents, as `RDORounding.integers` has them.
    """

    def __init__(self, sources: Tensors, quality: tf.Tensor, integers: tf.Tensor) -> None:
        super().__init__({**sources, LATENTS: integers}, quality)
        self.changes: list[tuple[tf.Tensor, ...]] = []
        self.latents: list[tf.Tensor] = []

    def joined_changes(self) -> tuple[tf.Tensor, tf.Tensor]:
        """`changes` of all latents, twice `[B, h, w, C]`."""
        down, up = (tf.concat(each, -1) for each in zip(*self.changes))
        return down, up

    def _coded(
        self, name: str, piece: Piece, likelihood: Likelihood, means: tf.Tensor = 0.0
    ) -> tf.Tensor:
        values = piece(self.sources)
        if self._is_side(name):
            self.y_hat[name] = tf.round(values - means) + means
            return self.y_hat[name]
        own = tf.stop_gradient(values)
        taken = bits_of_each(likelihood(own))
        self.bits[name] = tf.reduce_sum(taken, [1, 2, 3])
        others = [bits_of_each(likelihood(own + step)) for step in (-1.0, 1.0)]
        self.changes.append(tuple(each - taken for each in others))
        self.latents.append(values + means)
        self.y_hat[name] = self.latents[-1]
        return self.y_hat[name]

    def _context_input(self, piece: Piece) -> tf.Tensor:
        return piece(self.sources)


class Rate(Rounding):
    """Counts the bits of what was coded: integers, and latents as the program returned them.

    Where latents are refined, they say how much, so that float networks, which do not agree with
    the exact ones to the last bit, cannot count other symbols than those that were coded: what
    counts is the interval of width one that a coded symbol stands for.

    Args:
      sources: dict of float32 `[B, h, w, C]`, latents as the program returned them.
      quality: float32 `[B]`, 0..100.
      floor: the least likelihood.
    """

    _latest: tuple[str, Piece, Likelihood, tf.Tensor]

    def __init__(self, sources: Tensors, quality: tf.Tensor, floor: float) -> None:
        super().__init__(sources, quality)
        self._floor = floor

    def refined(self, value: tf.Tensor, network: tf.Module, *inputs: tf.Tensor) -> tf.Tensor:
        name, piece, likelihood, means = self._latest
        final = piece(self.sources)
        counted = final - self.run(network, *inputs, value) - means
        self.bits[name] = bits(likelihood(counted), self._floor)
        return final

    def _coded(
        self, name: str, piece: Piece, likelihood: Likelihood, means: tf.Tensor = 0.0
    ) -> tf.Tensor:
        self._latest = name, piece, likelihood, means
        counted = piece(self.sources) - means
        if isinstance(means, tf.Tensor):
            counted = tf.round(counted)
        self.bits[name] = bits(likelihood(counted), self._floor)
        return counted + means
