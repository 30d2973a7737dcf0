"""Streams whose distributions follow from what was coded before, in exact integers.

These are the nodes `conditional` of programs (see `tfclic.entropy.program`). Each run of a program
makes them anew; their networks stay (see `tfclic.entropy.networks`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfclic.entropy import active, lazy, lowering, mixture, wavefront
from tfclic.entropy import integer_mixture as im
from tfclic.exact import compilation, fixed_point, rounding

if TYPE_CHECKING:
    from tfclic.entropy.coders import Coder, State
    from tfclic.entropy.integer_mixture import AnyDistribution
    from tfclic.entropy.networks import Networks
    from tfclic.layers import MaskedConv2D, MaskedConv3D

LATENT_LIMIT = 256
# where latents are known: enough that elements, not operations, take the time
WAVEFRONTS_TOGETHER = 32
# where parameters of all positions are wanted, which take several times their memory to compute
POSITIONS_TOGETHER = 1024
# of the values of streams that are coded about their means: so networks take them as activations
VALUE_STEP = 1 << fixed_point.ACTIVATION_BITS
MEAN_STEP = VALUE_STEP >> im.MEAN_BITS
# with symbols up to 256 and refinements, such values stay within the 16 bits of activations
MEAN_LIMIT = -mixture.LATENT_MIN << im.MEAN_BITS
UNITS = 2.0**im.LOGIT_BITS, 2.0**im.MEAN_BITS, 1 / mixture.SCALE_STEP
LOWEST = 0.0, 0.0, np.log(mixture.SCALE_MIN)


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
