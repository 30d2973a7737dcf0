"""The messages of TensorFlow Serving, without TensorFlow's Python package.

`tensorflow_serving.apis` imports a few modules of `tensorflow.core` that hold nothing but messages,
and with them the whole of the package `tensorflow`, which takes seconds and hundreds of megabytes.
While they are imported here, that package is an empty one that merely has its folder; afterwards
it can be imported as if nothing had been.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import types
from collections.abc import Iterator

from tfclic import errors


@contextlib.contextmanager
def _messages_only() -> Iterator[None]:
    spec = importlib.util.find_spec("tensorflow")
    if "tensorflow" in sys.modules or spec is None:
        yield
        return
    known = set(sys.modules)
    package = types.ModuleType("tensorflow")
    package.__path__ = list(spec.submodule_search_locations or ())
    sys.modules["tensorflow"] = package
    try:
        yield
    finally:
        for name in set(sys.modules) - known:
            if name.partition(".")[0] == "tensorflow":
                del sys.modules[name]


try:
    with _messages_only():
        from tensorflow.core.framework import tensor_pb2, types_pb2
        from tensorflow.core.protobuf import saved_model_pb2
        from tensorflow_serving.apis import (
            get_model_metadata_pb2,
            get_model_status_pb2,
            model_pb2,
            model_service_pb2_grpc,
            predict_pb2,
            prediction_log_pb2,
            prediction_service_pb2_grpc,
        )
except ImportError as error:
    raise errors.UsageError(
        f"Serving needs the package {error.name}; install tfclic[serve]."
    ) from error

__all__ = [
    "get_model_metadata_pb2",
    "get_model_status_pb2",
    "model_pb2",
    "model_service_pb2_grpc",
    "predict_pb2",
    "prediction_log_pb2",
    "prediction_service_pb2_grpc",
    "saved_model_pb2",
    "tensor_pb2",
    "types_pb2",
]
