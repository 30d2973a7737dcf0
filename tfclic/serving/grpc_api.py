"""TensorFlow Serving's gRPC services."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from absl import logging

from tfclic.serving import protos, tensors
from tfclic.serving.refusals import Refusal, StatusCode, invalid

if TYPE_CHECKING:
    import grpc
    import numpy as np

    from tfclic.serving.manager import Manager
    from tfclic.serving.predictor import Predictor
    from tfclic.serving.servable import Servable

Method = Callable[..., Awaitable[Any]]

SIGNATURE_FIELD = "signature_def"


def _refusing(method: Method) -> Method:
    """A method of a service whose refusals become gRPC's statuses."""

    @functools.wraps(method)
    async def answered(self: Any, request: Any, context: grpc.aio.ServicerContext) -> Any:
        try:
            return await method(self, request, context)
        except Refusal as refusal:
            code, sentence = refusal.code, str(refusal)
        except Exception:
            logging.exception("A request failed.")
            code, sentence = StatusCode.INTERNAL, "The server failed."
        await context.abort(code, sentence)

    return answered


async def _unserved(self: Any, request: Any, context: grpc.aio.ServicerContext) -> None:
    await context.abort(StatusCode.UNIMPLEMENTED, "This is not served here.")


def _version(spec: protos.model_pb2.ModelSpec) -> int | None:
    """The version that a ModelSpec asks for, or None; raises Refusal if it has a label."""
    if spec.version_label:
        raise invalid("Versions have no labels here.")
    return spec.version.value if spec.HasField("version") else None


class PredictionService(protos.prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; the methods for other kinds of models are refused.

    Args:
      predictor: a `predictor.Predictor`.
    """

    Classify = Regress = MultiInference = _unserved

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    @_refusing
    async def Predict(  # noqa: N802
        self, request: protos.predict_pb2.PredictRequest, context: grpc.aio.ServicerContext
    ) -> protos.predict_pb2.PredictResponse:
        spec = request.model_spec

        def parse(servable: Servable) -> tuple[str, dict[str, np.ndarray], tuple[str, ...]]:
            name = spec.signature_name
            servable.signature(name)
            inputs = {key: tensors.to_array(each) for key, each in request.inputs.items()}
            return name, inputs, tuple(request.output_filter)

        return await self._predictor.predict(
            spec.name, _version(spec), parse, predict_response, context.time_remaining()
        )

    @_refusing
    async def GetModelMetadata(  # noqa: N802
        self,
        request: protos.get_model_metadata_pb2.GetModelMetadataRequest,
        context: grpc.aio.ServicerContext,
    ) -> protos.get_model_metadata_pb2.GetModelMetadataResponse:
        for field in request.metadata_field:
            if field != SIGNATURE_FIELD:
                raise invalid(f"There is no metadata field but {SIGNATURE_FIELD}.")
        if not request.metadata_field:
            raise invalid("A metadata field has to be asked for.")
        spec = request.model_spec
        with self._predictor.manager.leased(spec.name, _version(spec)) as servable:
            answer = protos.get_model_metadata_pb2.GetModelMetadataResponse()
            answer.model_spec.name = servable.name
            answer.model_spec.version.value = servable.version
            answer.metadata[SIGNATURE_FIELD].Pack(signature_map(servable))
            return answer


class ModelService(protos.model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus; what is served is decided by the folder alone.

    Args:
      manager: a `manager.Manager`.
    """

    HandleReloadConfigRequest = _unserved

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    @_refusing
    async def GetModelStatus(  # noqa: N802
        self,
        request: protos.get_model_status_pb2.GetModelStatusRequest,
        context: grpc.aio.ServicerContext,
    ) -> protos.get_model_status_pb2.GetModelStatusResponse:
        spec = request.model_spec
        found = self._manager.statuses(spec.name, _version(spec))
        return protos.get_model_status_pb2.GetModelStatusResponse(model_version_status=found)


def signature_map(servable: Servable) -> protos.get_model_metadata_pb2.SignatureDefMap:
    """The SignatureDefMap of a `servable.Servable`."""
    return protos.get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signatures)


def predict_response(
    servable: Servable, signature: str, outputs: Mapping[str, np.ndarray]
) -> protos.predict_pb2.PredictResponse:
    """The PredictResponse with the arrays `outputs`."""
    answer = protos.predict_pb2.PredictResponse()
    answer.model_spec.name, answer.model_spec.signature_name = servable.name, signature
    answer.model_spec.version.value = servable.version
    for name, array in outputs.items():
        answer.outputs[name].CopyFrom(tensors.to_proto(array))
    return answer
