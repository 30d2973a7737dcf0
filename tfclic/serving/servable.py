"""One version of a model, loaded: its signatures, checked calls, its warm-up."""

from __future__ import annotations

import pathlib
import struct
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from absl import logging

from tfclic import errors
from tfclic.format import model, served
from tfclic.runtime import c_api, catalog, checksums
from tfclic.runtime import codec as codecs
from tfclic.runtime import session as sessions
from tfclic.serving import protos, tensors
from tfclic.serving.refusals import Refusal, StatusCode, invalid

if TYPE_CHECKING:
    from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef


DEFAULT_SIGNATURE = "serving_default"
# Of a codec, these alone are served: its other functions believe their arguments.
CODEC_SIGNATURES = frozenset(function.name for function in served.SERVED)
MOST_WARM_UP = 1000  # requests, as in TensorFlow Serving


class Servable:
    """A SavedModel, loaded by TensorFlow's C API. May be called by several threads at once.

    TensorFlow's own session runs it, as it does in TensorFlow Serving: the Python package is not
    needed for that, and what a model took is given back when it goes.

    Attributes:
      name: of the model.
      version: its number.
      signatures: dict of SignatureDef by name.
      is_codec: bool, whether they are those of `tfclic.format.served`.
      codec: the same as a `tfclic.runtime.Codec`, for what no signature does; None: it has no card.

    Args:
      name, version: of the model.
      path: pathlib.Path of the version's folder.

    Raises:
      errors.ModelError: it cannot be loaded.
    """

    def __init__(self, name: str, version: int, path: pathlib.Path) -> None:
        self.name, self.version, self._path = name, version, path
        found = catalog.at(path) if (path / model.CARD).is_file() else None
        if found:
            checksums.check(path, found.card)
        tags, functions = _graph(path)
        self.is_codec = served.COMPRESS.name in functions
        offered = CODEC_SIGNATURES if self.is_codec else functions
        self.signatures = {name: each for name, each in functions.items() if name in offered}
        try:
            self._session = sessions.Session(path, _functions(functions), tags)
        except c_api.SessionError as error:
            raise errors.ModelError(f"The model {path} cannot be loaded: {error}.") from error
        self.codec = None
        if found and self.is_codec:
            self.codec = codecs.Codec(found, session=self._session)

    def signature(self, name: str) -> SignatureDef:
        """The SignatureDef called `name` ("": the default); raises Refusal if there is none."""
        found = self.signatures.get(name or DEFAULT_SIGNATURE)
        if found is None:
            there = ", ".join(sorted(self.signatures))
            asked = f"no signature {name!r}" if name else "no default signature"
            raise invalid(f"The model {self.name} has {asked}; it has {there}.")
        return found

    def run(
        self, name: str, inputs: Mapping[str, np.ndarray], wanted: Collection[str] = ()
    ) -> dict[str, np.ndarray]:
        """Calls a signature.

        Args:
          name: of the signature.
          inputs: dict of arrays.
          wanted: names of outputs; none: all.

        Returns:
          Dict of arrays.

        Raises:
          Refusal: the inputs are not those of the signature, or the model refuses them.
        """
        signature = self.signature(name)
        _check_inputs(signature, inputs)
        unknown = sorted(set(wanted) - set(signature.outputs))
        if unknown:
            raise invalid(f"The signature has no output {unknown[0]!r}.")
        try:
            outputs = self._session.run(name or DEFAULT_SIGNATURE, **inputs)
        except c_api.SessionError as error:
            # TensorFlow's words have names of the graph, and sometimes paths, in them
            logging.error("%s/%d %s: %s", self.name, self.version, name, error)
            raise _refusal(error) from None
        return {key: value for key, value in outputs.items() if not wanted or key in wanted}

    def warm_up(self) -> int:
        """Runs the requests that the model brings along.

        Returns:
          Their number.

        Raises:
          errors.ModelError: one of them fails.
        """
        count = 0
        try:
            for record in _records(self._path / model.WARM_UP):
                log = protos.prediction_log_pb2.PredictionLog.FromString(record)
                if count < MOST_WARM_UP and log.HasField("predict_log"):
                    request = log.predict_log.request
                    given = {key: tensors.to_array(each) for key, each in request.inputs.items()}
                    self.run(request.model_spec.signature_name, given, request.output_filter)
                    count += 1
        # DecodeError is a ValueError in one protobuf and none in another
        except Exception as error:
            sentence = f"A warm-up request of {self._path} fails: {error}"
            raise errors.ModelError(sentence) from error
        return count


def _graph(path: pathlib.Path) -> tuple[tuple[str, ...], dict[str, SignatureDef]]:
    """Tags and signatures of the graph that is to be served of a SavedModel."""
    try:
        proto = protos.saved_model_pb2.SavedModel.FromString((path / model.GRAPH).read_bytes())
        graphs = {frozenset(graph.meta_info_def.tags): graph for graph in proto.meta_graphs}
        of_range = frozenset(model.OF_RANGE) in graphs and c_api.has_compression()
        tags = model.OF_RANGE if of_range else model.TAGS
        graph = graphs[frozenset(tags)]
    except Exception as error:
        raise errors.ModelError(f"The model {path} cannot be read: {error}.") from error
    found = {k: v for k, v in graph.signature_def.items() if not k.startswith("__")}
    # copies, so that the graph itself is not kept
    found = {name: type(each).FromString(each.SerializeToString()) for name, each in found.items()}
    return tags, found


def _functions(signatures: Mapping[str, SignatureDef]) -> dict[str, dict[str, dict[str, str]]]:
    return {
        name: {
            side: {key: info.name for key, info in getattr(signature, side).items()}
            for side in ("inputs", "outputs")
        }
        for name, signature in signatures.items()
    }


def _check_inputs(signature: SignatureDef, inputs: Mapping[str, np.ndarray]) -> None:
    for name in sorted(set(inputs) ^ set(signature.inputs)):
        what = "has no input" if name in inputs else "needs the input"
        raise invalid(f"The signature {what} {name!r}.")
    batches = {}
    for name, info in signature.inputs.items():
        array, shape = inputs[name], [dim.size for dim in info.tensor_shape.dim]
        number = tensors.number_of(array)
        if number != info.dtype:
            raise invalid(
                f"The input {name!r} has to be of type {tensors.type_name(info.dtype)}, "
                f"not {tensors.type_name(number)}."
            )
        fits = len(shape) == array.ndim and all(
            want in (-1, have) for want, have in zip(shape, array.shape)
        )
        if not fits and not info.tensor_shape.unknown_rank:
            have = ", ".join(map(str, array.shape))
            want = ", ".join(str(size) if size >= 0 else "any" for size in shape)
            raise invalid(f"The input {name!r} has to be of shape [{want}], not [{have}].")
        if array.ndim and shape[:1] == [-1]:
            batches[name] = len(array)
    if len(set(batches.values())) > 1:
        raise invalid(f"The inputs {' and '.join(sorted(batches))} have to be of one length.")


def _refusal(error: c_api.SessionError) -> Refusal:
    codes = {
        c_api.INVALID_ARGUMENT: StatusCode.INVALID_ARGUMENT,
        c_api.DATA_LOSS: StatusCode.INVALID_ARGUMENT,
        c_api.RESOURCE_EXHAUSTED: StatusCode.RESOURCE_EXHAUSTED,
    }
    code = codes.get(error.code, StatusCode.INTERNAL)
    if code is StatusCode.RESOURCE_EXHAUSTED:
        return Refusal(code, "The server has not enough memory for this request.")
    if code is StatusCode.INTERNAL:
        return Refusal(code, "The model failed.")
    sentence = c_api.assertion(error)
    return Refusal(code, sentence or "The model refuses these inputs.")


def _records(path: pathlib.Path) -> Iterator[bytes]:
    """The records of a TFRecord file, bytes; none if there is no such file."""
    if not path.is_file():
        return
    with open(path, "rb") as file:
        while head := file.read(12):
            (length,) = struct.unpack("<Q4x", head)
            record = file.read(length)
            if len(record) != length or len(file.read(4)) != 4:
                raise errors.ModelError("it is truncated.")
            yield record
