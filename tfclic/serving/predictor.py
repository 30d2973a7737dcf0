"""What both interfaces do with a request: find the model, wait for a turn, run, count."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, TypeVar

from absl import logging

from tfclic.serving import admission, extras, limits, tracing
from tfclic.serving import servable as servables
from tfclic.serving.memory import NOTHING
from tfclic.serving.refusals import Refusal, StatusCode

if TYPE_CHECKING:
    import numpy as np

    from tfclic.serving.manager import Manager
    from tfclic.serving.metrics import Metrics
    from tfclic.serving.servable import Servable

Answer = TypeVar("Answer")


class Predictor:
    """Answers requests.

    Args:
      manager: a `manager.Manager`.
      workers: a `limits.Workers`.
      metrics: a `metrics.Metrics`.
      most: what an element of a request may ask for.
      line: the `admission.Admission` of requests to memory.
      traces: `tracing.Traces`, if any are made.
    """

    def __init__(
        self,
        manager: Manager,
        workers: limits.Workers,
        metrics: Metrics,
        most: limits.Most,
        line: admission.Admission,
        traces: tracing.Untraced,
    ) -> None:
        self.manager, self._workers = manager, workers
        self._metrics, self._most, self._line = metrics, most, line
        self._traces = traces

    async def predict(
        self,
        name: str,
        version: int | None,
        parse: Callable[[Servable], tuple[str, Mapping[str, np.ndarray], Collection[str]]],
        write: Callable[[Servable, str, Mapping[str, np.ndarray]], Answer],
        seconds: float | None = None,
        entrypoint: str = "GRPC",
    ) -> Answer:
        """Runs a signature of a model.

        Args:
          name: of the model.
          version: None: the latest.
          parse: function of a `servable.Servable`; gives (name of a signature, dict of its input
            arrays, names of the outputs that are asked for). It runs in a worker's thread.
          write: function of (the servable, name of the signature, dict of output arrays); what it
            returns is the answer. It runs there too.
          seconds: until the deadline; None: there is none.
          entrypoint: "GRPC" or "REST", for the metrics.

        Raises:
          Refusal: there is no answer; its sentence says why.
        """
        began, began_ns = time.monotonic(), time.time_ns()
        known = ""
        try:
            lease = self.manager.leased(name, version)
            servable = lease.__enter__()
            known = name
            self._traces.tell(model_name=name, model_version=servable.version)

            def work(is_wanted: Callable[[], bool]) -> Answer:
                self._traces.waited("queue", began_ns)
                signature, inputs, wanted = parse(servable)
                self._traces.tell(signature_name=signature or servables.DEFAULT_SIGNATURE)
                need = NOTHING
                if servable.is_codec:
                    need = admission.estimate(signature, inputs, self._most.pixels)
                with contextlib.ExitStack() as held:
                    with self._traces.span("admission"):
                        held.enter_context(self._line.admitted(need, is_wanted))
                    with self._traces.span("run"):
                        outputs = extras.run(servable, signature, inputs, wanted, self._most)
                    return write(servable, signature, outputs)

            answer = await self._workers.run(
                work, seconds, done=lambda: lease.__exit__(None, None, None)
            )
        except Refusal as refusal:
            self._metrics.refused(known, refusal.code.name)
            raise
        except asyncio.CancelledError:
            self._metrics.refused(known, StatusCode.CANCELLED.name)
            raise
        except MemoryError:
            self._metrics.refused(known, StatusCode.RESOURCE_EXHAUSTED.name)
            sentence = "The server has not enough memory for this request."
            raise Refusal(StatusCode.RESOURCE_EXHAUSTED, sentence) from None
        except Exception:
            logging.exception("A request failed.")
            self._metrics.refused(known, StatusCode.INTERNAL.name)
            raise Refusal(StatusCode.INTERNAL, "The server failed.") from None
        self._metrics.answered(name, entrypoint, time.monotonic() - began)
        return answer
