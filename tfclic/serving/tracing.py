"""Spans of requests, for an OpenTelemetry collector; nothing is imported where none is asked for.

A request is a span with the attributes of OpenTelemetry's semantic conventions for gRPC or HTTP,
whose parent is that of the client's `traceparent`. Below it are

- `queue`: the wait for a worker,
- `admission`: the wait for memory,
- `run`: the model and what is done beside it.

The metrics and gRPC's health service, which are asked every few seconds, have none.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging as python_logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import grpc
from absl import logging
from aiohttp import hdrs, web

from tfclic import __version__, errors
from tfclic.serving.refusals import StatusCode

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

NAME = "tfclic"
END_SECONDS = 3.0  # that a collector gets to take what it has not been sent
_UNTRACED = "grpc.health.v1.Health"
# What the conventions call an error of the server, and not of the client.
_FAULTS = frozenset(
    {
        StatusCode.UNKNOWN, StatusCode.DEADLINE_EXCEEDED, StatusCode.UNIMPLEMENTED,
        StatusCode.INTERNAL, StatusCode.UNAVAILABLE, StatusCode.DATA_LOSS,
    }
)  # fmt: skip
_CODES = {code.value[0]: code for code in StatusCode}


class Untraced:
    """What a server without a collector does: nothing."""

    def tell(self, **attributes: str | int) -> None:
        """Gives the request's span attributes, whose names begin with `tfclic.`."""

    def waited(self, name: str, began: int) -> None:
        """Makes a span from `began` (time.time_ns()) until now, below that of the request."""

    def span(self, name: str) -> contextlib.AbstractContextManager[object]:
        """A context that is a span below that of the request."""
        return contextlib.nullcontext()

    def interceptors(self) -> list[grpc.aio.ServerInterceptor]:
        """Those of a gRPC server."""
        return []

    def middlewares(self, *untraced: str) -> list[Any]:
        """Those of an aiohttp application, outermost; paths that are `untraced` have no spans."""
        return []

    def end(self) -> None:
        """Sends what is left, or gives it up after END_SECONDS."""


class Traces(Untraced):
    """Makes spans.

    Args:
      processor: OpenTelemetry's `SpanProcessor`, to which they go; see `to_collector`.
    """

    def __init__(self, processor: SpanProcessor) -> None:
        from opentelemetry import propagate, trace
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
        from opentelemetry.sdk.trace import TracerProvider

        resource = Resource.create()
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: NAME, SERVICE_VERSION: __version__}))
        # at an exit it would wait for the collector for as long as that likes
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer(NAME, __version__)
        self._trace, self._extract = trace, propagate.extract

    def tell(self, **attributes: str | int) -> None:
        span = self._trace.get_current_span()
        span.set_attributes({f"{NAME}.{name}": value for name, value in attributes.items()})

    def waited(self, name: str, began: int) -> None:
        self._tracer.start_span(name, start_time=began).end()

    def span(self, name: str) -> contextlib.AbstractContextManager[object]:
        # the log has the stack
        return self._tracer.start_as_current_span(name, record_exception=False)

    def interceptors(self) -> list[grpc.aio.ServerInterceptor]:
        return [_Interceptor(self)]

    def middlewares(self, *untraced: str) -> list[Any]:
        @web.middleware
        async def traced(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path in untraced:
                return await handler(request)
            name, attributes = _of_http(request)
            with self.served(name, request.headers, attributes) as span:
                response = await handler(request)
                span.set_attribute("http.response.status_code", response.status)
                if response.status >= 500:
                    self.fail(span, str(response.status), response.reason or "")
                return response

        return [traced]

    def end(self) -> None:
        # the library itself waits while it asks a collector again that is not there
        thread = threading.Thread(target=self._provider.shutdown, daemon=True)
        thread.start()
        thread.join(END_SECONDS)

    @contextlib.contextmanager
    def served(self, name: str, headers: Any, attributes: dict[str, str | int]) -> Iterator[Span]:
        """A context that is the span of a request.

        Args:
          name: of the span.
          headers: mapping of the client's headers, in which its own span is.
          attributes: of the span.
        """
        kind = self._trace.SpanKind.SERVER
        parent = self._extract({key.lower(): value for key, value in headers.items()})
        with self._tracer.start_as_current_span(
            name, parent, kind, attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except (Exception, asyncio.CancelledError) as error:
                if not isinstance(error, grpc.aio.AbortError):
                    self.fail(span, type(error).__qualname__)
                raise

    def fail(self, span: Span, kind: str, sentence: str = "") -> None:
        """Gives a span the status of an error, of a kind."""
        span.set_attribute("error.type", kind)
        span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, sentence or None))


class _Interceptor(grpc.aio.ServerInterceptor):
    """Spans of a gRPC server's unary calls, which all but the health service's are."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        name = details.method.lstrip("/")
        service, _, method = name.partition("/")
        if handler is None or service == _UNTRACED or handler.unary_unary is None:
            return handler
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}

        @functools.wraps(handler.unary_unary)
        async def traced(request: Any, context: grpc.aio.ServicerContext) -> Any:
            metadata = dict(context.invocation_metadata() or ())
            with self._traces.served(name, metadata, dict(attributes)) as span:
                code = StatusCode.CANCELLED
                try:
                    answer = await handler.unary_unary(request, context)
                    code = StatusCode.OK
                    return answer
                except grpc.aio.AbortError:
                    code = _CODES[_number(context.code())]
                    raise
                finally:
                    span.set_attribute("rpc.grpc.status_code", code.value[0])
                    if code in _FAULTS:
                        self._traces.fail(span, code.name, _text(context.details()))

        return grpc.unary_unary_rpc_method_handler(
            traced,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


def to_collector(address: str) -> Traces:
    """Spans that go to a collector, by OTLP over HTTP, in batches and beside the requests.

    What it does not take is lost, and the first time of that is told in the log; 2,048 spans wait
    at most. All else is set by OpenTelemetry's variables of the environment.

    Args:
      address: HOST:PORT; "": what the environment says, or else localhost:4318.

    Raises:
      errors.UsageError: the packages for that are not installed, or the environment's settings are
        none.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
    except ModuleNotFoundError as error:
        raise errors.UsageError(
            f"{error.name} is missing; pip install 'tfclic[tracing]' brings it."
        ) from error
    # each batch that fails would be told
    for name in ("opentelemetry.exporter", "opentelemetry.sdk.trace.export"):
        python_logging.getLogger(name).setLevel(python_logging.CRITICAL)

    class Exporter(OTLPSpanExporter):
        is_told = False

        def export(self, spans: Any) -> Any:
            try:
                result, reason = super().export(spans), "it does not take them"
            except Exception as error:
                result, reason = SpanExportResult.FAILURE, type(error).__name__
            if result is not SpanExportResult.SUCCESS and not self.is_told:
                self.is_told = True
                logging.warning("Traces cannot be sent to %s: %s.", self._endpoint, reason)
            return result

    try:
        exporter = Exporter(endpoint=f"http://{address}/v1/traces" if address else None)
        return Traces(BatchSpanProcessor(exporter))
    except ValueError as error:
        raise errors.UsageError(f"The environment's OTEL_ variables: {error}.") from error


def _of_http(request: web.Request) -> tuple[str, dict[str, str | int]]:
    """Name and attributes of a request's span."""
    method = request.method if request.method in hdrs.METH_ALL else "_OTHER"
    attributes: dict[str, str | int] = {
        "http.request.method": method,
        "url.path": request.path,
        "url.scheme": request.scheme,
        "network.protocol.version": f"{request.version.major}.{request.version.minor}",
    }
    if request.remote:
        attributes["client.address"] = request.remote
    if agent := request.headers.get(hdrs.USER_AGENT):
        attributes["user_agent.original"] = agent
    name = "HTTP" if method == "_OTHER" else method
    resource = request.match_info.route.resource
    if resource is not None:
        attributes["http.route"] = resource.canonical
        name = f"{name} {resource.canonical}"
    return name, attributes


def _number(code: Any) -> int:
    return code.value[0] if isinstance(code, StatusCode) else int(code)


def _text(details: str | bytes | None) -> str:
    return details.decode(errors="replace") if isinstance(details, bytes) else details or ""
