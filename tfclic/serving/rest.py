"""TensorFlow Serving's REST interface."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aiohttp import web
from google.protobuf import json_format

from tfclic.serving import extras, grpc_api, protos, rest_format
from tfclic.serving.refusals import HTTP_STATUSES, Refusal, StatusCode, invalid

if TYPE_CHECKING:
    import numpy as np
    from google.protobuf.message import Message

    from tfclic.serving.metrics import Metrics
    from tfclic.serving.predictor import Predictor
    from tfclic.serving.servable import Servable

METRICS_PATH = "/monitoring/prometheus/metrics"
MODELS_PATH = "/ui/models"  # what the page asks; TensorFlow Serving lists its models nowhere
_MODEL = r"/v1/models/{name:[^/:]+}"
_VERSION = r"/versions/{version:\d{1,18}}"


def application(
    predictor: Predictor,
    metrics: Metrics,
    max_bytes: int,
    page: pathlib.Path | None = None,
    outermost: Sequence[Any] = (),
) -> web.Application:
    """The aiohttp application.

    Args:
      predictor: a `predictor.Predictor`.
      metrics: a `metrics.Metrics`.
      max_bytes: of a request.
      page: pathlib.Path of an HTML file to show at `/`; None: nothing is there.
      outermost: aiohttp's middlewares around all.
    """
    routes = _Routes(predictor, metrics, page)
    app = web.Application(client_max_size=max_bytes, middlewares=[*outermost, _sentences])
    for model in (_MODEL, _MODEL + _VERSION):
        app.router.add_post(model + ":predict", routes.predict)
        app.router.add_get(model + "/metadata", routes.metadata)
        app.router.add_get(model, routes.status)
    app.router.add_get(METRICS_PATH, routes.metrics)
    if page is not None:
        app.router.add_get("/", routes.page)
        app.router.add_get(MODELS_PATH, routes.models)
    return app


class _Routes:
    def __init__(self, predictor: Predictor, metrics: Metrics, page: pathlib.Path | None) -> None:
        self._predictor, self._metrics, self._page = predictor, metrics, page

    async def predict(self, request: web.Request) -> web.Response:
        name, version = _asked(request)
        try:
            body = await request.read()
        except web.RequestPayloadError:
            raise invalid("The request's body is not what its headers say.") from None
        parsed: rest_format.Request | None = None

        def parse(servable: Servable) -> tuple[str, dict[str, np.ndarray], tuple[()]]:
            nonlocal parsed
            parsed = rest_format.Request(body)
            name, more = parsed.signature, extras.inputs(servable, parsed.signature)
            return name, parsed.inputs(servable.signature(name), more), ()

        def write(servable: Servable, signature: str, outputs: Mapping[str, np.ndarray]) -> str:
            assert parsed
            return rest_format.answer(outputs, parsed.rows)

        text = await self._predictor.predict(name, version, parse, write, entrypoint="REST")
        return web.Response(text=text, content_type="application/json")

    async def metadata(self, request: web.Request) -> web.Response:
        name, version = _asked(request)
        with self._predictor.manager.leased(name, version) as servable:
            found = _as_json(grpc_api.signature_map(servable))
            spec = {"name": name, "signature_name": "", "version": str(servable.version)}
        return _json({"model_spec": spec, "metadata": {grpc_api.SIGNATURE_FIELD: found}})

    async def status(self, request: web.Request) -> web.Response:
        found = self._predictor.manager.statuses(*_asked(request))
        answer = protos.get_model_status_pb2.GetModelStatusResponse(model_version_status=found)
        return _json(_as_json(answer))

    async def metrics(self, request: web.Request) -> web.Response:
        text, content_type = self._metrics.text()
        return web.Response(body=text, headers={"Content-Type": content_type})

    async def models(self, request: web.Request) -> web.Response:
        return _json({"models": self._predictor.manager.available()})

    async def page(self, request: web.Request) -> web.StreamResponse:
        assert self._page
        return web.FileResponse(self._page, headers={"Cache-Control": "no-cache"})


def _asked(request: web.Request) -> tuple[str, int | None]:
    version = request.match_info.get("version")
    return request.match_info["name"], None if version is None else int(version)


@web.middleware
async def _sentences(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Tells every refusal as TensorFlow Serving does: `{"error": sentence}`."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return _json({"error": str(refusal)}, HTTP_STATUSES[refusal.code])
    except web.HTTPRequestEntityTooLarge:
        sentence = "The request is larger than this server takes."
        return _json({"error": sentence}, HTTP_STATUSES[StatusCode.INVALID_ARGUMENT])
    except web.HTTPException as error:
        return _json({"error": f"{error.reason}: see TensorFlow Serving's REST API."}, error.status)


def _json(value: Any, status: int = 200) -> web.Response:
    text = json.dumps(value, indent=1)
    return web.Response(text=text, status=status, content_type="application/json")


def _as_json(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, including_default_value_fields=True, preserving_proto_field_name=True
    )
