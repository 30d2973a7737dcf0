"""Requests that a server runs before it says that a model is available: TensorFlow Serving's way.

The first call of a signature takes seconds, since its graph is set up then. So that no client waits
for that, an export brings one call of each signature along, with what it answered.
"""

import importlib.util

import numpy as np
import tensorflow as tf

from tfclic.runtime import session as sessions

FILE = "assets.extra/tf_serving_warmup_requests"
SIDES = 96, 128  # pixels of the image, rows and columns


def is_possible():
    """Whether the package with TensorFlow Serving's messages is installed; exporting needs it."""
    return importlib.util.find_spec("tensorflow_serving") is not None


def write(path, name, functions):
    """Records a call of each signature of `tfclic.export.served`, with a small made image.

    Args:
      path: pathlib.Path of the SavedModel.
      name: of the model.
      functions: as `tfclic.runtime.session.Session` takes them.
    """
    session = sessions.Session(path, functions)
    images, qualities = _batch(_image()), np.array([50], np.float32)
    calls = [("compress", {"images": images, "qualities": qualities})]
    made = session.run("compress", **calls[0][1])
    calls += [(each, {"files": made["files_bytes"]}) for each in ("decompress", "info", "heat_map")]
    target = path / FILE
    target.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(target)) as writer:
        for signature, inputs in calls:
            outputs = session.run(signature, **inputs)
            writer.write(_log(name, signature, inputs, outputs).SerializeToString())


def _log(name, signature, inputs, outputs):
    """The PredictionLog of a call."""
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    for message, arrays, field in (
        (log.predict_log.request, inputs, "inputs"),
        (log.predict_log.response, outputs, "outputs"),
    ):
        message.model_spec.name, message.model_spec.signature_name = name, signature
        for key, array in arrays.items():
            getattr(message, field)[key].CopyFrom(tf.make_tensor_proto(array))
    return log


def _image():
    """A PNG file, bytes."""
    rows, columns = np.mgrid[: SIDES[0], : SIDES[1]] / 16
    waves = [np.sin(rows + shift) + np.cos(columns - shift) for shift in range(3)]
    pixels = (127.5 + 60 * np.stack(waves, -1)).astype(np.uint8)
    return tf.io.encode_png(pixels).numpy()


def _batch(value):
    array = np.empty(1, np.object_)
    array[0] = value
    return array
