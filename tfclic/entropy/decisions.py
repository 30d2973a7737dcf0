"""A symbol as a few binary decisions, so that a static table can code any distribution.

"At the centre of its distribution or not; if not, above or below; then steps that double, starting
at the spread; then halving." Each decision's probability is a ratio of two masses of the integer
CDF. Decisions are taken for all elements at once: the first one of every element, then the next one
of those still open, and so on. Which question comes next depends only on earlier answers, so the
decoder asks the same ones.

There are many rounds on few elements, so what counts is the number of operations: the open elements
are the columns of one matrix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from tfclic.entropy import coders
from tfclic.entropy import integer_mixture as im
from tfclic.exact import compilation

if TYPE_CHECKING:
    from tfclic.entropy.coders import Decider, State
    from tfclic.entropy.integer_mixture import AnyDistribution

# Rows of the matrix of open elements, before the rows of their distributions:
# which element; its symbol is in [low, high); the CDF at both; the next step (negative downwards, 0
# once the gallop has ended); the symbol, if the coder knows it
_FIELDS = ("element", "low", "high", "mass_low", "mass_high", "step", "truth")


def _probability(part: tf.Tensor, whole: tf.Tensor) -> tf.Tensor:
    """P(true) = part / whole as int32 1..4095, of 4096, rounded down."""
    # A quotient of 43 bits by 31 that is not whole is at least 2**-31 below the next whole number;
    # float64 errs by less, and is faster than a division of integers.
    scaled = tf.cast(part, tf.float64) * (1 << coders.DECISION_BITS) / tf.cast(whole, tf.float64)
    limit = (1 << coders.DECISION_BITS) - 1
    return tf.cast(tf.minimum(tf.maximum(scaled, 1), limit), tf.int32)


def code(
    coder: Decider, state: State, dist: AnyDistribution, truth: tf.Tensor
) -> tuple[State, tf.Tensor]:
    """Codes one symbol for each element.

    Args:
      coder: see `tfclic.entropy.coders`.
      state: the coder's.
      dist: `Distribution` of E elements, or another kind with the same `columns`, `mass`, `centre`,
        `spread` and `total`.
      truth: int32 `[E]`, the symbols (0..511); anything where the coder is a decoder.

    Returns:
      `(state, symbols)`, int32 `[E]`.
    """
    below, above = im.cumulative(dist, dist.centre), im.cumulative(dist, dist.centre + 1)
    probability = _probability(above - below, dist.total)
    every = tf.range(tf.size(truth))
    state, at_centre = coder.decide(state, probability, tf.equal(truth, dist.centre), every)

    open_ = tf.cast(tf.where(~at_centre)[:, 0], tf.int32)
    scalars = tf.stack([dist.centre, below, above, dist.total, dist.spread, truth])
    centre, below, above, whole, spread, truth = tf.unstack(tf.gather(scalars, open_, axis=1))
    probability = _probability(whole - above, whole - above + below)
    state, rising = coder.decide(state, probability, truth > centre, open_)
    fields = dict(
        element=open_,
        low=tf.where(rising, centre + 1, 0),
        high=tf.where(rising, im.SYMBOLS, centre),
        mass_low=tf.where(rising, above, 0),
        mass_high=tf.where(rising, whole, below),
        step=tf.where(rising, spread, -spread),
        truth=truth,
    )
    state, symbols = _search(coder, state, tf.stack([fields[name] for name in _FIELDS]), dist)
    # only a forged string is above a centre that is the last symbol
    return state, tf.minimum(symbols, im.SYMBOLS - 1)


def _search(
    coder: Decider, state: State, fields: tf.Tensor, dist: AnyDistribution
) -> tuple[State, tf.Tensor]:
    """Narrows [low, high) of all open elements, `[7, n]`, until one symbol is left in each."""

    def settle(matrix: tf.Tensor, symbols: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # the lower end is the symbol, or will be overwritten when a later round has narrowed it
        element, low, high = tf.unstack(matrix[:3])
        symbols = tf.raw_ops.InplaceUpdate(x=symbols, i=element, v=low)
        return tf.gather(matrix, tf.where(high - low > 1)[:, 0], axis=1), symbols

    @compilation.uncompiled
    def narrow(
        state: State, matrix: tf.Tensor, symbols: tf.Tensor
    ) -> tuple[State, tf.Tensor, tf.Tensor]:
        state, matrix = _narrow(coder, state, matrix, dist)
        return (state, *settle(matrix, symbols))

    # a copy, which is then written in place
    fields, symbols = settle(fields, tf.raw_ops.DeepCopy(x=dist.centre))
    columns = [tf.gather(each, fields[0], axis=1) for each in dist.columns]
    matrix = tf.concat([fields, *columns], 0)
    state, _, symbols = tf.while_loop(
        compilation.uncompiled(lambda state, matrix, symbols: tf.shape(matrix)[1] > 0),
        narrow,
        [state, matrix, symbols],
        shape_invariants=[
            tf.nest.map_structure(lambda x: x.shape, state),
            tf.TensorShape([matrix.shape[0], None]),
            symbols.shape,
        ],
    )
    return state, symbols


def _narrow(
    coder: Decider, state: State, matrix: tf.Tensor, dist: AnyDistribution
) -> tuple[State, tf.Tensor]:
    """One decision for every open element: is the symbol at or above a threshold?"""
    heights = [columns.shape[0] for columns in dist.columns]
    fields, *columns = tf.split(matrix, [len(_FIELDS), *heights])
    element, low, high, mass_low, mass_high, step, truth = tf.unstack(fields)
    rising = step > 0
    # a gallop that would reach the end leaves one symbol there, and halving starts
    gallop = tf.where(rising, low, high) + step
    threshold = tf.where(tf.equal(step, 0), tf.bitwise.right_shift(low + high, 1), gallop)
    threshold = tf.maximum(tf.minimum(threshold, high - 1), low + 1)
    mass = dist.mass(columns, threshold)
    probability = _probability(mass_high - mass, mass_high - mass_low)
    state, upper = coder.decide(state, probability, truth >= threshold, element)
    fields = dict(
        element=element,
        low=tf.where(upper, threshold, low),
        high=tf.where(upper, high, threshold),
        mass_low=tf.where(upper, mass, mass_low),
        mass_high=tf.where(upper, mass_high, mass),
        step=tf.where(tf.equal(upper, rising), 2 * step, 0),
        truth=truth,
    )
    fields = tf.stack([fields[name] for name in _FIELDS])
    return state, tf.concat([fields, *columns], 0)
