"""Spans of requests, in memory and at a collector made here."""

import http.server
import json
import pathlib
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest

from tfclic import errors
from tfclic.serving import tracing

ROOT = pathlib.Path(__file__).parents[2]
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
PREDICT = "tensorflow.serving.PredictionService/Predict"
STEPS = ["admission", "queue", "run"]


@pytest.fixture
def traced(serving, scaling_folder):
    """A server whose spans are kept, and the function that gives them once there are so many."""
    pytest.importorskip("opentelemetry.sdk.trace")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept = InMemorySpanExporter()
    with serving(scaling_folder, spans=tracing.Traces(SimpleSpanProcessor(kept))) as started:
        yield started, kept.get_finished_spans


def rest(started, path, body=None, **headers):
    """(status, answer) of a request."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(started.url + path, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()


def root_of(spans):
    (root,) = (span for span in spans if span.kind.name == "SERVER")
    return root


def check_tree(spans):
    """Of the spans of an answered request, its own, below the client's and above its steps."""
    root = root_of(spans)
    assert f"{root.context.trace_id:032x}" == TRACE
    assert f"{root.parent.span_id:016x}" == PARENT
    steps = [span for span in spans if span is not root]
    assert sorted(span.name for span in steps) == STEPS
    for span in steps:
        assert span.parent.span_id == root.context.span_id
        assert root.start_time <= span.start_time <= span.end_time <= root.end_time
    assert root.status.status_code.name == "UNSET"
    asked = {"model_name": "scaling", "model_version": 1, "signature_name": "serving_default"}
    assert {f"tfclic.{name}": each for name, each in asked.items()}.items() <= dict(
        root.attributes
    ).items()
    return root


def test_a_request_by_grpc(traced, ask, wait_until):
    started, spans = traced
    started.prediction.Predict(ask([4]), metadata=[("traceparent", TRACEPARENT)])
    wait_until(lambda: len(spans()) == 4)
    root = check_tree(spans())
    assert root.name == PREDICT
    service, method = PREDICT.split("/")
    expected = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
    assert expected.items() <= dict(root.attributes).items()
    assert root.attributes["rpc.grpc.status_code"] == 0
    assert root.resource.attributes["service.name"] == "tfclic"


def test_a_request_by_rest(traced, wait_until):
    started, spans = traced
    status, _ = rest(
        started, "/v1/models/scaling:predict", {"instances": [1.0]}, Traceparent=TRACEPARENT
    )
    assert status == 200
    wait_until(lambda: len(spans()) == 4)
    root = check_tree(spans())
    assert root.name == "POST /v1/models/{name}:predict"
    assert root.attributes["http.route"] == "/v1/models/{name}:predict"
    assert root.attributes["http.request.method"] == "POST"
    assert root.attributes["http.response.status_code"] == 200
    assert root.attributes["url.path"] == "/v1/models/scaling:predict"


def test_what_a_client_does_wrong_is_no_fault_of_the_server(traced, ask, wait_until):
    started, spans = traced
    with pytest.raises(grpc.RpcError):
        started.prediction.Predict(ask([1], name="none"))
    assert rest(started, "/v1/models/none:predict", {"instances": [1.0]})[0] == 404
    wait_until(lambda: len(spans()) == 2)
    by_rest, by_grpc = sorted(spans(), key=lambda span: "rpc.system" in span.attributes)
    assert by_grpc.attributes["rpc.grpc.status_code"] == grpc.StatusCode.NOT_FOUND.value[0]
    assert by_rest.attributes["http.response.status_code"] == 404
    for span in (by_grpc, by_rest):
        assert span.parent is None
        assert span.status.status_code.name == "UNSET" and not span.events


def test_faults_of_the_server_are_errors(traced, ask, wait_until, monkeypatch):
    from tfclic.serving import servable

    def fails(*_):
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(servable.Servable, "run", fails)
    started, spans = traced
    with pytest.raises(grpc.RpcError):
        started.prediction.Predict(ask([1]))
    wait_until(lambda: len(spans()) == 4)
    root, run = root_of(spans()), next(span for span in spans() if span.name == "run")
    assert root.status.status_code.name == run.status.status_code.name == "ERROR"
    assert root.status.description == "The server failed."
    assert root.attributes["error.type"] == "INTERNAL"
    assert rest(started, "/v1/models/scaling:predict", {"instances": [1.0]})[0] == 500
    wait_until(lambda: len(spans()) == 8)
    root = root_of(spans()[4:])
    assert root.status.status_code.name == "ERROR" and root.attributes["error.type"] == "500"


def test_a_client_that_is_gone(traced, ask, slow, wait_until):
    begun, go_on, _ = slow
    started, spans = traced
    future = started.prediction.Predict.future(ask([1]))
    assert begun.wait(60)
    future.cancel()
    wait_until(lambda: any(span.kind.name == "SERVER" for span in spans()))
    go_on.set()
    code = root_of(spans()).attributes["rpc.grpc.status_code"]
    assert code == grpc.StatusCode.CANCELLED.value[0]


def test_what_is_asked_every_few_seconds_has_no_spans(traced, ask, wait_until):
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    started, spans = traced
    health_pb2_grpc.HealthStub(started.channel).Check(health_pb2.HealthCheckRequest())
    assert rest(started, "/monitoring/prometheus/metrics")[0] == 200
    assert rest(started, "/v1/models/scaling")[0] == 200
    wait_until(spans)
    assert [span.name for span in spans()] == ["GET /v1/models/{name}"]


class Collector(http.server.BaseHTTPRequestHandler):
    """Keeps the messages that it is sent, or refuses them."""

    def do_POST(self):  # noqa: N802
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def collector(monkeypatch):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    made.got, made.status = [], 200
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.mark.parametrize("by_environment", [False, True])
def test_a_collector_gets_spans(
    serving, scaling_folder, ask, collector, monkeypatch, by_environment
):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    address = f"127.0.0.1:{collector.server_port}"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "pictures")
    if by_environment:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{address}")
    with serving(scaling_folder, traces="" if by_environment else address) as started:
        started.prediction.Predict(ask([1]))
    (path, body), *more = collector.got
    assert path == "/v1/traces" and not more
    (of_resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    names = {each.key: each.value.string_value for each in of_resource.resource.attributes}
    assert names["service.name"] == "pictures"
    (of_scope,) = of_resource.scope_spans
    assert sorted(span.name for span in of_scope.spans) == [*STEPS, PREDICT]


@pytest.mark.parametrize("status", [None, 400, 503])
def test_without_a_collector_all_else_goes_on(
    serving, scaling_folder, ask, collector, monkeypatch, caplog, status
):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    monkeypatch.setattr(tracing, "END_SECONDS", 0.2)
    collector.status = status
    address = f"127.0.0.1:{collector.server_port}"
    if status is None:
        collector.server_close()
    with serving(scaling_folder, traces=address) as started:
        for number in range(20):
            answer = started.prediction.Predict(ask([number]))
            (value,) = np.frombuffer(answer.outputs["y"].tensor_content, np.float32)
            assert value == 2 * number
        queue = started.server._traces._provider._active_span_processor._span_processors[0].queue
        assert queue.maxlen == 2048
    told = [each for each in caplog.records if "Traces cannot be sent" in each.getMessage()]
    # a 503 is tried again by the library, for a minute
    assert len(told) == (0 if status == 503 else 1)
    assert not [each for each in caplog.records if each.name.startswith("opentelemetry")]


def test_a_server_without_traces_imports_nothing(scaling_folder):
    program = """if True:
        import sys
        from tfclic.serving import server, repository
        server.Server(repository.Repository(sys.argv[1]), server.Options())
        assert not [name for name in sys.modules if name.startswith("opentelemetry")]
    """
    subprocess.run([sys.executable, "-c", program, str(scaling_folder)], check=True, cwd=ROOT)


def test_a_missing_package_is_told_in_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter", None)
    name = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(errors.UsageError, match=r"pip install 'tfclic\[tracing\]'"):
        tracing.to_collector("127.0.0.1:4318")


@pytest.mark.parametrize("word", ["4318", "http://x:4318", "x:y"])
def test_an_address_is_a_host_and_a_port(word, capsys):
    from tfclic.cli import serve

    with pytest.raises(SystemExit):
        serve.make_parser().parse_args(["--traces", word])
    assert f"{word} is not HOST:PORT" in capsys.readouterr().err


def test_without_an_address_the_environment_says_where_the_collector_is():
    from tfclic.cli import serve

    parse = serve.make_parser().parse_args
    assert parse(["--traces"]).traces == parse(["--traces", "--ui"]).traces == ""
    assert parse(["--traces", "x:1"]).traces == "x:1" and parse([]).traces is None


@pytest.mark.parametrize("value, is_sent", [(TRACEPARENT, True), ("00-x\n", False), ("", False)])
def test_a_client_passes_on_what_its_environment_has(
    traced, monkeypatch, wait_until, value, is_sent
):
    from tfclic.serving import client

    started, spans = traced
    monkeypatch.setenv("TRACEPARENT", value)
    made = client.Client(f"127.0.0.1:{started.server.port}")
    with pytest.raises(errors.TfclicError):
        made.decompress("scaling", b"x")
    made.close()
    wait_until(lambda: any(span.kind.name == "SERVER" for span in spans()))
    root = root_of(spans())
    assert (f"{root.context.trace_id:032x}" == TRACE) == is_sent
