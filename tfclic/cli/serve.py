"""bin/serve: exported models behind TensorFlow Serving's interfaces."""

from __future__ import annotations

import argparse
import asyncio
import functools
from collections.abc import Callable

from absl import logging

from tfclic import errors, machine
from tfclic.cli import common
from tfclic.runtime import catalog

_OF_ENVIRONMENT = ""  # where it says, spans go
DETAILS = """\
examples:
  serve                                 all models in saved_models/, at ports 8500 and 8501
  serve --model_base_path DIR --model_name NAME --port 9000
  serve --ui                            with a page to try it at http://localhost:8501/

The interfaces are TensorFlow Serving's: gRPC (PredictionService, ModelService, health) and REST.
SIGTERM lets it answer what it has begun, and ends it.
"""


def _at_least(least: int, kind: Callable[[str], float] = int) -> Callable[[str], float]:
    def number(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is not a number from {least} on")
        return value

    return number


def _address(text: str) -> str:
    if text == _OF_ENVIRONMENT:
        return text
    host, _, port = text.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not HOST:PORT")
    return text


def make_parser() -> argparse.ArgumentParser:
    parser = common.parser("serve", "Serves exported models by gRPC and REST.", DETAILS)
    add = functools.partial(parser.add_argument, metavar="N")
    add(
        "--model_base_path", metavar="DIR", default=str(catalog.SAVED_MODELS),
        help="folder of all models, or of one; default: saved_models/",
    )  # fmt: skip
    add("--model_name", metavar="NAME", help="serve this model only")
    add("--host", metavar="ADDRESS", default="127.0.0.1",
        help="where to listen, 0.0.0.0 for all networks; default: %(default)s")  # fmt: skip
    add("--port", type=_at_least(0), default=8500, help="of gRPC; 0: none; default: %(default)s")
    add("--rest_api_port", type=_at_least(0), default=8501,
        help="of REST; 0: none; default: %(default)s")  # fmt: skip
    add("--file_system_poll_wait_seconds", type=float, default=1.0,
        help="between looks for new versions; 0: none; default: %(default)s")  # fmt: skip
    add("--concurrency", type=_at_least(1), default=machine.cores(),
        help="requests that are worked on at once; default: the number of cores")  # fmt: skip
    add("--max_enqueued_requests", type=_at_least(0), default=128,
        help="requests that may wait for it; default: %(default)s")  # fmt: skip
    add("--max_requests_per_second", type=_at_least(0, float), default=0.0,
        help="of all clients together; 0: any number; default: %(default)s")  # fmt: skip
    add("--max_request_mebibytes", type=_at_least(1), default=64, help="default: %(default)s")
    add("--max_megapixels", type=_at_least(1), default=67,
        help="pixels of an image, in millions; default: %(default)s")  # fmt: skip
    add("--max_effort", type=int, choices=range(10), default=0, metavar="0..9",
        help="of compressing; 9 keeps a core for minutes; default: %(default)s")  # fmt: skip
    add("--max_memory_mebibytes", type=_at_least(0), default=0,
        help="of the process; requests wait for it, or are refused; control groups and ulimit -v "
        "are heeded anyway; 0: these alone; default: %(default)s")  # fmt: skip
    add("--drain_seconds", type=_at_least(0, float), default=30.0,
        help="for what was begun when the server is told to end; default: %(default)s")  # fmt: skip
    add("--traces", metavar="HOST:PORT", nargs="?", const=_OF_ENVIRONMENT, type=_address,
        help="send OpenTelemetry's spans of requests to this collector, by OTLP over HTTP; without "
        "HOST:PORT, to that of OTEL_EXPORTER_OTLP_ENDPOINT, or at localhost:4318")  # fmt: skip
    parser.add_argument("--ui", action="store_true", help="show a page to try it")
    return parser


def serve(args: argparse.Namespace) -> int:
    """Does what the parsed arguments say; returns the exit status once the server has ended."""
    # they import grpc and aiohttp, which not everybody has who asks for --help
    from tfclic.serving import repository, server

    if args.ui and not server.PAGE.is_file():
        raise errors.UsageError("This installation has no page to show.")
    logging.set_verbosity(logging.INFO)
    options = server.Options(
        host=args.host,
        port=args.port or None,
        rest_api_port=args.rest_api_port or None,
        poll_seconds=args.file_system_poll_wait_seconds,
        concurrency=args.concurrency,
        queue=args.max_enqueued_requests,
        rate=args.max_requests_per_second,
        max_bytes=args.max_request_mebibytes << 20,
        max_pixels=args.max_megapixels * 1_000_000,
        max_effort=args.max_effort,
        max_memory=args.max_memory_mebibytes << 20,
        drain_seconds=args.drain_seconds,
        ui=args.ui,
        traces=args.traces,
    )
    models = repository.Repository(args.model_base_path, args.model_name)

    async def run() -> None:
        await server.serve(server.Server(models, options), functools.partial(print, flush=True))

    asyncio.run(run())
    return 0


def main(argv: list[str] | None = None) -> None:
    """Runs the program with `argv` (sys.argv if None) and ends the process with its exit status."""
    common.run(serve, make_parser(), argv)


if __name__ == "__main__":
    main()
