"""The portable step: a train step that leaves TensorFlow, and comes back as an ordinary workdir.

`export_folder` writes everything that is needed to train elsewhere: the runner, the step as HLO,
the state, and images; `adopt` turns what it brought back into checkpoints. The step is
`step.advance`, as in the ordinary loop, compiled into one pure function

    (images, seed, levels, rate, state) -> (metrics, state)

whose random numbers are functions of the seed alone. HLO is what crosses versions: XLA in whatever
jax runs it converts and compiles it there.
"""

from __future__ import annotations

import datetime
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import ml_collections
import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2

from tfclic import configuration, errors
from tfclic.portable import packs
from tfclic.portable.runner import files
from tfclic.training import changes, checkpoints, loop, objectives, step

if TYPE_CHECKING:
    import numpy as np
    from ml_collections import ConfigDict
    from tensorflow.types.experimental import ConcreteFunction, PolymorphicFunction

    from tfclic.models.base import ImageCodec
    from tfclic.training.sources import ImageStore

Named = list[list[str]]
REFUSED = "This configuration has no portable step:"
RUNNER = pathlib.Path(__file__).parent / files.MODULES
# The program that starts a run, in the folder.
PROGRAM = """\
import sys

from runner import run

sys.exit(run.main())
"""


def make_step(codec: ImageCodec, state: step.State, training: ConfigDict) -> PolymorphicFunction:
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
    train_step: PolymorphicFunction, state: step.State
) -> tuple[bytes, Named, Named, dict[str, np.ndarray]]:
    """Turns a portable step into HLO.

    Args:
      train_step: from `make_step`.
      state: its `step.State`.

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


def _parameters(
    concrete: ConcreteFunction, state: step.State
) -> tuple[Named, dict[str, np.ndarray]]:
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


def export_folder(
    folder: files.Path,
    name: str,
    config: ConfigDict,
    codec: ImageCodec,
    precision: str,
    store: ImageStore,
    options: packs.Options,
    workdir: files.Path | None = None,
) -> tuple[int, int]:
    """Writes a portable folder: see `runner.files` for what is in it.

    Args:
      folder: path of a folder that does not exist yet, or is empty.
      name, config: of the configuration.
      codec: the model, built from `config`.
      precision: what its transforms compute in, "float32" or "bfloat16".
      store: `sources.ImageStore` of the images.
      options: `packs.Options`.
      workdir: training run whose newest checkpoint is the start; None starts anew.

    Returns:
      `(start, images)`: the step to start from, and the number of packed images.

    Raises:
      errors.UsageError: the folder is in use, the configuration cannot be exported or does not fit
        the workdir, or no image is large enough.
    """
    folder, training = pathlib.Path(folder), config.training
    loop.check(config)
    if training.rounded_share:
        raise errors.UsageError(
            f"{REFUSED} training.rounded_share has to be 0; bin/train takes the last phase, after "
            "--adopt."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise errors.UsageError(f"{folder} is not empty; a portable folder is made in a new one.")
    state = step.State(codec, training)
    record = _start_from(pathlib.Path(workdir), config, state) if workdir else {}
    start = int(state.step)
    if start >= training.steps:
        raise errors.UsageError(
            f"{workdir} has done {start} steps, and training.steps is {training.steps}."
        )
    hlo, params, results, constants = lower(make_step(codec, state, training), state)
    temporary = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        files.write_bytes(temporary / files.STEP, hlo)
        arrays = {**{name: v.numpy() for name, v in state.named().items()}, **constants}
        progress = {"step": start, "runs": []}
        limit, compact = options.file_bytes, options.compact_state
        files.write_state(temporary, arrays, progress, limit, compact)
        images = packs.write_packs(temporary, store, training, options)
        files.write_bytes(temporary / files.PROGRAM, PROGRAM.encode())
        (temporary / files.MODULES).mkdir()
        for path in RUNNER.glob("*.py"):
            shutil.copy(path, temporary / files.MODULES)
        meta = {
            "format": files.FORMAT,
            "name": name,
            "config": checkpoints.as_plain(config),
            "batch": int(training.batch_size),
            "crop": int(training.crop_size),
            "levels": len(codec.lmbdas),
            "steps_per_call": options.steps_per_call,
            "params": params,
            "results": results,
            "record": {
                **record,
                "precision": precision,
                "data": f"{store.description}, {images} crops of {options.side} pixels",
                "data_fingerprint": store.fingerprint(),
            },
        }
        files.write_json(temporary / files.META, meta)
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return start, images


def _start_from(workdir: pathlib.Path, config: ConfigDict, state: step.State) -> dict[str, Any]:
    """Loads the newest checkpoint of a workdir of the same model into `state`; its record."""
    if not changes.is_same_model(checkpoints.read_config(workdir), checkpoints.as_plain(config)):
        raise errors.UsageError(f"{workdir} was made by another configuration of the model.")
    record = checkpoints.restore(workdir, state)
    if record is None:
        raise errors.UsageError(f"{workdir} holds no checkpoint.")
    return record


def adopt(
    folder: files.Path, workdir: pathlib.Path, build: Callable[[ConfigDict], ImageCodec]
) -> dict[str, Any]:
    """Makes an ordinary workdir of a portable folder's state.

    Args:
      folder: a portable folder, the state that came back in it.
      workdir: pathlib.Path of the new run; holds no run yet.
      build: function of the configuration that returns the codec.

    Returns:
      The training record, a dict.

    Raises:
      errors.UsageError: the workdir is in use, or the folder is incomplete or damaged.
    """
    if (workdir / "config.json").exists() or checkpoints.available(workdir):
        raise errors.UsageError(f"{workdir} holds a run already; --adopt makes a new one.")
    try:
        meta = files.read_meta(folder)
        arrays, progress = files.read_state(folder)
    except files.PortableError as error:
        raise errors.UsageError(str(error)) from None
    config = ml_collections.ConfigDict(configuration.complete(meta["config"]))
    state = step.State(build(config), config.training)
    variables = state.named()
    shapes = {name: tuple(v.shape) for name, v in variables.items()}
    found = {n: a.shape for n, a in arrays.items() if not n.startswith("constant/")}
    # what is not trained may be missing in a folder by older code
    untrained = {f"weights/{path}" for path in set(state.weights) - set(state.trained)}
    if shapes != {**{name: shapes[name] for name in untrained}, **found}:
        raise errors.UsageError(f"The state in {folder} is not one of {meta['name']}.")
    for name in found:
        variables[name].assign(arrays[name])
    record = _record(meta, progress, config.training)
    workdir.mkdir(parents=True, exist_ok=True)
    checkpoints.write_config(workdir, meta["name"], config)
    checkpoints.save(workdir, state, record)
    return record


def _record(
    meta: Mapping[str, Any], progress: Mapping[str, Any], training: ConfigDict
) -> dict[str, Any]:
    """Returns the training record after the portable runs: what came before them, and they."""
    before, runs = meta["record"], progress["runs"]

    def total(key: str, of_run: str | None = None) -> float:
        return before.get(key, 0) + sum(run[of_run or key] for run in runs)

    devices = [before.get("hardware"), *(run["device"] for run in runs)]
    return {
        **before,
        "steps": progress["step"],
        "planned_steps": int(training.steps),
        "images_seen": total("images_seen", "images"),
        "seconds": round(total("seconds"), 1),
        "skipped_steps": total("skipped_steps"),
        "hardware": "; ".join(dict.fromkeys(filter(None, devices))),
        "tensorflow": tf.__version__,
        "date": datetime.date.today().isoformat(),
        "validation": before.get("validation"),
        "portable": [*before.get("portable", []), *runs],
    }
