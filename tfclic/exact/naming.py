"""The names of layers, by where they are."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def names(codec: tf.Module) -> dict[int, str]:
    """Names of all layers in a codec, such as `slices_0_mean`, by their ids."""
    found: dict[int, str] = {}

    def visit(value: Any, path: tuple[str, ...]) -> None:
        if isinstance(value, (list, tuple)):
            for number, each in enumerate(value):
                visit(each, (*path, str(number)))
        elif isinstance(value, tf.Module) and id(value) not in found:
            found[id(value)] = "_".join(path)
            if isinstance(value, tf.keras.Sequential):
                visit(value.layers, path)
            else:
                for name, each in sorted(vars(value).items()):
                    if not name.startswith("_"):
                        visit(each, (*path, name))

    visit(codec, ())
    return found
