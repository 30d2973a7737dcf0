"""A symbol as a few binary decisions, so that a static table can code any distribution.

"At the centre of its distribution or not; if not, above or below; then steps that double, starting
at the spread; then halving." Each decision's probability is a ratio of two masses of the integer
CDF. Decisions are taken for all elements at once: the first one of every element, then the next one
of those still open, and so on. Which question comes next depends only on earlier answers, so the
decoder asks the same ones.
"""

import collections

import tensorflow as tf

from tfclic.entropy import coders
from tfclic.entropy import integer_mixture as im

_Open = collections.namedtuple(
    "_Open", "element low high mass_low mass_high step galloping rising truth"
)
_Open.__doc__ = """Elements whose symbol is not known yet, n of them.

element: int32 `[n]`, which of the E elements.
low, high: int32 `[n]`, the symbol is in [low, high).
mass_low, mass_high: int32 `[n]`, the CDF at these boundaries.
step: int32 `[n]`, of the next gallop.
galloping: bool `[n]`, still doubling (else halving).
rising: bool `[n]`, the symbol is above the centre.
truth: int32 `[n]`, the symbol, if the coder knows it.
"""


def _probability(part, whole):
    """P(true) = part / whole as int32 1..4095, of 4096."""
    scaled = tf.cast(part, tf.int64) * (1 << coders.DECISION_BITS) // tf.cast(whole, tf.int64)
    return tf.clip_by_value(tf.cast(scaled, tf.int32), 1, (1 << coders.DECISION_BITS) - 1)


def _take(structure, chosen):
    return type(structure)(*(tf.gather(x, chosen) for x in structure))


def code(coder, state, parameters, truth):
    """Codes one symbol for each element.

    Args:
      coder: see `tfclic.entropy.coders`.
      state: the coder's.
      parameters: `IntegerParameters` `[E, K]`.
      truth: int32 `[E]`, the symbols (0..511); anything where the coder is a decoder.

    Returns:
      `(state, symbols)`, int32 `[E]`.
    """
    dist = im.distribution(parameters)
    centre, whole = dist.centre, im.total(dist)
    below, above = im.cumulative(dist, centre), im.cumulative(dist, centre + 1)
    probability = _probability(above - below, whole)
    state, at_centre = coder.decide(state, probability, tf.equal(truth, centre))

    open_ = tf.cast(tf.where(~at_centre)[:, 0], tf.int32)
    centre_, below, above, whole, truth = (
        tf.gather(x, open_) for x in (centre, below, above, whole, truth)
    )
    probability = _probability(whole - above, whole - above + below)
    state, rising = coder.decide(state, probability, truth > centre_)
    elements = _Open(
        element=open_,
        low=tf.where(rising, centre_ + 1, 0),
        high=tf.where(rising, im.SYMBOLS, centre_),
        mass_low=tf.where(rising, above, 0),
        mass_high=tf.where(rising, whole, below),
        step=tf.gather(dist.spread, open_),
        galloping=tf.ones_like(rising),
        rising=rising,
        truth=truth,
    )
    state, symbols = _search(coder, state, dist, elements, centre)
    # only a forged string is above a centre that is the last symbol
    return state, tf.minimum(symbols, im.SYMBOLS - 1)


def _search(coder, state, dist, elements, symbols):
    """Narrows [low, high) of all open elements until one symbol is left in each."""

    def settle(symbols, elements):
        # an interval of one symbol needs no decision
        done = elements.high - elements.low <= 1
        found = tf.where(done)[:, 0]
        index = tf.gather(elements.element, found)[:, None]
        symbols = tf.tensor_scatter_nd_update(symbols, index, tf.gather(elements.low, found))
        return symbols, _take(elements, tf.where(~done)[:, 0])

    def narrow(state, symbols, *fields):
        state, elements = _narrow(coder, state, dist, _Open(*fields))
        symbols, elements = settle(symbols, elements)
        return (state, symbols, *elements)

    symbols, elements = settle(symbols, elements)
    unknown = tf.TensorShape([None])
    scalars = tf.nest.map_structure(lambda x: x.shape, state)
    shapes = [scalars, symbols.shape] + [unknown] * len(_Open._fields)
    state, symbols, *_ = tf.while_loop(
        lambda state, symbols, element, *_: tf.size(element) > 0,
        narrow,
        [state, symbols, *elements],
        shape_invariants=shapes,
    )
    return state, symbols


def _narrow(coder, state, dist, e):
    """One decision for every open element: is the symbol at or above a threshold?"""
    gallop = tf.where(e.rising, e.low + e.step, e.high - e.step)
    # a gallop that would reach the end leaves one symbol there, and halving starts
    inside = tf.where(e.galloping, gallop, (e.low + e.high) // 2)
    threshold = tf.clip_by_value(inside, e.low + 1, e.high - 1)
    mass = im.cumulative(_take(dist, e.element), threshold)
    probability = _probability(e.mass_high - mass, e.mass_high - e.mass_low)
    state, upper = coder.decide(state, probability, e.truth >= threshold)
    return state, e._replace(
        low=tf.where(upper, threshold, e.low),
        high=tf.where(upper, e.high, threshold),
        mass_low=tf.where(upper, mass, e.mass_low),
        mass_high=tf.where(upper, e.mass_high, mass),
        step=tf.minimum(2 * e.step, im.SYMBOLS),
        galloping=e.galloping & tf.equal(upper, e.rising),
    )
