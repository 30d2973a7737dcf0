"""What an exported codec stores of its weights, and the way back."""

from __future__ import annotations

import hashlib
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfclic import errors, models
from tfclic.exact import ranges as exact_ranges
from tfclic.exact.rounding import KERNEL_LIMIT as BYTE_LIMIT
from tfclic.export import earlier

if TYPE_CHECKING:
    from typing_extensions import TypeAlias

    from tfclic.exact.ranges import Ranges
    from tfclic.models.base import ImageCodec
    from tfclic.runtime.catalog import Model

    Weight: TypeAlias = "tf.Variable | Bytes"

# Weights of transforms are stored with half the bits, and large kernels with a quarter: those of
# convolutions, and of the encoder, which nothing follows from but the choice of latents, all.
DTYPE = tf.float16
LARGE = 4096
CONVOLUTION = 4  # the rank of its kernel
RANGES = "integers/ranges/"
SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"  # of variables' names in TensorFlow's checkpoints


class Bytes(tf.Module):
    """A kernel in integers of 8 bits, each column with a step of its own; it stands for a tensor.

    Args:
      value: float32 `[..., M]`.
    """

    def __init__(self, value: tf.Tensor) -> None:
        super().__init__(name="bytes")
        peak = tf.reduce_max(tf.abs(value), list(range(len(value.shape) - 1)))
        step = tf.where(peak > 0, peak, 1.0) / BYTE_LIMIT
        self.integers = tf.Variable(tf.cast(tf.round(value / step), tf.int8), trainable=False)
        self.steps = tf.Variable(step, trainable=False)

    def tensor(self) -> tf.Tensor:
        """What it stands for, float32."""
        return tf.cast(self.integers, tf.float32) * self.steps


def _tensor(
    value: Bytes, dtype: tf.DType | None = None, name: str | None = None, as_ref: bool = False
) -> tf.Tensor:
    del name, as_ref  # TensorFlow gives them
    return tf.cast(value.tensor(), dtype or tf.float32)


tf.register_tensor_conversion_function(Bytes, _tensor)


class StoredCodec(tf.Module):
    """The variables of an exported codec.

    coding: its exact entropy model, in integers.
    weights: those of its transforms, a list of tf.Variable or `Bytes`.

    Args:
      codec: a `tfclic.models.base.ImageCodec` with all its variables made.
      like: another one, of which the codec was restored; the variables are as there. None: they are
        made of the codec alone.
      with_bytes: whether large kernels are `Bytes`, as they are of exports since 28 November 2026;
        what `like` has counts more.

    Raises:
      errors.ModelError: an entropy network cannot be made exact; names the layer.
    """

    def __init__(
        self, codec: ImageCodec, like: StoredCodec | None = None, with_bytes: bool = True
    ) -> None:
        super().__init__(name="tfclic")
        try:
            self.coding = codec.entropy_coder()
            if like is not None:
                self.coding.take(like.coding)
        except ValueError as error:
            raise errors.ModelError(f"The model cannot be exported: {error}.") from error
        if like is not None:
            with_bytes = any(isinstance(weight, Bytes) for weight in like.weights)
        large = _large(codec) if with_bytes else set()
        self.weights: list[Weight] = [
            Bytes(tf.convert_to_tensor(v))
            if id(v) in large
            else tf.Variable(tf.cast(v, DTYPE), trainable=False, name="weight")
            for v in _in_transforms(codec)
        ]
        if like is not None:
            for weight, value in zip(_variables(self.weights), _variables(like.weights)):
                weight.assign(value)

    def stand_ins(self, codec: ImageCodec) -> dict[int, Weight]:
        """The weights by the ids of the variables of which they were made."""
        return {id(v): weight for v, weight in zip(_in_transforms(codec), self.weights)}

    def digest(self, revision: int | None = None) -> bytes:
        """The fingerprint of a model with these variables, 4 bytes.

        Args:
          revision: that of the coding; None: today's.
        """
        # no others: how pixels are made of latents changes no file
        plain = [weight for weight in self.weights if not isinstance(weight, Bytes)]
        of_bytes = _variables([weight for weight in self.weights if isinstance(weight, Bytes)])
        variables = *plain, *self.coding.variables, *of_bytes  # in the order of `_place`
        values = {number: variable.numpy() for number, variable in enumerate(variables)}
        return _digest(values, self.coding.revision if revision is None else revision)

    def restore(self, codec: ImageCodec) -> list[tf.Variable]:
        """Gives the codec of which this was made the weights that are stored here.

        Returns:
          A list of the variables that were given values; the others matter in training alone.
        """
        given = self.coding.restore()
        for variable, weight in zip(_in_transforms(codec), self.weights):
            variable.assign(tf.cast(weight, variable.dtype))
            given.append(variable)
        return list({id(v): v for v in given}.values())


def _in_transforms(codec: ImageCodec) -> list[tf.Variable]:
    """The variables of the parts that stay in floating point, each once."""
    found = (v for module in codec.transforms() for v in module.variables)
    return list({id(v): v for v in found}.values())


def _large(codec: ImageCodec) -> set[int]:
    """The ids of the kernels that are `Bytes`."""
    of_encoder = {id(v) for module in codec.encoder() for v in module.variables}
    gains = {id(v) for v in codec.gain.variables}

    def is_large(variable: tf.Variable) -> bool:
        if "kernel" not in variable.name:
            return False  # of what the columns of GDN and of spectra have, no part is negligible
        least_rank = 2 if id(variable) in of_encoder - gains else CONVOLUTION
        return len(variable.shape) >= least_rank and variable.shape.num_elements() >= LARGE

    return {id(v) for v in _in_transforms(codec) if is_large(v)}


def _variables(weights: Iterable[Weight]) -> list[tf.Variable]:
    """The variables of weights."""
    pairs = (w.variables if isinstance(w, Bytes) else [w] for w in weights)
    return [variable for pair in pairs for variable in pair]


def read(model: Model, build: Callable[[ImageCodec], Any]) -> tuple[ImageCodec, list[tf.Variable]]:
    """Makes a codec of an exported model, as near to the one that was exported as it can be.

    Weights have come back from half precision, those of the entropy networks from integers of 8
    bits; what was exported again at once would have the same fingerprint, were it not for priors
    that are kept as tables, to which densities are fitted.

    Args:
      model: a `catalog.Model`.
      build: function that makes the variables of a codec.

    Returns:
      The codec, and a list of those of its variables that were given values.

    Raises:
      errors.ModelError: the model is damaged, or of a version that stored other things.
    """
    codec, stored = _read(model, build)
    return codec, stored.restore(codec)


def reread(model: Model, build: Callable[[ImageCodec], Any]) -> tuple[ImageCodec, StoredCodec]:
    """As `read`, for who exports it again: the codec, and what the other export stored of it.

    Raises:
      errors.ModelError: as `read`; or today's graph would make other strings of these weights.
    """
    codec, stored = _read(model, build)
    if stored.digest().hex() != model.fingerprint:
        raise errors.ModelError(
            f"The strings of {model} are not those of today's models; export its run again."
        )
    stored.restore(codec)
    return codec, stored


def ranges(model: Model) -> Ranges | None:
    """What was measured of the values in a model's synthesis; None: it is in floating point."""
    reader = tf.train.load_checkpoint(str(model.path / "variables" / "variables"))
    paths = reader.get_variable_to_shape_map()
    found = [path for path in paths if path.startswith(RANGES) and path.endswith(SUFFIX)]
    if not found:
        return None
    return exact_ranges.restored(
        {path[len(RANGES) : -len(SUFFIX)]: reader.get_tensor(path) for path in found}
    )


def _read(model: Model, build: Callable[[ImageCodec], Any]) -> tuple[ImageCodec, StoredCodec]:
    from ml_collections import ConfigDict

    try:
        codec = models.build(ConfigDict(model.card.config["model"]))
        build(codec)
        values = _values(model.path / "variables" / "variables")
        with_bytes = any(re.fullmatch(r"weights/\d+/steps", path) for path in values)
        stored = StoredCodec(codec, with_bytes=with_bytes)
        if not any(path.startswith("coding/names/") for path in values):
            stored.coding.names = {}  # it is of a revision before 3
        if any(path.startswith("coding/networks/") for path in values):
            holder = tf.train.Checkpoint(coding=stored.coding, weights=stored.weights)
            status = holder.read(str(model.path / "variables" / "variables"))
            status.assert_existing_objects_matched().expect_partial()
        else:
            earlier.assign(stored.coding, stored.weights, values)
    except (KeyError, AttributeError, ValueError, AssertionError, tf.errors.OpError):
        raise errors.ModelError(f"The weights of {model.path} cannot be read.") from None
    revisions = range(stored.coding.revision + 1)
    if model.fingerprint not in [_digest(values, each).hex() for each in revisions]:
        raise errors.ModelError(f"The weights of {model.path} are not those of its card.")
    return codec, stored


def _values(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The variables of a SavedModel, a dict of arrays by path, in the order of fingerprints."""
    reader = tf.train.load_checkpoint(str(path))
    names = (name for name in reader.get_variable_to_shape_map() if name.endswith(SUFFIX))
    paths = (name[: -len(SUFFIX)] for name in names)
    ours = (path for path in paths if path.startswith(("coding/", "weights/")))
    return {path: reader.get_tensor(path + SUFFIX) for path in sorted(ours, key=_place)}


def _place(path: str) -> list[tuple[Any, ...]]:
    """Sorts paths as tf.Module does: a module's own variables, then those of its modules."""
    names = [int(name) if name.isdecimal() else name for name in path.split("/")]
    groups: list[tuple[Any, ...]] = []  # a name, and the numbers after it: those in a list
    for name in names:
        numbered = groups.pop() if isinstance(name, int) else ()
        groups.append((*numbered, name))
    return [(i < len(groups) - 1, *group) for i, group in enumerate(groups)]


def _digest(values: Mapping[Any, np.ndarray], revision: int) -> bytes:
    """The fingerprint, 4 bytes, of variables, a dict of arrays in their order."""
    digest = hashlib.sha256()
    for value in values.values():
        digest.update(np.ascontiguousarray(value).tobytes())
    digest.update(bytes([revision] if revision else []))
    return digest.digest()[:4]
