"""A train step as HLO, which other libraries compile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2

from tfclic import errors
from tfclic.portable.runner import files
from tfclic.training import objectives, step

if TYPE_CHECKING:
    import numpy as np
    from ml_collections import ConfigDict
    from tensorflow.types.experimental import ConcreteFunction, PolymorphicFunction

    from tfclic.models.base import ImageCodec
    from tfclic.training.state import State

Named = list[list[str]]
REFUSED = "This configuration has no portable step:"


def make_step(codec: ImageCodec, state: State, training: ConfigDict) -> PolymorphicFunction:
    """Makes the portable step.

    Args:
      codec, state, training: as `step.make_step`.

    Returns:
      A tf.function, compiled by XLA, of uint8 images [B, H, W, 3], an int32 seed [2], int32 levels
      [B] and a float32 rate [] that advances `state` and returns a dict of scalars as
      `step.advance` does.
    """
    distortion = objectives.get(training.objective)
    batch, crop = training.batch_size, training.crop_size
    signature = [
        tf.TensorSpec([batch, crop, crop, 3], tf.uint8),
        tf.TensorSpec([2], tf.int32),
        tf.TensorSpec([batch], tf.int32),
        tf.TensorSpec([], tf.float32),
    ]

    @tf.function(jit_compile=True, input_signature=signature, autograph=False)
    def train_step(
        images: tf.Tensor, seed: tf.Tensor, levels: tf.Tensor, rate: tf.Tensor
    ) -> step.Metrics:
        return step.advance(
            codec, state, distortion, training, images, seed, rate, levels, select=True
        )

    return train_step


def lower(
    train_step: PolymorphicFunction, state: State
) -> tuple[bytes, Named, Named, dict[str, np.ndarray]]:
    """Turns a portable step into HLO.

    Args:
      train_step: from `make_step`.
      state: its `state.State`.

    Returns:
      (hlo, params, results, constants): the serialised HloModuleProto; what its parameters and
      results are, lists of ["input", name], ["state", name], ["constant", name] and of
      ["metric", name], ["state", name]; and a dict from constant names to arrays.

    Raises:
      errors.UsageError: XLA cannot compile the step.
    """
    try:
        concrete = train_step.get_concrete_function()
        example = [tf.zeros(s.shape, s.dtype) for s in train_step.input_signature]
        hlo = train_step.experimental_get_compiler_ir(*example)(stage="hlo_serialized")
    except (tf.errors.OpError, ValueError, TypeError, NotImplementedError) as error:
        raise errors.UsageError(f"{REFUSED} {_first_line(error)}") from None
    module = hlo_pb2.HloModuleProto.FromString(hlo)
    params, constants = _parameters(concrete, state)
    results = [["metric", name] for name in sorted(concrete.structured_outputs)]
    for entry in module.input_output_alias.entries:
        if list(entry.output_shape_index) != [len(results)]:
            break
        results.append(params[entry.parameter_number])
    shapes = module.host_program_shape
    if len(shapes.parameters) != len(params) or len(shapes.result.tuple_shapes) != len(results):
        raise errors.UsageError(f"{REFUSED} XLA made something else of its inputs and results.")
    return _slim(module).SerializeToString(), params, results, constants


def _parameters(concrete: ConcreteFunction, state: State) -> tuple[Named, dict[str, np.ndarray]]:
    """Returns the parameters' kinds and names, and the constants among them as arrays."""
    names = {id(v.handle): name for name, v in state.named().items()}
    params = [["input", name] for name in files.INPUTS]
    constants: dict[str, np.ndarray] = {}
    for tensor in concrete.captured_inputs:
        name = names.get(id(tensor))
        if name is None and tensor.dtype == tf.resource:
            raise errors.UsageError(f"{REFUSED} it uses a variable outside of the state.")
        if name is None:
            constants[f"constant/{len(constants)}"] = tensor.numpy()
        params.append(["state", name] if name else ["constant", f"constant/{len(constants) - 1}"])
    return params, constants


def _slim(module: hlo_pb2.HloModuleProto) -> hlo_pb2.HloModuleProto:
    """Returns the module without copies, which StableHLO does not have, and without debug names."""
    for computation in module.computations:
        copied = {i.id: i.operand_ids[0] for i in computation.instructions if i.opcode == "copy"}

        def origin(number: int, copied: Mapping[int, int] = copied) -> int:
            while number in copied:
                number = copied[number]
            return number

        kept = [i for i in computation.instructions if i.id not in copied]
        kept = [hlo_pb2.HloInstructionProto.FromString(i.SerializeToString()) for i in kept]
        for instruction in kept:
            instruction.operand_ids[:] = map(origin, instruction.operand_ids)
            instruction.ClearField("metadata")
        computation.root_id = origin(computation.root_id)
        del computation.instructions[:]
        computation.instructions.extend(kept)
    return module


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
