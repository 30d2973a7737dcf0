"""Streams, the nodes of a program, in exact integers: how each kind of them is coded.

`Independent` and `Gained` streams have tables of their own; those of `Conditional` ones follow from
networks.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from tfclic.entropy import active, coders, factorized, lazy, lowering, mixture, wavefront
from tfclic.entropy import integer_mixture as im
from tfclic.exact import compilation, fixed_point, rounding
from tfclic.format.latents import HYPER_STRIDE

if TYPE_CHECKING:
    from tfclic.entropy.coders import Coder, State
    from tfclic.entropy.integer_mixture import AnyDistribution
    from tfclic.entropy.networks import Networks
    from tfclic.entropy.program import Gain, Prior
    from tfclic.layers import MaskedConv2D, MaskedConv3D

SIDE_LIMIT = 127  # of streams whose elements are independent
LATENT_LIMIT = 256
SIDE_STRIDE = HYPER_STRIDE  # of what streams of side information are joined to
# where latents are known: enough that elements, not operations, take the time
WAVEFRONTS_TOGETHER = 32
# where parameters of all positions are wanted, which take several times their memory to compute
POSITIONS_TOGETHER = 1024
# of a gained stream, from one trained quality to the next; gains are within some 5 % of the nearest
LEVELS_BETWEEN = 4
# of the values of streams that are coded about their means: so networks take them as activations
VALUE_STEP = 1 << fixed_point.ACTIVATION_BITS
MEAN_STEP = VALUE_STEP >> im.MEAN_BITS
# with symbols up to 256 and refinements, such values stay within the 16 bits of activations
MEAN_LIMIT = -mixture.LATENT_MIN << im.MEAN_BITS
UNITS = 2.0**im.LOGIT_BITS, 2.0**im.MEAN_BITS, 1 / mixture.SCALE_STEP
LOWEST = 0.0, 0.0, np.log(mixture.SCALE_MIN)


class Independent(tf.Module):
    """A stream whose elements have a distribution for each channel: a table.

    Args:
      prior: has `prob`, and `fit`, its inverse as far as there is one.
      stride: latents to an element, each way.
    """

    def __init__(self, prior: Prior, stride: int, name: str) -> None:
        super().__init__(name=name)
        self.stride, self._prior = stride, lambda: prior
        values = tf.range(-SIDE_LIMIT, SIDE_LIMIT + 1, dtype=tf.float32)[:, None]
        # differences of a cumulative function may be below 0 by its last bit
        masses = tf.maximum(tf.transpose(prior.prob(values)), 0)
        cdf = tfc.pmf_to_quantized_cdf(masses, coders.PRECISION).numpy()
        # no row has an escape code (see `tfclic.entropy.coders`), hence every value is in the table
        table = np.pad(cdf, [(0, 0), (1, 0)], constant_values=coders.PRECISION)
        self.table = tf.Variable(table, trainable=False, name="table")
        self.channels = len(table)
        self.extra_bits = 0.0

    @property
    def least_cost(self) -> int:
        """The least that a position of the joined streams takes, 2**-16 bits."""
        cost = coders.least_cost(np.diff(self.table.numpy()[:, 1:]).max(1)).numpy().sum()
        return int(cost) * (SIDE_STRIDE // self.stride) ** 2

    def restore(self) -> list[tf.Variable]:
        """Fits the prior to the table; returns its variables."""
        masses = np.diff(self.table.numpy()[:, 1:]) / 2.0**coders.PRECISION
        return self._prior().fit(masses.T.astype(np.float32), -SIDE_LIMIT)

    def code(
        self, coder: Coder, state: State, values: tf.Tensor, first_row: int
    ) -> tuple[State, tf.Tensor]:
        """Codes integers `[h, w, C]`, all channels of a position together."""
        shape = tf.shape(values)
        rows = tf.tile(first_row + tf.range(self.channels), [shape[0] * shape[1]])
        symbols = tf.cast(tf.reshape(values, [-1]), tf.int32) + SIDE_LIMIT
        state, symbols = coder.symbols(state, rows, symbols)
        return state, tf.reshape(tf.cast(symbols - SIDE_LIMIT, tf.float32), shape)

    def bits(self, values: tf.Tensor) -> tf.Tensor:
        """What each of integers `[h, w, C]` costs."""
        index = tf.cast(values, tf.int32) + SIDE_LIMIT + 1
        channels = tf.broadcast_to(tf.range(self.channels), tf.shape(index))
        above, below = (
            tf.gather_nd(self.table, tf.stack([channels, index + i], -1)) for i in (1, 0)
        )
        share = tf.cast(above - below, tf.float32) / 2.0**coders.PRECISION
        return -tf.math.log(share) / math.log(2.0)


class Gained(tf.Module):
    """A stream whose distributions depend on a gain, and so on the quality.

    It begins with a *level*, the number of one of S sets of distributions, made for qualities from
    0 to 100 in equal steps; the writer takes that with the fewest bits.

    Args:
      prior: a `factorized.FactorizedPrior`.
      gain: function of qualities `[n]` to gains `[n, 1, 1, C]`.
      qualities: how many are trained.
    """

    def __init__(
        self, prior: factorized.FactorizedPrior, gain: Gain, qualities: int, name: str
    ) -> None:
        super().__init__(name=name)
        self.stride = 1
        self.levels = LEVELS_BETWEEN * (qualities - 1) + 1
        gains = gain(tf.linspace(0.0, 100.0, self.levels))[:, 0, 0]
        self.channels = gains.shape[1]
        masses, centres, spreads = prior.tables(gains)
        self.masses = tf.Variable(masses, trainable=False, name="masses")
        self.centres = tf.Variable(centres, trainable=False, name="centres")
        self.spreads = tf.Variable(spreads, trainable=False, name="spreads")
        ends = np.arange(self.levels + 1) * (1 << coders.PRECISION) // self.levels
        self.table = np.array([[coders.PRECISION, *ends]], np.int32)
        self.extra_bits = math.log2(self.levels)
        self.least_cost = SIDE_STRIDE**2 * self.channels * least_decision()

    def restore(self) -> list[tf.Variable]:
        """Nothing: the prior cannot be told from its tables."""
        return []

    def code(
        self, coder: Coder, state: State, latents: tf.Tensor, first_row: int, known: bool
    ) -> tuple[State, tf.Tensor]:
        """Codes the level, and latents `[h, w, C]`; `known`, whether they are."""
        row = tf.fill([1], first_row)
        state, level = coder.symbols(state, row, self.best_level(latents) if known else row)

        def distribution_at(_: tf.Tensor, chosen: tf.Tensor) -> AnyDistribution:
            rows = self._rows(level, tf.size(chosen))
            return factorized.distribution(rows, self.masses, self.centres, self.spreads)

        order = wavefront.raster_order(tf.shape(latents)[0], tf.shape(latents)[1])
        return wavefront.traverse(coder, state, latents, distribution_at, order)

    def bits(self, known: tf.Tensor, candidates: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """What each latent of the candidates costs, at the level that is best for `known`."""
        rows = self._rows(self.best_level(known), tf.size(known) // self.channels)
        table, found = tf.reshape(self._bits(), [-1, im.SYMBOLS]), []
        for latents in candidates:
            symbols = tf.reshape(tf.cast(latents, tf.int32), [-1]) - mixture.LATENT_MIN
            bits = tf.gather_nd(table, tf.stack([rows, symbols], -1))
            found.append(tf.reshape(bits, tf.shape(known)))
        return found

    def best_level(self, latents: tf.Tensor) -> tf.Tensor:
        """The level, int32 `[1]`, at which latents `[h, w, C]` take the fewest bits."""
        symbols = tf.reshape(tf.cast(latents, tf.int32), [-1, self.channels]) - mixture.LATENT_MIN
        kinds = symbols + tf.range(self.channels) * im.SYMBOLS
        count = self.channels * im.SYMBOLS
        counts = tf.math.bincount(tf.reshape(kinds, [-1]), minlength=count, maxlength=count)
        counts = tf.reshape(tf.cast(counts, tf.float32), [self.channels, im.SYMBOLS])
        totals = tf.reduce_sum(self._bits() * counts, [1, 2])
        return tf.argmin(totals, output_type=tf.int32)[None]

    def _bits(self) -> tf.Tensor:
        """Bits of each symbol, float32 `[S, C, 512]`."""
        shares = tf.cast(self.masses[:, 1:] - self.masses[:, :-1], tf.float32)
        total = tf.cast(self.masses[:, -1:], tf.float32)
        bits = tf.math.log(total / shares) / math.log(2.0)
        return tf.reshape(bits, [self.levels, self.channels, im.SYMBOLS])

    def _rows(self, level: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
        return tf.tile(level * self.channels + tf.range(self.channels), [positions])


def least_decision() -> int:
    """The least that an element takes which is coded by decisions, 2**-16 bits."""
    # a latent takes one decision at least, of a probability of 4095 / 4096 at most
    return int(coders.least_cost(((1 << coders.DECISION_BITS) - 1) << 4).numpy())


class Conditional:
    """A stream of Gaussians, or mixtures, in one run of the program; its networks are elsewhere.

    Args:
      networks: `networks.Networks`.
      grid: its `lazy.Grid`.
      shared: dict, the same for all streams of the run.
      channels, parameters, mixtures, num_parameters, context, around_mean: as
        `float_runners.Rounding.conditional` has them.
    """

    def __init__(
        self,
        networks: Networks,
        grid: lazy.Grid,
        shared: dict[int, tf.Tensor],
        channels: int,
        parameters: Any,
        mixtures: int = 1,
        num_parameters: int = 2,
        context: MaskedConv2D | MaskedConv3D | None = None,
        around_mean: bool = False,
    ) -> None:
        im.check_mixtures(mixtures)
        self.channels, self.mixtures, self.num_parameters = channels, mixtures, num_parameters
        self.context, self.grid, self._shared = context, grid, shared
        if context is not None:
            itself = lazy.Known(None, lowering.integers(LATENT_LIMIT), grid)
            parameters = parameters(networks.applied(context, itself, lowering.ACTIVATIONS))
        self.is_volume = context is not None and context.is_volume
        self._volumes: list[tuple[lowering.Used | None, wavefront.Order]] = []
        self.means: lazy.Value | None = None
        if around_mean:
            means, parameters = parameters
            grids = rounding.Grids(UNITS[1], LOWEST[1])
            self.means = means.on(lowering.Form(0, MEAN_LIMIT, grids))
            self.num_parameters = 1
        count = mixtures * (1 if self.is_volume else channels)
        ends = (np.repeat(x[-self.num_parameters :], count) for x in (UNITS, LOWEST))
        form = lowering.Form(0, fixed_point.ACTIVATION_LIMIT, rounding.Grids(*ends))
        self.columns = self.num_parameters * count
        self.parameters: lazy.Value = parameters.on(form)

    @property
    def order(self) -> wavefront.Order:
        """The `wavefront.Order` of positions, that of rows without a context."""
        return self.order_of(None)

    def order_of(self, used: lowering.Used | None) -> wavefront.Order:
        """The same; of a volume it is of the values of the channels in use, all if it is None."""
        if self.context is None:
            return self.grid.once("rows", wavefront.raster_order)
        mask = self.context.mask
        if self.is_volume:
            for known, order in self._volumes:
                if known is used:
                    return order
            numbers = tf.range(self.channels) if used is None else used.numbers
            order = wavefront.volume_order(*self.grid.size, numbers, self.channels, mask)
            self._volumes.append((used, order))
            return order
        return self.grid.once(
            mask.tobytes(), lambda height, width: wavefront.order(height, width, mask)
        )

    @property
    def table(self) -> tf.Tensor:
        """`integer_mixture.normal_table`."""
        if self.mixtures not in self._shared:
            self._shared[self.mixtures] = im.normal_table(self.mixtures)
        return self._shared[self.mixtures]

    def _arranged(self, symbols: tf.Tensor, used: lowering.Used | None = None) -> tf.Tensor:
        """Symbols `[h, w, n]` in the order of coding, `[P + 1, n]`; `[P, n]` without a context."""
        if self.is_volume:
            return wavefront.arrange(wavefront.as_volume(symbols), self.order_of(used))
        if self.context is None:
            return tf.reshape(symbols, [-1, symbols.shape[2] or tf.shape(symbols)[2]])
        return wavefront.arrange(symbols, self.order)

    @functools.cached_property
    def mean_values(self) -> tf.Tensor:
        """Means in steps of values, float32 `[h, w, C]`; 0 if symbols are the values."""
        return self.means.whole() * MEAN_STEP if self.means else 0.0

    def symbols_of(self, values: tf.Tensor) -> tf.Tensor:
        """The symbols of values as a decoder has them."""
        if not self.means:
            return values
        return tf.floor((values - self.mean_values) / VALUE_STEP + 0.5)

    def value_of(self, symbols: tf.Tensor | None) -> lazy.Known:
        """The `lazy.Value` that a decoder makes of symbols."""
        form = lowering.ACTIVATIONS if self.means else lowering.integers(LATENT_LIMIT)
        if self.means and symbols is not None:
            symbols = symbols * VALUE_STEP + self.mean_values
        return lazy.Known(symbols, form, self.grid)

    def differences(self, latents: tf.Tensor) -> tf.Tensor:
        """Float latents as differences from means."""
        return latents - self.mean_values / VALUE_STEP

    def rows(self, used: lowering.Used | None) -> lowering.Rows:
        """A function of `(known, chosen)` to parameters `[n, 3 * K * C]`, see `Value.at`."""
        order = None if self.context is None else self.order_of(used)
        chosen = None if self.is_volume else used
        found = self.parameters.at(order, chosen, chosen)
        return lambda known, chosen: mixture.completed(found(known, chosen), self.num_parameters)

    def code(
        self,
        coder: Coder,
        state: State,
        symbols: tf.Tensor,
        used: lowering.Used | None,
        known: bool,
    ) -> tuple[State, tf.Tensor]:
        """Codes symbols `[h, w, n]` of the `lowering.Used` channels, all of them if it is None."""
        rows, table = self.rows(used), self.table

        def distribution_at(latents: tf.Tensor, chosen: tf.Tensor) -> AnyDistribution:
            return im.distribution_of_rows(rows(latents, chosen), self.mixtures, table)

        together = WAVEFRONTS_TOGETHER if known and self.context is not None else 1
        arguments = distribution_at, self.order_of(used), together
        if not self.is_volume:
            return wavefront.traverse(coder, state, symbols, *arguments)
        volume = wavefront.as_volume(symbols)
        state, values = wavefront.traverse(coder, state, volume, *arguments)
        return state, wavefront.from_volume(tf.reshape(values, [-1]), symbols)

    def tell(self, parameters: tf.Tensor) -> None:
        """Takes parameters `[h, w, columns]`, as `told` gives them, for those of the networks."""
        self.parameters = lazy.Known(parameters, self.parameters.form, self.grid)

    def told(self, rows: tf.Tensor, used: lowering.Used) -> tf.Tensor:
        """Parameters of all positions, of `all_rows`, as `[h, w, columns]`; of others 0.

        They are those of a stream without a context, whose rows follow the positions.
        """
        kinds, count = self.columns // self.channels, tf.size(used.numbers)
        # what is missing comes first
        planes = tf.reshape(rows[:, -kinds * count :], [*self.grid.size, kinds, count])
        found = active.everywhere(planes, used.numbers, self.channels)
        return tf.reshape(found, [*self.grid.size, self.columns])

    def all_rows(self, known: tf.Tensor, used: lowering.Used | None = None) -> tf.Tensor:
        """The parameters of all positions in the order of coding, of known symbols `[h, w, n]`."""
        rows, arranged = self.rows(used), self._arranged(known, used)
        if self.context is None or self.is_volume:
            # parameters of a volume's values are few: as many bands as that would only take time
            return rows(arranged, None)
        count = tf.size(self.order.rank)
        bands = -(-count // POSITIONS_TOGETHER)

        @compilation.uncompiled
        def add(number: tf.Tensor, found: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            start = number * POSITIONS_TOGETHER
            chosen = tf.range(start, tf.minimum(start + POSITIONS_TOGETHER, count))
            return number + 1, found.write(number, rows(arranged, chosen))

        found = tf.TensorArray(tf.float32, bands, element_shape=[None, None], infer_shape=False)
        unfinished = compilation.uncompiled(lambda number, _: number < bands)
        return tf.while_loop(unfinished, add, [0, found], parallel_iterations=1)[1].concat()

    def bits(
        self,
        rows: tf.Tensor,
        candidates: Sequence[tf.Tensor],
        used: lowering.Used | None = None,
    ) -> list[tf.Tensor]:
        """What each symbol of the candidates, `[h, w, n]` each, would cost; `used` as there.

        There are one or two, as for `integer_mixture.bits`.
        """
        dist = im.distribution_of_rows(rows, self.mixtures, self.table)
        arranged = (self._arranged(each, used)[: tf.shape(rows)[0]] for each in candidates)
        found = im.bits(dist, [tf.cast(tf.reshape(each, [-1]), tf.int32) for each in arranged])
        return [self.in_place(bits, like, used) for bits, like in zip(found, candidates)]

    def in_place(
        self, elements: tf.Tensor, like: tf.Tensor, used: lowering.Used | None = None
    ) -> tf.Tensor:
        """Elements `[P * C, ...]` in the order of coding as `[h, w, C, ...]`."""
        if self.is_volume:
            return wavefront.from_volume(tf.gather(elements, self.order_of(used).rank), like)
        shape = tf.shape(like)
        if self.context is not None:
            positions = [shape[0] * shape[1], shape[2], *elements.shape[1:]]
            elements = tf.gather(tf.reshape(elements, positions), self.order.rank)
            elements = tf.reshape(elements, [-1, *elements.shape[2:]])
        return tf.reshape(elements, tf.concat([shape, elements.shape[1:]], 0))
