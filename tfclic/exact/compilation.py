"""What XLA is not to compile.

With TF_XLA_FLAGS="--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit" TensorFlow hands whatever operations
it can to XLA, which compiles them anew for every shape. Each step of a coder has shapes of its own,
known only when the step runs: XLA fails at some of them, and would spend seconds on the others.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

Result = TypeVar("Result")


def uncompiled(function: Callable[..., Result]) -> Callable[..., Result]:
    """Makes a function whose operations are left to TensorFlow's own kernels, and its code alone.

    Bodies and conditions of loops are graphs of their own, so each needs this too.

    Args:
      function: any function that makes operations.

    Returns:
      A function that does the same.
    """

    @tf.autograph.experimental.do_not_convert
    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Result:
        if tf.executing_eagerly():
            return function(*arguments, **named)
        with tf.xla.experimental.jit_scope(compile_ops=False):
            return function(*arguments, **named)

    return call
