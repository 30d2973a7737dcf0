"""The side of `train_step.py` that trains with tfclic: one step for each line on its input."""

import collections
import json
import math
import pathlib
import sys
import tempfile

import numpy as np
import tensorflow as tf
import turns
from ml_collections import config_dict

from tfclic import configuration, models
from tfclic.training import record, step
from tfclic.training.state import State

PROFILED_STEPS = 3
COUNTED = "Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter", "MatMul", "BatchMatMulV2"


def make_step(name, width, dtype, batch, size):
    """Makes a step on one fixed random batch.

    Args:
      name: a configuration in configs/.
      width: replaces all of its channel counts as in the paper; 0 leaves them.
      dtype: "float32" or "bfloat16", of the transforms.
      batch, size: images per step, and their side in pixels.

    Returns:
      (run, flops): a function without arguments that does one step, and the step's count by
      `count_flops`.
    """
    _, config = configuration.load(name)
    model = config_dict.ConfigDict(config.model.to_dict())
    model.compute_dtype = dtype
    if width:
        model.update(latent_channels=width, widths=(width,) * 3, hyper_channels=width)
        model.update(feature_channels=2 * width)
    codec = models.build(model)
    state = State(codec, config.training)
    function = step.make_step(codec, state, config.training)
    pixels = np.random.default_rng(0).integers(0, 256, [batch, size, size, 3], np.uint8)
    images, seed = tf.constant(pixels), step.seed_of(1, 0)
    graph = function.get_concrete_function(images, seed).graph
    return lambda: float(function(images, seed)["loss"]), count_flops(graph)


def count_flops(graph):
    """Two for each multiplication of the convolutions and matrix products, forward and backward.

    Element-wise work and the update of the weights count nothing.
    """
    return sum(_products(op) for op in graph.get_operations())


def _products(op):
    if op.type == "Einsum":
        inputs, output = op.get_attr("equation").decode().split("->")
        sizes = {}
        for labels, tensor in zip(inputs.split(","), op.inputs):
            sizes.update(zip(labels, tensor.shape))
        return 2 * math.prod(sizes[label] for label in set(inputs) - set(",."))
    if op.type not in COUNTED:
        return 0
    if op.type.endswith("MatMul") or op.type == "BatchMatMulV2":
        transposed = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
        contracted = op.inputs[0].shape[-2 if transposed else -1]
        return 2 * math.prod(op.outputs[0].shape) * contracted
    # the kernel meets every position of what the forward convolution puts out
    kernel = op.outputs[0] if op.type == "Conv2DBackpropFilter" else op.inputs[1]
    positions = op.outputs[0] if op.type == "Conv2D" else op.inputs[2]
    return 2 * math.prod(kernel.shape) * math.prod(positions.shape[:3])


def profile(run):
    """Per kind of operation, the time of one step on all cores, by TensorFlow's profiler.

    Returns:
      List of (kind, calls, milliseconds), by falling time; a call on two threads counts once.
    """
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    run()
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        for _ in range(PROFILED_STEPS):
            run()
        tf.profiler.experimental.stop()
        file = next(pathlib.Path(folder).glob("plugins/profile/*/*.xplane.pb"))
        space = xplane_pb2.XSpace.FromString(file.read_bytes())
    calls, times = collections.Counter(), collections.Counter()
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            # operations are "name:Kind"; functions and the executor's own events are not
            name, _, kind = plane.event_metadata[event.metadata_id].name.rpartition(":")
            if name and not name.startswith("Eager") and not name.endswith(":"):
                calls[kind] += 1
                times[kind] += event.duration_ps / 1e9
    return [(k, calls[k] // PROFILED_STEPS, t / PROFILED_STEPS) for k, t in times.most_common()]


def main():
    """Arguments as JSON: name, width, variant, batch, size, profile. Answers are JSON lines."""
    options = json.loads(sys.argv[1])
    keys = "name", "width", "variant", "batch", "size"
    run, flops = make_step(*(options[key] for key in keys))
    info = pathlib.Path("/proc/cpuinfo")
    amx = info.exists() and "amx_bf16" in info.read_text()
    print(json.dumps({"flops": flops, "hardware": record.hardware(), "amx": amx}), flush=True)
    if options["profile"]:
        print(json.dumps(profile(run)), flush=True)
    turns.answer(run)


if __name__ == "__main__":
    main()
