"""The state of training: everything that a step changes, and so all that a checkpoint holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import tensorflow as tf

from tfclic.training import building

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.models.base import ImageCodec

KINDS = ("weights", "ema", "first_moment", "second_moment")  # of variables that have a path
COUNTS = ("step", "updates")


class State(tf.Module):
    """All that a checkpoint holds.

    Attributes:
      step: int64 [], steps done.
      updates: int64 [], steps that changed the weights.
      weights, ema, first_moment, second_moment: dicts from variable path to tf.Variable: the
        codec's variables, the moving averages of the trainable ones (empty without EMA), and Adam's
        moments.
      trained: list of the paths of the trainable ones, in a fixed order.
    """

    def __init__(self, codec: ImageCodec, training: ConfigDict) -> None:
        """Makes the variables.

        Args:
          codec: its variables are made here if they are not yet.
          training: configuration.

        Raises:
          ValueError: the codec has variables that `building.variable_paths` does not find.
        """
        super().__init__()
        building.build_for_training(codec)
        self.weights = building.variable_paths(codec)
        if not {id(v) for v in codec.variables} <= {id(v) for v in self.weights.values()}:
            raise ValueError("The codec has variables that are not reached by its attributes.")
        wanted = {id(v) for v in codec.trainable_variables}
        self.trained = [p for p, v in self.weights.items() if id(v) in wanted]
        self.ema: dict[str, tf.Variable] = self._copies(lambda v: v) if training.ema_decay else {}
        self.first_moment = self._copies(tf.zeros_like)
        self.second_moment = self._copies(tf.zeros_like)
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.updates = tf.Variable(0, dtype=tf.int64, trainable=False)

    def _copies(self, initial: Callable[[tf.Variable], tf.Tensor]) -> dict[str, tf.Variable]:
        return {p: tf.Variable(initial(self.weights[p]), trainable=False) for p in self.trained}

    @property
    def parameters(self) -> list[tf.Variable]:
        """The trained variables, in a fixed order."""
        return [self.weights[p] for p in self.trained]

    def named(self) -> dict[str, tf.Variable]:
        """Returns every variable by its name: "step", "updates", or kind and path, "ema/..."."""
        kinds = {kind: getattr(self, kind) for kind in KINDS}
        files = {f"{kind}/{path}": v for kind, group in kinds.items() for path, v in group.items()}
        return {**files, **{count: getattr(self, count) for count in COUNTS}}
