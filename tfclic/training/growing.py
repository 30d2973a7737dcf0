"""Weights of a smaller model in a larger one of the same system: more latents, levels or widths.

The larger model begins by computing what the smaller one does, as nearly as it can: weights keep
the places that they had, kernels are zero where they would meet inputs that are new, and everything
else is as in a new model. So what is new hears from the rest, and nothing listens to it yet.
The linear block transform and the gains have their own beginning, which is a codec already: there,
what is new takes part at once. New latents get the basis functions that the smaller model lacks,
also where slices place them among the others.

Where an axis of a weight is put together from several (the four phases of a sub-pixel convolution,
the parameters of mixtures, slices), each part grows by itself. What an entropy model's program does
not tell of such axes (`tfclic.training.composition`), layers and models tell by a method `axes()`,
which yields `(variable, {axis: sizes})`.

A similar way to grow, in which the new part listens at once: Chen, Goodfellow, Shlens, "Net2Net:
Accelerating Learning via Knowledge Transfer", ICLR 2016.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfclic.layers import BlockAnalysis, BlockSynthesis
from tfclic.training import building
from tfclic.training.composition import Composition

if TYPE_CHECKING:
    import tensorflow as tf

    from tfclic.layers.parts import Parts
    from tfclic.models.base import ImageCodec

# names of weights whose axis before the last is inputs
KERNEL = re.compile(r"kernel(_\d+)?|taps|spectrum")


def axes_of(codec: ImageCodec) -> dict[str, list[Parts]]:
    """How the axes of a codec's variables are put together.

    Returns:
      Dict from the path of a variable to a list, for each axis the sizes of its parts.
    """
    found: dict[int, list[Parts]] = {id(v): [(size,) for size in v.shape] for v in codec.variables}
    composition = Composition()
    codec.entropy(composition)
    composition.of_transforms(codec)
    # models and their programs last: they know more than the layers in them
    by_layers: list[Any] = [
        getattr(module, "axes", tuple)() for module in reversed(codec.submodules)
    ]
    by_model: Any = getattr(codec, "axes", tuple)()
    for variable, sizes in itertools.chain(*by_layers, composition.axes, by_model):
        for axis, parts in sizes.items():
            if sum(parts) != variable.shape[axis]:
                raise ValueError(f"{variable.name}: {parts} do not make {variable.shape}.")
            found[id(variable)][axis] = tuple(parts)
    return {p: found[id(v)] for p, v in building.variable_paths(codec).items()}


def grown(
    value: np.ndarray,
    beginning: np.ndarray,
    old_axes: Sequence[Parts],
    new_axes: Sequence[Parts],
    takes_inputs: bool,
) -> np.ndarray | None:
    """A weight of a smaller model, in the place of a larger one's.

    Args:
      value: array, the smaller model's.
      beginning: array, that of the larger model when it is new.
      old_axes, new_axes: for each axis the sizes of its parts.
      takes_inputs: whether the axis before the last is that of inputs, new ones to be met by zeros.

    Returns:
      An array like `beginning`; None if it has no place for `value`.
    """
    if len(old_axes) != len(new_axes):
        return None
    index = []
    for old, new in zip(old_axes, new_axes):
        places = _places(old, new)
        if places is None:
            return None
        index.append(places)
    result = np.array(beginning)
    if takes_inputs:
        is_new = np.ones(result.shape[-2], bool)
        is_new[index[-2]] = False
        result[..., is_new, :] = 0
    result[np.ix_(*index)] = value
    return result


def _places(old: Parts, new: Parts) -> np.ndarray | None:
    """Where the entries of an axis go, int array; None if a part has become smaller."""
    if len(old) != len(new) or any(a > b for a, b in zip(old, new)):
        return None
    starts = np.cumsum([0, *new[:-1]])
    return np.concatenate([start + np.arange(size) for start, size in zip(starts, old)])


def _spread(beginning: np.ndarray, axis: int, places: np.ndarray) -> np.ndarray:
    """Moves what is at the start of an axis to `places`, and the rest, in order, to the others."""
    others = np.setdiff1d(np.arange(beginning.shape[axis]), places)
    return np.take(beginning, np.argsort(np.concatenate([places, others])), axis)


def are_comparable(lmbdas: Sequence[float], others: Sequence[float]) -> bool:
    """Whether lambdas are those of the same objective, as far as ranges can tell."""
    return max(min(lmbdas), min(others)) <= min(max(lmbdas), max(others))


class Growth:
    """What the variables of a larger codec take from a smaller one.

    Args:
      small: a codec with the weights to begin with.
      large: a new codec, all its variables made.
    """

    def __init__(self, small: ImageCodec, large: ImageCodec) -> None:
        self._old, self._new = axes_of(small), axes_of(large)
        self._values = {p: v.numpy() for p, v in building.variable_paths(small).items()}
        # the linear path is a codec by itself: there, new inputs count from the beginning
        self._axes_of_latents = {
            id(module.kernel): axis
            for kind, axis in ((BlockAnalysis, 1), (BlockSynthesis, 0))
            for module in large.submodules
            if isinstance(module, kind)
        }
        if are_comparable(small.lmbdas, large.lmbdas):
            gains = small.gain.weights_at(large.lmbdas).items()
            between = {f"gain/{name}": value for name, value in gains}
            between["activity"] = small.gain.interpolated(small.activity, large.lmbdas)
            for path, value in between.items():
                self._values[path] = value
                self._old[path] = [(len(value),), *self._old[path][1:]]

    def value(self, path: str, variable: tf.Variable) -> np.ndarray | None:
        """What `variable`, at `path` of the larger codec, begins with; None: as it is."""
        if path not in self._values:
            return None
        old, new, beginning = self._old[path], self._new[path], variable.numpy()
        axis = self._axes_of_latents.get(id(variable))
        places = None if axis is None else _places(old[axis], new[axis])
        if axis is not None and places is not None:
            beginning = _spread(beginning, axis, places)
        takes_inputs = axis is None and _is_kernel(path, variable)
        return grown(self._values[path], beginning, old, new, takes_inputs)


def _is_kernel(path: str, variable: tf.Variable) -> bool:
    name = path.rsplit("/", 1)[-1]
    return bool(KERNEL.fullmatch(name)) and len(variable.shape) > 1
