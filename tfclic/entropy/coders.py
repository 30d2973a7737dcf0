"""Three coders behind one interface: count bits, encode, or decode.

Whatever walks latents asks a coder for each group of binary decisions or table symbols. The coder's
state is a tensor that goes in and comes out, so that the walk can be a `tf.while_loop`.

- `decide(state, probability, truth, element) -> (state, outcome)`: binary decisions `[n]`, each
  about one of the elements coded together (by number, ascending).
- `symbols(state, row, value) -> (state, value)`: integers `[n]` by rows of a table.
- `exhausted(state)`: whether a decoder has read more than its string can hold, so that going on
  makes no sense; `refuses(state)`: whether that is an error.

A coder that knows the latents returns what it was given (`truth`, `value`); the decoder ignores
what it was given and returns what it reads.

One table set serves a whole stream: first the Bernoulli distributions of the decisions, then the
rows of whatever table the model adds (its hyper latents), int32 `[rows, n + 2]` for n symbols: each
row is the precision 16, and the CDF from 0 to 2**16. TFC also has rows of negative precision, with
an escape code for other values, but reading one from a forged string may never end.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

DECISION_BITS = 12  # probabilities of decisions are k / 4096, k = 1..4095
PRECISION = 16
COST_BITS = 16  # costs of decisions and symbols are in units of 2**-16 bit
# what the range coder writes may be shorter than its last interval asks for, by the zeros that end
# it and are left out; even two bytes more or less make this too few once in 2**96 strings
SPARE_BYTES = 16
NO_TABLE = np.zeros([0, 2], np.int32)

State = Any  # a tensor, or several of them


class Decider(Protocol):
    """A coder of decisions alone; see the module."""

    def decide(
        self, state: State, probability: tf.Tensor, truth: tf.Tensor, element: tf.Tensor
    ) -> tuple[State, tf.Tensor]: ...


class Coder(Decider, Protocol):
    """See the module."""

    def start(self) -> State: ...

    def symbols(
        self, state: State, row: tf.Tensor, value: tf.Tensor
    ) -> tuple[State, tf.Tensor]: ...

    def exhausted(self, state: State) -> tf.Tensor: ...

    def refuses(self, state: State) -> tf.Tensor: ...


def least_cost(mass: tf.Tensor) -> tf.Tensor:
    """The least that coding an event of probability `mass / 2**16` adds to a string.

    The range coder's interval has 2**16 parts or more and its ends are rounded, so that an event
    gets one part more than its share at the most.

    Args:
      mass: int `[...]`, 0..65536.

    Returns:
      int64 `[...]`, in units of 2**-16 bit, rounded down.
    """
    share = tf.minimum((tf.cast(mass, tf.float64) + 1) / (1 << PRECISION), 1)
    return tf.cast(tf.math.log(share) * (-(1 << COST_BITS) / math.log(2)), tf.int64)


def decision_table() -> np.ndarray:
    """int32 `[4095 * 4]`: a row (precision, 0, 2**16 - P(1), 2**16) for each probability."""
    ones = np.arange(1, 1 << DECISION_BITS) << (PRECISION - DECISION_BITS)
    full = np.full_like(ones, 1 << PRECISION)
    rows = [np.full_like(ones, PRECISION), np.zeros_like(ones), full - ones, full]
    return np.stack(rows, 1).reshape(-1).astype(np.int32)


DECISION_ROWS = (1 << DECISION_BITS) - 1


def _lookup(table: tf.Tensor) -> tf.Tensor:
    return tf.concat([decision_table(), tf.reshape(table, [-1])], 0)


class Writer:
    """What coders have in common that are told what there is."""

    def exhausted(self, state: State) -> tf.Tensor:
        """Never."""
        return tf.constant(False)

    refuses = exhausted


class Reader:
    """What decoders have in common, which read on beyond the end of a string.

    There they make up symbols without end. Therefore a state has, as its last part, what the
    symbols so far must have taken, int64 in units of 2**-16 bit.

    Args:
      string: of rank 0.
      strict: bool, whether symbols that cannot have been in it are an error; `finish` tells anyway.
    """

    def __init__(self, string: tf.Tensor, strict: bool | tf.Tensor) -> None:
        self._strict = strict
        # of an event with a probability of k / 4096, by k
        self._costs = least_cost(tf.range(1 << DECISION_BITS) * (1 << (PRECISION - DECISION_BITS)))
        length = tf.cast(tf.strings.length(string) + SPARE_BYTES, tf.int64)
        self._budget = length * (8 << COST_BITS)

    def cost_of_decisions(self, probability: tf.Tensor, truth: tf.Tensor) -> tf.Tensor:
        """What decisions `[n]` must have taken, together."""
        happened = tf.where(truth, probability, (1 << DECISION_BITS) - probability)
        return tf.reduce_sum(tf.gather(self._costs, happened))

    def exhausted(self, state: State) -> tf.Tensor:
        """Whether the symbols so far cannot all have been in the string, a bool."""
        return state[-1] > self._budget

    def refuses(self, state: State) -> tf.Tensor:
        """Whether that is an error, a bool."""
        return self.exhausted(state) & self._strict


class RangeEncoder(Writer):
    """Writes into one range-coder string.

    Args:
      table: int32 `[rows, n + 2]`, the added table.
    """

    def __init__(self, table: tf.Tensor) -> None:
        self.lookup = _lookup(table)

    def start(self) -> State:
        """A fresh state."""
        return tfc.create_range_encoder([], self.lookup)

    def decide(
        self,
        state: State,
        probability: tf.Tensor,
        truth: tf.Tensor,
        element: tf.Tensor | None = None,
    ) -> tuple[State, tf.Tensor]:
        """Encodes bools `truth` `[n]`, P(true) = `probability` / 4096 (int32 `[n]`)."""
        value = tf.cast(truth, tf.int32)
        return tfc.entropy_encode_index(state, probability - 1, value), truth

    def symbols(self, state: State, row: tf.Tensor, value: tf.Tensor) -> tuple[State, tf.Tensor]:
        """Encodes integers `value` (int32 `[n]`) by rows `row` of the added table."""
        return tfc.entropy_encode_index(state, row + DECISION_ROWS, value), value

    def finish(self, state: State) -> tf.Tensor:
        """The string, of rank 0."""
        return tfc.entropy_encode_finalize(state)


class Postponed:
    """Encodes several groups of elements, whose decisions are taken together, one after the other.

    Decisions come as the first of all elements, the second of those still open, and so on; the
    decoder, which knows one group at a time, wants all of one group's first. So they are kept until
    `encode`.

    Args:
      group: int32 `[E]`, of each element the number of its group, from 0.
      groups: how many there may be.
    """

    def __init__(self, group: tf.Tensor, groups: int) -> None:
        self.group, self._groups = group, groups

    def start(self) -> State:
        """No decisions yet: int32 `[2, 0]`."""
        return tf.zeros([2, 0], tf.int32)

    def decide(
        self, state: State, probability: tf.Tensor, truth: tf.Tensor, element: tf.Tensor
    ) -> tuple[State, tf.Tensor]:
        """Keeps decisions, int32 `[2, n]`: probability with truth as the last bit, and group."""
        rows = [2 * probability + tf.cast(truth, tf.int32), tf.gather(self.group, element)]
        return tf.concat([state, tf.stack(rows)], 1), truth

    def encode(self, encoder: Decider, state: State, decisions: tf.Tensor) -> State:
        """Gives the `decisions` kept to another coder, in order; returns its state."""
        kept, group = tf.unstack(decisions)
        ordered = tf.concat(tf.dynamic_partition(kept, group, self._groups), 0)
        probability = tf.bitwise.right_shift(ordered, 1)
        truth = tf.bitwise.bitwise_and(ordered, 1) > 0
        return encoder.decide(state, probability, truth, tf.range(tf.size(ordered)))[0]


class RangeDecoder(Reader):
    """Reads one range-coder string; otherwise like `RangeEncoder`.

    Args:
      table: the encoder's.
      string, strict: as for `Reader`.
    """

    def __init__(
        self, table: tf.Tensor, string: tf.Tensor, strict: bool | tf.Tensor = True
    ) -> None:
        super().__init__(string, strict)
        self.table, self.lookup = tf.convert_to_tensor(table), _lookup(table)
        self.string = string

    def start(self) -> State:
        """A fresh state, before the first symbol."""
        return tfc.create_range_decoder(self.string, self.lookup), tf.zeros([], tf.int64)

    def decide(
        self,
        state: State,
        probability: tf.Tensor,
        truth: tf.Tensor,
        element: tf.Tensor | None = None,
    ) -> tuple[State, tf.Tensor]:
        """Decodes decisions, bool `[n]`."""
        handle, cost = state
        handle, value = tfc.entropy_decode_index(
            handle, probability - 1, tf.shape(probability), tf.int32
        )
        truth = value > 0
        return (handle, cost + self.cost_of_decisions(probability, truth)), truth

    def symbols(self, state: State, row: tf.Tensor, value: tf.Tensor) -> tuple[State, tf.Tensor]:
        """Decodes integers, int32 `[n]`."""
        handle, cost = state
        handle, value = tfc.entropy_decode_index(
            handle, row + DECISION_ROWS, tf.shape(value), tf.int32
        )
        low, high = (tf.gather_nd(self.table, tf.stack([row, value + i], -1)) for i in (1, 2))
        return (handle, cost + tf.reduce_sum(least_cost(high - low))), value

    def finish(self, state: State) -> tf.Tensor:
        """Whether the string ended about where its last symbol did; true for what was encoded."""
        return tfc.entropy_decode_finalize(state[0]) & ~self.exhausted(state)


class BitCounter(Writer):
    """Counts the bits that `RangeEncoder` would write; the state is a float32 count.

    Table symbols are not counted: their model has its own likelihood.
    """

    def start(self) -> State:
        """Zero bits."""
        return tf.zeros([])

    def decide(
        self,
        state: State,
        probability: tf.Tensor,
        truth: tf.Tensor,
        element: tf.Tensor | None = None,
    ) -> tuple[State, tf.Tensor]:
        """Adds the information content of `truth`."""
        share = tf.cast(probability, tf.float32) / (1 << DECISION_BITS)
        nats = -tf.reduce_sum(tf.math.log(tf.where(truth, share, 1 - share)))
        return state + nats / tf.math.log(2.0), truth

    def symbols(self, state: State, row: tf.Tensor, value: tf.Tensor) -> tuple[State, tf.Tensor]:
        """Passes `value` on."""
        return state, value

    def finish(self, state: State) -> tf.Tensor:
        """The count."""
        return state
