"""Walking latents so that everything that can be decoded at once is.

A context model with a 5x5 causal mask looks at two rows above, two columns to each side, and at its
own row to the left. So all positions with the same `column + 3 * row` are independent of each other
and depend only on positions with smaller sums: 32x48 latents take 141 steps instead of 1536. Two
steps do where a context sees the other colour of a checkerboard.

Latents are kept in the order in which they are coded: then a wavefront is a slice, and where each
position finds its neighbours is one table, made before the walk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tensorflow as tf

from tfclic.entropy import coders, decisions, mixture
from tfclic.exact import compilation

if TYPE_CHECKING:
    from tfclic.entropy.coders import Coder, State
    from tfclic.entropy.integer_mixture import AnyDistribution
    from tfclic.layers.masked import Mask

# of positions that do not depend on each other: all of a tile of 1024 pixels; no more, for memory
INDEPENDENT_TOGETHER = 4096


class Order(NamedTuple):
    """The order in which P positions are coded, int32.

    Attributes:
      raster: `[P]`, raster index of each position, in coding order.
      rank: `[P]`, the inverse: when the position with a raster index is coded.
      neighbours: `[P, V]`, ranks of the V visible neighbours, in raster order; P for those outside.
      starts: `[T + 1]`, where each of T wavefronts, or other steps, begins, in coding order.
    """

    raster: tf.Tensor
    rank: tf.Tensor
    neighbours: tf.Tensor
    starts: tf.Tensor


def slope(mask: Mask) -> int:
    """How many columns a wavefront moves to the left per row, for a causal mask.

    The fewest that leave what a position sees above it, and to its right, behind.
    """
    down, right = (x - mask.shape[0] // 2 for x in np.nonzero(mask))
    above = down < 0
    return int(max(right[above] // -down[above] + 1, default=1))


def steps(height: tf.Tensor, width: tf.Tensor, columns_per_row: int) -> tf.Tensor:
    """Number of wavefronts; in narrow arrays some of them are empty."""
    return width + columns_per_row * (height - 1)


def grid(height: tf.Tensor, width: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Rows and columns of all positions in raster order, two int32 `[height * width]`."""
    rows = tf.repeat(tf.range(height), width)
    return rows, tf.tile(tf.range(width), [height])


def order(height: tf.Tensor, width: tf.Tensor, mask: Mask) -> Order:
    """The `Order` of an array's positions, each after all that it sees.

    Args:
      height, width: int32.
      mask: bool `[size, size]`, what the context sees around a position: either what precedes it in
        raster order, or the other colour of a checkerboard, of which that of the first position is
        coded first and sees nothing.

    Raises:
      ValueError: the mask is neither.
    """
    count = height * width
    rows, columns = grid(height, width)
    down, right = (x - mask.shape[0] // 2 for x in np.nonzero(mask))
    if np.all((down < 0) | (down == 0) & (right < 0)):
        step = columns + slope(mask) * rows
        ends = tf.range(steps(height, width, slope(mask)) + 1)
    elif np.all((down + right) % 2 == 1):
        step, ends = (rows + columns) % 2, None
    else:
        raise ValueError("a context sees what precedes a position, or a checkerboard's other half")
    # int64, since the key is a product
    key = tf.cast(step, tf.int64) * tf.cast(count, tf.int64) + tf.range(tf.cast(count, tf.int64))
    raster = tf.argsort(key)
    rank = tf.math.invert_permutation(raster)
    rows, columns, when = (tf.gather(x, raster)[:, None] for x in (rows, columns, step))
    r, c = rows + tf.constant(down, tf.int32), columns + tf.constant(right, tf.int32)
    inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
    neighbours = tf.gather(rank, tf.where(inside, r * width + c, 0))
    if ends is None:
        inside &= when > 0
        first = tf.reduce_sum(1 - step)
        starts = tf.concat([_chunks(0, first), _chunks(first, count), [count]], 0)
    else:
        starts = tf.searchsorted(when[:, 0], ends)
    return Order(raster, rank, tf.where(inside, neighbours, count), starts)


def volume_order(
    height: tf.Tensor, width: tf.Tensor, numbers: tf.Tensor, channels: int, mask: Mask
) -> Order:
    """The `Order` of single values, each after all that it sees in its own channel and before it.

    All with the same `column + slope * row + channel_slope * channel` are coded at once.

    Args:
      height, width: int32.
      numbers: int32 `[n]`, ascending, of the channels that there are; in others all is zero.
      channels: of these and the others.
      mask: bool `[depth, size, size]`, as `layers.masked.volume_mask` makes it.

    Returns:
      The order of n * height * width values, which by raster are channel by channel.
    """
    count, area, size = tf.size(numbers), height * width, mask.shape[1]
    rows, columns = (tf.tile(x, [count]) for x in grid(height, width))
    places = tf.repeat(tf.range(count), area)
    per_row = slope(mask[-1])
    back, down, right = np.nonzero(mask)
    back, down, right = back - (len(mask) - 1), down - size // 2, right - size // 2
    earlier = back < 0
    # of channels that lie between, some may not be there
    per_channel = int(max(right[earlier] + per_row * down[earlier], default=0)) + 1
    step = columns + per_row * rows + per_channel * places
    key = tf.cast(step, tf.int64) * tf.cast(count * area, tf.int64)
    raster = tf.argsort(key + tf.range(tf.cast(count * area, tf.int64)))
    rank = tf.math.invert_permutation(raster)
    rows, columns, places, step = (tf.gather(x, raster) for x in (rows, columns, places, step))
    index = tf.tensor_scatter_nd_update(
        tf.fill([channels + len(mask) - 1], -1), numbers[:, None] + len(mask) - 1, tf.range(count)
    )
    seen = tf.gather(numbers, places)[:, None] + tf.constant(back + len(mask) - 1, tf.int32)
    seen = tf.gather(index, seen)
    r, c = (x[:, None] + tf.constant(y, tf.int32) for x, y in ((rows, down), (columns, right)))
    inside = (seen >= 0) & (r >= 0) & (r < height) & (c >= 0) & (c < width)
    neighbours = tf.gather(rank, tf.where(inside, seen * area + r * width + c, 0))
    ends = tf.range(steps(height, width, per_row) + per_channel * (count - 1) + 1)
    starts = tf.searchsorted(step, ends)
    return Order(raster, rank, tf.where(inside, neighbours, count * area), starts)


def as_volume(latents: tf.Tensor) -> tf.Tensor:
    """Latents `[h, w, n]` as `[n * h, w, 1]`, channel by channel."""
    shape = tf.shape(latents)
    return tf.reshape(tf.transpose(latents, [2, 0, 1]), [shape[2] * shape[0], shape[1], 1])


def from_volume(values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """What `as_volume` was given, `[h, w, n, ...]`, of `[n * h * w, ...]` by channel and raster."""
    shape, rest = tf.shape(like), values.shape[1:]
    values = tf.reshape(values, [shape[2], shape[0], shape[1], *rest])
    return tf.transpose(values, [1, 2, 0, *range(3, 3 + len(rest))])


def _chunks(start: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
    """Where the steps begin that take independent positions from `start` to `end`."""
    return tf.range(start, end, INDEPENDENT_TOGETHER)


def raster_order(height: tf.Tensor, width: tf.Tensor) -> Order:
    """The `Order` of positions that do not depend on each other: by rows, many in a step.

    Args:
      height, width: int32.
    """
    every = tf.range(height * width)
    starts = tf.concat([_chunks(0, height * width), [height * width]], 0)
    return Order(every, every, tf.zeros([height * width, 0], tf.int32), starts)


def arrange(latents: tf.Tensor, order: Order) -> tf.Tensor:
    """Latents `[h, w, C]` in coding order, `[P + 1, C]`; the last row is the zeros outside."""
    shape = tf.shape(latents)
    flat = tf.reshape(latents, [shape[0] * shape[1], latents.shape[2] or shape[2]])
    return tf.pad(tf.gather(flat, order.raster), [[0, 1], [0, 0]])


def traverse(
    coder: Coder,
    state: State,
    latents: tf.Tensor,
    distribution_at: Callable[[tf.Tensor, tf.Tensor], AnyDistribution],
    order: Order,
    together: int = 1,
) -> tuple[State, tf.Tensor]:
    """Codes latents, wavefront by wavefront.

    Args:
      coder: see `tfclic.entropy.coders`.
      state: the coder's.
      latents: float32 `[h, w, C]`, integers; only the shape matters to a decoder.
      distribution_at: function of (known, chosen) to the `Distribution` of n * C elements: `known`
        is float32 `[P + 1, C]`, `arrange`d latents, where those that are not decoded yet hold
        anything; `chosen` is int32 `[n]`, ranks.
      order: the `Order` of `latents`.
      together: how many wavefronts to take at once, where latents are known: faster, and the string
        is the same.

    Returns:
      `(state, latents)`, the latents as coded; where the coder is exhausted, it stops early.
    """
    shape = tf.shape(latents)
    channels = shape[2]

    @compilation.uncompiled
    def body(step: tf.Tensor, state: State, known: tf.Tensor) -> tuple[tf.Tensor, State, tf.Tensor]:
        following = tf.minimum(step + together, count)
        chosen = tf.range(order.starts[step], order.starts[following])
        dist = distribution_at(known, chosen)
        symbols = tf.reshape(tf.cast(tf.gather(known, chosen), tf.int32), [-1]) - mixture.LATENT_MIN
        if together > 1:
            group = tf.searchsorted(order.starts, chosen, side="right") - 1 - step
            postponed = coders.Postponed(tf.repeat(group, channels), together)
            kept, _ = decisions.code(postponed, postponed.start(), dist, symbols)
            return following, postponed.encode(coder, state, kept), known
        state, symbols = decisions.code(coder, state, dist, symbols)
        rows = tf.reshape(symbols, [tf.size(chosen), channels])
        values = tf.cast(rows + mixture.LATENT_MIN, tf.float32)
        return following, state, tf.raw_ops.InplaceUpdate(x=known, i=chosen, v=values)

    @compilation.uncompiled
    def unfinished(step: tf.Tensor, state: State, _: tf.Tensor) -> tf.Tensor:
        return (step < count) & ~coder.exhausted(state)

    count = tf.shape(order.starts)[0] - 1
    known = arrange(latents, order)
    if together == 1:
        # a copy that TensorFlow shares with nothing else, since steps write in place
        known = tf.raw_ops.DeepCopy(x=known)
    _, state, known = tf.while_loop(
        unfinished,
        body,
        [0, state, known],
        shape_invariants=[
            tf.TensorShape([]),
            tf.nest.map_structure(lambda x: x.shape, state),
            tf.TensorShape([None, latents.shape[2]]),
        ],
    )
    return state, tf.reshape(tf.gather(known, order.rank), shape)
