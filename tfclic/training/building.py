"""The variables of a codec: made, and named by where they are."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from tfclic.models.base import ImageCodec


def variable_paths(codec: tf.Module) -> dict[str, tf.Variable]:
    """Names each variable of a built codec by the attributes that lead to it.

    Args:
      codec: a trackable object, its variables made.

    Returns:
      Dict from a path such as "analysis/layers/0/kernel" to its tf.Variable, sorted by path; every
      variable once, under the shortest of its paths.
    """
    found, seen, queue = {}, {id(codec)}, collections.deque([("", codec)])
    while queue:
        path, node = queue.popleft()
        if isinstance(node, tf.Variable):
            found[path] = node
            continue
        for name, child in sorted(tf.train.TrackableView.children(node).items()):
            if id(child) not in seen:
                seen.add(id(child))
                queue.append((f"{path}/{name}" if path else name, child))
    return dict(sorted(found.items()))


def build_variables(codec: ImageCodec) -> None:
    """Calls the codec on a blank image, since Keras makes most variables on first use."""
    codec(*_blank(), seed=tf.constant([0, 0]), training=True)


def build_for_training(codec: ImageCodec) -> None:
    """As `build_variables`, also those that no stage of training but earlier ones has."""
    build_variables(codec)
    for stage in range(codec.stages - 1):
        codec(*_blank(), seed=tf.constant([0, 0]), training=True, stage=tf.constant(stage))


def _blank() -> tuple[tf.Tensor, tf.Tensor]:
    return tf.zeros([1, 64, 64, 3]), tf.zeros([1])
