"""Which channels of the latents are in use: the others are zero all over a tile.

Models have more channels than most images need, above all at low qualities. A string says first
which of them it holds, in some tens of bytes, and what is said of latents then goes for these:
silent channels take no decisions, and neither columns nor rows of the networks' kernels.

Of many channels it can be foretold whether an image has them: a codec keeps how many images do, at
each of its levels, as validation measures it (`ImageCodec.activity`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tfclic.entropy import coders

if TYPE_CHECKING:
    import numpy.typing as npt

    from tfclic.entropy.coders import Decider, State

# In fewer positions silent channels take little time, and saying which they are too many bits.
FEWEST_POSITIONS = 1024
FEW_LATENTS = 3  # not zero, in a validation image
# Of images that have fewer channels in use than most do at the lowest level: its shares to powers.
SPARSER = 2, 4
FALL = 4.0  # of the logits of what is assumed, from the first channel to the last
_EVEN = 1 << (coders.DECISION_BITS - 1)


def of(latents: tf.Tensor) -> tf.Tensor:
    """The channels of latents `[..., C]` that are not zero everywhere, int32 `[n]`, ascending.

    n is 1 at least.
    """
    return _numbers(_one_at_least(_are_used(latents)))


def worth_saying(latents: tf.Tensor) -> tf.Tensor:
    """The channels that a string of latents `[..., C]` had better hold, int32 `[n]`."""
    every = tf.range(latents.shape[-1])
    return tf.cond(_are_few(latents), lambda: every, lambda: of(latents))


def possible(nearest: tf.Tensor) -> tf.Tensor:
    """The channels that a string may hold if silent ones stay so, int32 `[n]`, ascending.

    Args:
      nearest: `[..., C]`, integers; others may be coded in the place of those that are not zero.
    """
    # the first is taken if no other is left
    is_first = tf.range(nearest.shape[-1]) < 1
    return _numbers(_are_used(nearest) | is_first | _are_few(nearest))


def everywhere(latents: tf.Tensor, active: tf.Tensor, channels: int) -> tf.Tensor:
    """Latents `[..., n]` of the channels `active` as `[..., channels]`, zero in the others."""
    every = tf.fill([channels], tf.shape(active)[0])
    index = tf.tensor_scatter_nd_update(every, active[:, None], tf.range(tf.shape(active)[0]))
    margins = [[0, 0]] * (len(latents.shape) - 1) + [[0, 1]]
    return tf.ensure_shape(
        tf.gather(tf.pad(latents, margins), index, axis=-1), [*latents.shape[:-1], channels]
    )


def in_use(counts: tf.Tensor) -> tf.Tensor:
    """Whether channels count as in use, of which so many latents are not zero as they are rounded.

    Rounding by rate and distortion takes the last few away.
    """
    return counts > FEW_LATENTS


def assumed(levels: int, channels: int) -> np.ndarray:
    """How many of all images have a channel in use, as far as nothing was measured.

    More of them the higher the level, and the lower the channel's number, since the linear block
    transform begins with the lowest frequencies.

    Returns:
      float32 `[levels, channels]`, 0..1.
    """
    level, channel = ((np.arange(n) + 0.5) / n for n in (levels, channels))
    logits = np.log(level / (1 - level))[:, None] + FALL * (0.5 - channel)
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def estimated(shares: np.ndarray, count: int) -> np.ndarray:
    """How many of all images have a channel in use, if `shares` of `count` images have it.

    What is assumed counts as one more image.

    Args:
      shares: float `[levels, channels]`.
      count: int.
    """
    return (count * shares + assumed(*shares.shape)) / (count + 1)


class Names(tf.Module):
    """Codes which channels of a stream are in use.

    The string says the number of a row of the table, and then of each channel whether it is in use,
    with the probabilities of that row. Rows are those of the levels, and `SPARSER` ones. Any will
    do; the writer takes that with the fewest bits, which need not be the one of the quality: images
    differ as much as qualities do. A number that is no row's says that all channels are in use, and
    ends it. If none is, channel 0 is taken for one that is.

    Args:
      activity: float `[L, C]`, how many of all images have a channel in use, at each level.
    """

    def __init__(self, activity: npt.ArrayLike, name: str | None = None) -> None:
        super().__init__(name=name)
        rows = _whole(np.asarray(activity))
        first = rows[:1] / (1 << coders.DECISION_BITS)
        table = np.concatenate([rows, *(_whole(first**power) for power in SPARSER)])
        self.table = tf.Variable(table, trainable=False, name="table")
        self.rows, self.channels = table.shape

    def activity(self) -> tf.Tensor:
        """What `table` was made of, as near as it has it, float32 `[L, C]`."""
        return self._shares()[: -len(SPARSER)]

    def _shares(self) -> tf.Tensor:
        return tf.cast(self.table, tf.float32) / (1 << coders.DECISION_BITS)

    def code(self, coder: Decider, state: State, active: tf.Tensor) -> tuple[State, tf.Tensor]:
        """Codes which channels are in use.

        Args:
          coder: see `tfclic.entropy.coders`.
          state: the coder's.
          active: int32 `[n]`, ascending; anything where the coder is a decoder.

        Returns:
          `(state, active)`.
        """
        is_active = tf.scatter_nd(active[:, None], tf.ones_like(active), [self.channels]) > 0
        digits = self.rows.bit_length()
        places = tf.range(digits - 1, -1, -1)
        written = tf.bitwise.right_shift(self._best_row(is_active), places) % 2 > 0
        state, read = coder.decide(state, tf.fill([digits], _EVEN), written, tf.range(digits))
        row = tf.reduce_sum(tf.cast(read, tf.int32) * tf.bitwise.left_shift(1, places))
        is_full = row >= self.rows
        asked = tf.where(is_full, 0, self.channels)
        probability = self.table[tf.minimum(row, self.rows - 1)][:asked]
        state, found = coder.decide(state, probability, is_active[:asked], tf.range(asked))
        found = tf.cond(is_full, lambda: tf.ones_like(is_active), lambda: found)
        return state, _numbers(_one_at_least(tf.ensure_shape(found, [self.channels])))

    def bits(self, active: tf.Tensor) -> tf.Tensor:
        """What `code` takes, float32."""
        counter = coders.BitCounter()
        return self.code(counter, counter.start(), active)[0]

    def _best_row(self, is_active: tf.Tensor) -> tf.Tensor:
        """The number to write of bools `[C]`, int32."""
        shares = self._shares()
        shares = tf.where(is_active, shares, 1 - shares)
        best = tf.argmax(tf.reduce_sum(tf.math.log(shares), 1), output_type=tf.int32)
        return tf.where(tf.reduce_all(is_active), self.rows, best)


def _whole(shares: np.ndarray) -> np.ndarray:
    """Shares as probabilities of decisions, int32."""
    certain = 1 << coders.DECISION_BITS
    return np.clip(np.round(shares * certain), 1, certain - 1).astype(np.int32)


def _are_used(latents: tf.Tensor) -> tf.Tensor:
    """Whether channels of latents `[..., C]` are not zero everywhere, bools `[C]`."""
    return tf.reduce_any(tf.not_equal(latents, 0), list(range(len(latents.shape) - 1)))


def _are_few(latents: tf.Tensor) -> tf.Tensor:
    """Whether latents `[..., C]` have fewer positions than are worth saying it."""
    return tf.size(latents) // latents.shape[-1] < FEWEST_POSITIONS


def _one_at_least(truth: tf.Tensor) -> tf.Tensor:
    """Bools `[n]`, of which the first is true if no other is."""
    is_first = tf.range(tf.size(truth)) < 1
    return truth | (is_first & ~tf.reduce_any(truth))


def _numbers(truth: tf.Tensor) -> tf.Tensor:
    """Where bools `[n]` are true, int32."""
    return tf.cast(tf.where(truth)[:, 0], tf.int32)
