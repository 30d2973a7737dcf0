"""What the exact form of a transform keeps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import tensorflow as tf

Made = TypeVar("Made")


class Constants(tf.Module):
    """What the exact form of a transform keeps: variables by name, made when first wanted.

    They are variables, for what is constant in a graph may be folded by whoever optimizes it.

    Attributes:
      in_bytes: whether integers of 8 bits are computed with as such, not as floats.
    """

    def __init__(self, name: str = "integers") -> None:
        super().__init__(name=name)
        self.in_bytes = False
        self.variables_by_name: dict[str, tf.Variable] = {}
        known: dict[str, Any] = {}
        # in a function, out of TensorFlow's sight
        self._known = lambda: known

    def once(self, name: str, make: Callable[[], Made]) -> Made:
        """What `make` returned when it was first asked for; what is no part of a graph."""
        if name not in self._known():
            with tf.init_scope():
                self._known()[name] = make()
        return self._known()[name]

    def __call__(self, name: str, make: Callable[[], Any], dtype: Any = tf.float32) -> tf.Tensor:
        """What `make` returned when it was first asked for, float32."""
        if name not in self.variables_by_name:
            with tf.init_scope():
                made = tf.Variable(tf.cast(make(), dtype), trainable=False, name=name)
            self.variables_by_name[name] = made
        return tf.cast(self.variables_by_name[name], tf.float32)

    @contextlib.contextmanager
    def computing_in_bytes(self) -> Iterator[None]:
        """Makes what is traced here take products of bytes, where integers have 8 bits."""
        self.in_bytes = True
        try:
            yield
        finally:
            self.in_bytes = False
