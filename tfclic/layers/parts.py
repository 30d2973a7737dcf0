"""How the axes of a layer's weights are put together, for whoever makes a layer larger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import tensorflow as tf

Parts = Sequence[int]  # the sizes of an axis' parts
Axes = Iterator[tuple[tf.Variable, dict[int, Parts]]]  # of variables, by number
