"""Weights as an export has them: kernels of the exact networks in 8 bits.

The last phase trains through them, "quantization-aware" (Jacob et al., "Quantization and Training
of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018): the loss is that of
rounded kernels, and its gradients move those that are not, as if nothing had been rounded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import tensorflow as tf

from tfclic.training import building

if TYPE_CHECKING:
    from tfclic.exact.rounding import Grids
    from tfclic.models.base import ImageCodec


class Kernels:
    """The kernels that an export of a codec rounds.

    Attributes:
      grids: dict of `rounding.Grids` by the kernels' paths in the codec.

    Args:
      codec: a `tfclic.models.base.ImageCodec` whose variables are made.

    Raises:
      ValueError: it cannot be exported as it is.
    """

    def __init__(self, codec: ImageCodec) -> None:
        paths = {id(v): path for path, v in building.variable_paths(codec).items()}
        found = (layer.kernel_in_floats() for layer in codec.entropy_coder().layers())
        self.grids: dict[str, Grids] = {paths[id(kernel)]: grids for kernel, grids in found}

    @contextlib.contextmanager
    def rounded(self, weights: Mapping[str, tf.Variable]) -> Iterator[None]:
        """Puts rounded kernels in the place of the codec's while the context lasts.

        Args:
          weights: the codec's variables by their paths.
        """
        before = {path: weights[path].read_value() for path in self.grids}
        try:
            for path, grids in self.grids.items():
                _assign(weights[path], grids.rounded(before[path]))
            yield
        finally:
            for path, value in before.items():
                _assign(weights[path], value)


def _assign(variable: tf.Variable, value: tf.Tensor) -> None:
    if tf.distribute.in_cross_replica_context():
        variable.assign(value)
    else:  # this replica's copy, without waiting for the others
        tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)
