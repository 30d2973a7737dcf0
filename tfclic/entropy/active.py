"""Which channels of the latents are in use: the others are zero all over a tile.

Models have more channels than most images need, above all at low qualities. A string says first
which of them it holds, in some tens of bytes, and what is said of latents then goes for these:
silent channels take no decisions, and neither columns nor rows of the networks' kernels.

Channels are taken in groups of 8. These questions are asked, each of all groups, or channels, at
once, as decisions with the probability 1/2:

1. The number of groups up to the last one that is in use, as a binary number, its highest bit
   first; all ones say that every channel is in use, and end it.
2. Of each of these groups: is any channel in use?
3. Of each of which that is so: are all of them?
4. Of each channel in groups with some: is it?

Where none is, the first one is taken for one that is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from tfclic.entropy import coders

if TYPE_CHECKING:
    from tfclic.entropy.coders import Decider, State

GROUP = 8
# In fewer positions silent channels take little time, and saying which they are too many bits.
FEWEST_POSITIONS = 1024
_EVEN = 1 << (coders.DECISION_BITS - 1)


def of(latents: tf.Tensor) -> tf.Tensor:
    """The channels of latents `[..., C]` that are not zero everywhere, int32 `[n]`, ascending.

    n is 1 at least.
    """
    axes = list(range(len(latents.shape) - 1))
    return _numbers(_one_at_least(tf.reduce_any(tf.not_equal(latents, 0), axes)))


def worth_saying(latents: tf.Tensor) -> tf.Tensor:
    """The channels that a string of latents `[..., C]` had better hold, int32 `[n]`."""
    channels = latents.shape[-1]
    positions = tf.size(latents) // channels
    return tf.cond(positions < FEWEST_POSITIONS, lambda: tf.range(channels), lambda: of(latents))


def everywhere(latents: tf.Tensor, active: tf.Tensor, channels: int) -> tf.Tensor:
    """Latents `[..., n]` of the channels `active` as `[..., channels]`, zero in the others."""
    every = tf.fill([channels], tf.shape(active)[0])
    index = tf.tensor_scatter_nd_update(every, active[:, None], tf.range(tf.shape(active)[0]))
    margins = [[0, 0]] * (len(latents.shape) - 1) + [[0, 1]]
    return tf.ensure_shape(
        tf.gather(tf.pad(latents, margins), index, axis=-1), [*latents.shape[:-1], channels]
    )


def code(coder: Decider, state: State, channels: int, active: tf.Tensor) -> tuple[State, tf.Tensor]:
    """Codes which channels are in use.

    Args:
      coder: see `tfclic.entropy.coders`.
      state: the coder's.
      channels: C, all of them, an int.
      active: int32 `[n]`, ascending; anything where the coder is a decoder.

    Returns:
      `(state, active)`.
    """
    groups = -(-channels // GROUP)
    is_active = tf.scatter_nd(active[:, None], tf.ones_like(active), [channels]) > 0
    grouped = tf.reshape(tf.pad(is_active, [[0, groups * GROUP - channels]]), [groups, GROUP])
    exists = tf.reshape(tf.range(groups * GROUP) < channels, [groups, GROUP])
    any_, all_ = tf.reduce_any(grouped, 1), tf.reduce_all(grouped | ~exists, 1)

    def ask(state: State, truth: tf.Tensor) -> tuple[State, tf.Tensor]:
        probability = tf.fill(tf.shape(truth), _EVEN)
        return coder.decide(state, probability, truth, tf.range(tf.size(truth)))

    places = tf.range((groups + 1).bit_length() - 1, -1, -1)
    everything = (1 << (groups + 1).bit_length()) - 1  # more than there are groups
    last = tf.reduce_max(tf.where(any_, tf.range(1, groups + 1), 0))
    count = tf.where(tf.reduce_all(is_active), everything, last)
    state, binary = ask(state, tf.bitwise.right_shift(count, places) % 2 > 0)
    count = tf.reduce_sum(tf.cast(binary, tf.int32) * tf.bitwise.left_shift(1, places))
    is_full = tf.equal(count, everything)
    count = tf.minimum(tf.where(is_full, 0, count), groups)

    state, any_ = ask(state, any_[:count])
    some = _numbers(any_)
    state, all_ = ask(state, tf.gather(all_, some))
    mixed = tf.gather(some, _numbers(~all_))
    # places of the last group that no channel has are asked for, too: there is one at the most
    state, members = ask(state, tf.reshape(tf.gather(grouped, mixed), [-1]))
    found = tf.scatter_nd(some[:, None], tf.repeat(all_[:, None], GROUP, 1), [groups, GROUP])
    members = tf.reshape(members, [tf.shape(mixed)[0], GROUP])
    found = tf.tensor_scatter_nd_update(found, mixed[:, None], members)
    return state, _numbers(_one_at_least(tf.reshape(found, [-1])[:channels] | is_full))


def bits(channels: int, active: tf.Tensor) -> tf.Tensor:
    """What `code` takes, float32."""
    counter = coders.BitCounter()
    return code(counter, counter.start(), channels, active)[0]


def _one_at_least(truth: tf.Tensor) -> tf.Tensor:
    """Bools `[n]`, of which the first is true if no other is."""
    is_first = tf.range(tf.size(truth)) < 1
    return truth | (is_first & ~tf.reduce_any(truth))


def _numbers(truth: tf.Tensor) -> tf.Tensor:
    """Where bools `[n]` are true, int32."""
    return tf.cast(tf.where(truth)[:, 0], tf.int32)
