"""Requests that a server runs before it says that a model is available: TensorFlow Serving's way.

The first call of a signature takes seconds, since its graph is set up then. So that no client waits
for that, an export brings one call of each signature along, with what it answered.
"""

from __future__ import annotations

import importlib.util
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tfclic.format import model, served
from tfclic.runtime import session as sessions

if TYPE_CHECKING:
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    from tfclic.format.model import Signature

SIDES = 96, 128  # pixels of the image, rows and columns


def is_possible() -> bool:
    """Whether the package with TensorFlow Serving's messages is installed; exporting needs it."""
    return importlib.util.find_spec("tensorflow_serving") is not None


def write(path: pathlib.Path, name: str, functions: Mapping[str, Signature]) -> None:
    """Records a call of each signature of `tfclic.export.served`, with a small made image.

    Args:
      path: pathlib.Path of the SavedModel.
      name: of the model.
      functions: as `tfclic.runtime.session.Session` takes them.
    """
    session = sessions.Session(path, functions)
    images = served.Images(_batch(_image()), np.array([50], np.float32))
    made = session.call(served.COMPRESS, *images)
    files = served.Files(made.files_bytes)
    target = path / model.WARM_UP
    target.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(target)) as writer:
        for function in served.SERVED:
            given = images if function.takes is served.Images else files
            outputs = session.call(function, *given)
            log = _log(name, function.name, given._asdict(), outputs._asdict())
            writer.write(log.SerializeToString())


def _log(
    name: str,
    signature: str,
    inputs: Mapping[str, np.ndarray],
    outputs: Mapping[str, np.ndarray],
) -> PredictionLog:
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


def _image() -> bytes:
    """A PNG file, bytes."""
    rows, columns = np.mgrid[: SIDES[0], : SIDES[1]] / 16
    waves = [np.sin(rows + shift) + np.cos(columns - shift) for shift in range(3)]
    pixels = (127.5 + 60 * np.stack(waves, -1)).astype(np.uint8)
    return tf.io.encode_png(pixels).numpy()


def _batch(value: bytes) -> np.ndarray:
    array = np.empty(1, np.object_)
    array[0] = value
    return array
