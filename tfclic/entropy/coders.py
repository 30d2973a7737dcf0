"""Three coders behind one interface: count bits, encode, or decode.

Whatever walks latents asks a coder for each group of binary decisions or table symbols. The coder's
state is a tensor that goes in and comes out, so that the walk can be a `tf.while_loop`.

- `decide(state, probability, truth) -> (state, outcome)`: binary decisions `[n]`.
- `symbols(state, row, value) -> (state, value)`: integers `[n]` by rows of a table.

A coder that knows the latents returns what it was given (`truth`, `value`); the decoder ignores
what it was given and returns what it reads.

One table set serves a whole stream: first the Bernoulli distributions of the decisions, then the
rows of whatever table the model adds (its hyper latents).
"""

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

DECISION_BITS = 12  # probabilities of decisions are k / 4096, k = 1..4095
_PRECISION = 16


def decision_table():
    """int32 `[4095 * 4]`: a row (precision, 0, 2**16 - P(1), 2**16) for each probability."""
    ones = np.arange(1, 1 << DECISION_BITS) << (_PRECISION - DECISION_BITS)
    full = np.full_like(ones, 1 << _PRECISION)
    rows = [np.full_like(ones, _PRECISION), np.zeros_like(ones), full - ones, full]
    return np.stack(rows, 1).reshape(-1).astype(np.int32)


DECISION_ROWS = (1 << DECISION_BITS) - 1


class RangeEncoder:
    """Writes into one range-coder string.

    Args:
      table: int32, rows that follow the decisions' own, as TFC's range coder takes them.
    """

    def __init__(self, table):
        self.lookup = tf.concat([decision_table(), table], 0)

    def start(self):
        """A fresh state."""
        return tfc.create_range_encoder([], self.lookup)

    def decide(self, state, probability, truth):
        """Encodes bools `truth` `[n]`, P(true) = `probability` / 4096 (int32 `[n]`)."""
        value = tf.cast(truth, tf.int32)
        return tfc.entropy_encode_index(state, probability - 1, value), truth

    def symbols(self, state, row, value):
        """Encodes integers `value` (int32 `[n]`) by rows `row` of the added table."""
        return tfc.entropy_encode_index(state, row + DECISION_ROWS, value), value

    def finish(self, state):
        """The string, of rank 0."""
        return tfc.entropy_encode_finalize(state)


class RangeDecoder:
    """Reads one range-coder string; otherwise like `RangeEncoder`.

    Args:
      table: the encoder's.
      string: of rank 0.
    """

    def __init__(self, table, string):
        self.lookup = tf.concat([decision_table(), table], 0)
        self.string = string

    def start(self):
        """A fresh state, before the first symbol."""
        return tfc.create_range_decoder(self.string, self.lookup)

    def decide(self, state, probability, truth):
        """Decodes decisions, bool `[n]`."""
        state, value = tfc.entropy_decode_index(state, probability - 1, tf.shape(truth), tf.int32)
        return state, value > 0

    def symbols(self, state, row, value):
        """Decodes integers, int32 `[n]`."""
        return tfc.entropy_decode_index(state, row + DECISION_ROWS, tf.shape(value), tf.int32)

    def finish(self, state):
        """Whether the end looks sane; a weak check, the file's checksum is the real one."""
        return tfc.entropy_decode_finalize(state)


class BitCounter:
    """Counts the bits that `RangeEncoder` would write; the state is a float32 count.

    Table symbols are not counted: their model has its own likelihood.
    """

    def start(self):
        """Zero bits."""
        return tf.zeros([])

    def decide(self, state, probability, truth):
        """Adds the information content of `truth`."""
        share = tf.cast(probability, tf.float32) / (1 << DECISION_BITS)
        nats = -tf.reduce_sum(tf.math.log(tf.where(truth, share, 1 - share)))
        return state + nats / tf.math.log(2.0), truth

    def symbols(self, state, row, value):
        """Passes `value` on."""
        return state, value

    def finish(self, state):
        """The count."""
        return state
