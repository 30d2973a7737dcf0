"""The server: both interfaces, health, and an orderly end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import pathlib
import signal
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import grpc
from absl import logging
from aiohttp import web
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse

from tfclic import errors, machine
from tfclic.serving import extras, grpc_api, limits, manager, protos, rest, tracing
from tfclic.serving.admission import Admission
from tfclic.serving.memory import Room
from tfclic.serving.metrics import Metrics
from tfclic.serving.predictor import Predictor

if TYPE_CHECKING:
    from tfclic.serving.repository import Repository

PAGE = pathlib.Path(__file__).with_name("page.html")
_SERVICES = ("tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")


class Options(NamedTuple):
    """How to serve.

    Attributes:
      host: the address to listen at.
      port: of gRPC; 0: any that is free, None: no gRPC.
      rest_api_port: of REST; 0: any that is free; None: no REST.
      poll_seconds: as for `manager.Manager`.
      concurrency: requests that are worked on at once.
      queue: requests that may wait.
      rate: requests that may begin in a second; 0: any number.
      max_bytes: of a request.
      max_pixels: of an image.
      max_effort: of an encoding, 0 to 9.
      max_memory: bytes that the process may have; 0: whatever its limits allow.
      drain_seconds: given to requests that have begun when the server ends.
      ui: whether the page is shown at `/`.
      traces: HOST:PORT of a collector, as for `tracing.to_collector`; None: there are no traces.
    """

    host: str = "127.0.0.1"
    port: int | None = 8500
    rest_api_port: int | None = 8501
    poll_seconds: float = 1.0
    concurrency: int = 2
    queue: int = 128
    rate: float = 0.0
    max_bytes: int = 64 << 20
    max_pixels: int = 1 << 26
    max_effort: int = 0
    max_memory: int = 0
    drain_seconds: float = 30.0
    ui: bool = False
    traces: str | None = None


class Server:
    """Serves the models of a repository.

    Attributes:
      port, rest_port: where it listens, once it has started.
      manager: the `manager.Manager` of its models.

    Args:
      repository: a `repository.Repository`.
      options: `Options`.
      traces: made already, in the place of those that the options tell.

    Raises:
      errors.UsageError: traces are asked for, and cannot be made.
    """

    def __init__(
        self, repository: Repository, options: Options, traces: tracing.Untraced | None = None
    ) -> None:
        self._options = options
        if traces is None and options.traces is not None:
            traces = tracing.to_collector(options.traces)
        self._traces = traces = traces or tracing.Untraced()
        self._workers = limits.Workers(options.concurrency, options.queue, options.rate)
        line = Admission(Room(options.max_memory).free, machine.give_back)
        self._metrics = Metrics(self._workers.pending, lambda: line.held.resident, line.count)
        # who opens the page is not to wait for what its requests need
        prepare = [extras.warm_up] if options.ui else []
        watching = options.poll_seconds, self._told, self._metrics
        self.manager = manager.Manager(repository, *watching, *prepare)
        most = limits.Most(options.max_pixels, options.max_effort)
        self._predictor = Predictor(self.manager, self._workers, self._metrics, most, line, traces)
        self._loop: asyncio.AbstractEventLoop
        self._health: health.aio.HealthServicer
        self._grpc: grpc.aio.Server | None = None
        self._runner: web.AppRunner | None = None
        self.port: int | None = None
        self.rest_port: int | None = None

    async def start(self) -> None:
        """Listens, then loads the models; until then their clients are told UNAVAILABLE.

        Raises:
          errors.UsageError: it cannot listen at a port.
        """
        self._loop = asyncio.get_running_loop()
        self._health = health.aio.HealthServicer()
        if self._options.port is not None:
            await self._start_grpc()
        if self._options.rest_api_port is not None:
            await self._start_rest()
        await self._set_health(False)
        # a thread of its own: whatever loads must not hold up who asks
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            await self._loop.run_in_executor(pool, self.manager.start)
        await self._set_health(True)

    async def stop(self) -> None:
        """Takes no more requests, answers those that have begun, and ends.

        A connection that ends while a request arrives tells its client CANCELLED, after which few
        ask again; UNAVAILABLE, which retries are for, is told first for as long as there is work.
        """
        logging.info("ending")
        end = self._loop.time() + self._options.drain_seconds
        working = self._workers.end(self._options.drain_seconds)
        await asyncio.gather(working, self._health.enter_graceful_shutdown())
        ends = []
        if self._grpc is not None:
            ends.append(self._grpc.stop(max(0, end - self._loop.time())))
        if self._runner is not None:
            ends.append(self._runner.cleanup())
        await asyncio.gather(*ends)
        await self._loop.run_in_executor(None, self.manager.stop)
        await self._loop.run_in_executor(None, self._traces.end)

    async def _start_grpc(self) -> None:
        size = ("grpc.max_receive_message_length", self._options.max_bytes)
        alone = ("grpc.so_reuseport", 0)
        unlimited = ("grpc.max_send_message_length", -1)
        self._grpc = server = grpc.aio.server(
            options=[size, unlimited, alone], interceptors=self._traces.interceptors()
        )
        prediction = grpc_api.PredictionService(self._predictor)
        protos.prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            prediction, server
        )
        models = grpc_api.ModelService(self.manager)
        protos.model_service_pb2_grpc.add_ModelServiceServicer_to_server(models, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        address = f"{self._options.host}:{self._options.port}"
        try:
            self.port = server.add_insecure_port(address)
        except RuntimeError:
            raise errors.UsageError(f"{address} cannot be listened at.") from None
        await server.start()

    async def _start_rest(self) -> None:
        options = self._options
        page = PAGE if options.ui else None
        outermost = self._traces.middlewares(rest.METRICS_PATH)
        app = rest.application(self._predictor, self._metrics, options.max_bytes, page, outermost)
        self._runner = runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None,
            shutdown_timeout=options.drain_seconds,
        )  # fmt: skip
        await runner.setup()
        site = web.TCPSite(runner, options.host, options.rest_api_port)
        try:
            await site.start()
        except OSError as error:
            address = f"{options.host}:{options.rest_api_port}"
            reason = error.strerror
            await runner.cleanup()
            if self._grpc is not None:
                # or it complains of the loop when that has ended
                await self._grpc.stop(None)
            raise errors.UsageError(f"{address} cannot be listened at: {reason}.") from error
        self.rest_port = runner.addresses[0][1]

    async def _set_health(self, serving: bool, services: Iterable[str] = ("", *_SERVICES)) -> None:
        state = HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING
        for service in services:
            await self._health.set(service, state)

    def _told(self, name: str, available: bool) -> None:
        """Health of a single model, under its name."""
        asyncio.run_coroutine_threadsafe(self._set_health(available, [name]), self._loop)


async def serve(server: Server, told: Callable[[str], object] = print) -> None:
    """Runs a `Server` until SIGTERM or SIGINT, then lets it end in an orderly way.

    Args:
      server: a `Server`.
      told: function of a line that says where it listens, once all models are loaded.
    """
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    starting = asyncio.ensure_future(server.start())
    waiting = asyncio.ensure_future(ended.wait())
    await asyncio.wait([starting, waiting], return_when=asyncio.FIRST_COMPLETED)
    if ended.is_set():
        server.manager.leave_off()
    await starting
    if not ended.is_set():
        ports = {"gRPC port": server.port, "REST port": server.rest_port}
        where = (f"{name} {port}" for name, port in ports.items() if port is not None)
        told(f"Serving at {', '.join(where) or 'no port'}.")
        await ended.wait()
    await server.stop()
