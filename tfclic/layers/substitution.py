"""Layers that compute with other weights than their own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import tensorflow as tf


@contextlib.contextmanager
def substituted(modules: Iterable[tf.Module], stand_ins: Mapping[int, tf.Tensor]) -> Iterator[None]:
    """Makes layers read their weights elsewhere, cast to the weights' own type.

    Args:
      modules: tf.Modules, layers among them, whose variables are to be replaced.
      stand_ins: dict from the id of each variable to the variable or tensor that stands for it.
    """

    def stand_in(value: tf.Variable) -> tf.Tensor:
        return tf.cast(stand_ins[id(value)], value.dtype)

    replaced = []
    for module in {id(m): m for top in modules for m in (top, *top.submodules)}.values():
        for name, value in list(vars(module).items()):
            # past the tracking of attributes, which would see a new dependency
            if isinstance(value, tf.Variable) and id(value) in stand_ins:
                replaced.append((module, name, value))
                vars(module)[name] = stand_in(value)
            elif isinstance(value, list) and value and all(id(v) in stand_ins for v in value):
                replaced.append((module, name, value))
                vars(module)[name] = [stand_in(each) for each in value]
    try:
        yield
    finally:
        for module, name, value in replaced:
            vars(module)[name] = value


def frozen(modules: Sequence[tf.Module]) -> contextlib.AbstractContextManager[None]:
    """Makes layers compute with their weights as constants, that no gradient reaches.

    Args:
      modules: tf.Modules, layers among them.

    Returns:
      A context manager.
    """
    variables = [v for module in modules for v in module.variables]
    return substituted(modules, {id(v): tf.stop_gradient(v) for v in variables})
