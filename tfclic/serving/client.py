"""A client of `bin/serve` or TensorFlow Serving, over gRPC."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Union

import grpc
import numpy as np

from tfclic import errors
from tfclic.format.header import OTHER_MODEL
from tfclic.format.served import COMPRESS, DECOMPRESS, GOOD, Files, Images
from tfclic.serving import protos, tensors

if TYPE_CHECKING:
    from tfclic.format.interface import Function

Inputs = Mapping[str, Union[np.ndarray, list[bytes]]]

SECONDS = 600  # until an answer is given up
_MEBIBYTE = 1 << 20
# A server that restarts, or has its hands full, is asked again; for some 6 seconds in all.
_RETRIES = {
    "methodConfig": [
        {
            "name": [{"service": "tensorflow.serving.PredictionService"}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.5s",
                "maxBackoff": "4s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ]
}
_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.service_config", json.dumps(_RETRIES)),
    # what is larger than this would not be sent again
    ("grpc.per_rpc_retry_buffer_size", 128 * _MEBIBYTE),
]


class Client:
    """Compresses and decompresses at a server. May be called by several threads at once.

    Args:
      address: HOST:PORT.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        self._stub = protos.prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def compress(
        self, model: str, image: bytes, quality: float, effort: int = 0, areas: str = ""
    ) -> bytes:
        """Returns the `.tfclic` file, bytes, of an encoded image.

        Args:
          model: NAME or NAME/VERSION, as the server knows it.
          image: bytes of a PNG file, or of another that the server reads.
          quality: 0..100.
          effort, areas: what `bin/serve` takes beside that (`tfclic.serving.extras`).

        Raises:
          errors.ImageError: the image is refused.
          errors.ModelError: the server has no such model.
          errors.TfclicError: the server cannot be reached, or does not answer.
        """
        inputs = Images([image], np.array([quality], np.float32))
        more: dict[str, np.ndarray | list[bytes]] = {}
        if effort:
            more["efforts"] = np.array([effort], np.int32)
        if areas:
            more["areas"] = [areas.encode()]
        return self._call(model, COMPRESS, inputs, errors.ImageError, more).files_bytes[0]

    def decompress(self, model: str, data: bytes, scale: float = 1) -> bytes:
        """Returns the PNG file, bytes, of the image in a `.tfclic` file.

        Args:
          model: as for `compress`.
          data: the file.
          scale: of the image; less than 1 is for `bin/serve` (`tfclic.serving.extras`).

        Raises:
          errors.FileFormatError: it is not a sound file.
          errors.ModelError: another model made it, or the server has no such model.
          errors.TfclicError: the server cannot be reached, or does not answer.
        """
        more = {"scales": np.array([scale], np.float32)} if scale != 1 else {}
        found = self._call(model, DECOMPRESS, Files([data]), errors.FileFormatError, more)
        return found.images_bytes[0]

    def _call(
        self,
        model: str,
        function: Function,
        inputs: Images | Files,
        refusal: type[errors.TfclicError],
        more: Inputs,
    ) -> Any:
        """What a `Function` of `tfclic.format.served` gives for a batch of one element.

        `more` are inputs that a server may take beside its own.
        """
        request = predict_request(model, function.name, {**inputs._asdict(), **more})
        try:
            answer = self._stub.Predict(request, timeout=SECONDS, metadata=_metadata())
        except grpc.RpcError as error:
            raise self._failure(error, refusal) from error
        outputs = {key: tensors.to_array(each) for key, each in answer.outputs.items()}
        found = function.results(outputs)
        status = found.statuses[0].decode()
        if status.startswith(OTHER_MODEL):
            refusal = errors.ModelError
        if status != GOOD:
            raise refusal(status)
        return found

    def _failure(
        self, error: grpc.RpcError, refusal: type[errors.TfclicError]
    ) -> errors.TfclicError:
        code, sentence = error.code(), error.details() or ""
        # what gRPC itself tells of a connection is no sentence
        if code is grpc.StatusCode.UNAVAILABLE and not sentence.endswith("."):
            return errors.TfclicError(f"The server {self._address} cannot be reached.")
        if code is grpc.StatusCode.NOT_FOUND:
            return errors.ModelError(f"The server {self._address} says: {sentence}")
        kind = refusal if code is grpc.StatusCode.INVALID_ARGUMENT else errors.TfclicError
        return kind(f"The server {self._address} says: {sentence}")


def _metadata() -> tuple[tuple[str, str], ...]:
    """The `traceparent` that the environment has, for the server's traces; or nothing."""
    parent = os.environ.get("TRACEPARENT", "")
    is_one = re.fullmatch(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", parent)
    return (("traceparent", parent),) if is_one else ()


def predict_request(
    model: str, signature: str, inputs: Inputs
) -> protos.predict_pb2.PredictRequest:
    """The PredictRequest for a signature.

    Args:
      model: NAME or NAME/VERSION.
      signature: its name.
      inputs: dict of arrays and of lists of bytes.
    """
    name, _, version = model.rpartition("/")
    request = protos.predict_pb2.PredictRequest()
    request.model_spec.signature_name = signature
    if name and version.isdecimal():
        request.model_spec.name, request.model_spec.version.value = name, int(version)
    else:
        request.model_spec.name = model
    for key, value in inputs.items():
        if isinstance(value, list):
            batch = np.empty(len(value), np.object_)
            batch[:] = value
            value = batch
        request.inputs[key].CopyFrom(tensors.to_proto(value))
    return request
