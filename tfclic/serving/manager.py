"""Keeps the latest version of every model loaded, while older ones finish what they have begun."""

from __future__ import annotations

import contextlib
import pathlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from absl import logging

from tfclic import errors, machine
from tfclic.serving import protos
from tfclic.serving.refusals import Refusal, StatusCode
from tfclic.serving.servable import Servable

if TYPE_CHECKING:
    from tfclic.serving.metrics import Metrics
    from tfclic.serving.repository import Repository

State = protos.get_model_status_pb2.ModelVersionStatus


class _Version:
    """One version of a model, from before it is loaded until after it has gone."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path, self.state, self.in_use = path, State.START, 0
        self.failure: int | None = None
        self.servable: Servable | None = None


class Manager:
    """The models that are served.

    A new version is loaded and warmed up beside the old one, then takes its place; the old one goes
    once its last request is answered. A version that cannot be loaded leaves the old one where it
    is, and is tried again when its files have changed.

    Args:
      repository: a `repository.Repository`.
      poll_seconds: how often it is looked at; 0: once; below 0: never.
      told: function of (name, whether it is available), called when that changes.
      metrics: a `metrics.Metrics`.
      prepare: function of a `servable.Servable` that is called before it is served.
    """

    def __init__(
        self,
        repository: Repository,
        poll_seconds: float,
        told: Callable[[str, bool], None],
        metrics: Metrics,
        prepare: Callable[[Servable], object] = lambda servable: None,
    ) -> None:
        self._repository, self._seconds = repository, poll_seconds
        self._told, self._metrics, self._prepare = told, metrics, prepare
        self._models: dict[str, dict[int, _Version]] = {}
        self._has_loaded = False  # since the last look
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="models")

    def start(self) -> None:
        """Loads what there is, then keeps watching in a thread of its own."""
        if self._seconds >= 0:
            self.poll()
            if not self._models:
                logging.warning("There is no model %s yet.", self._repository)
        if self._seconds > 0:
            self._thread.start()

    def leave_off(self) -> None:
        """Loads nothing more than what is being loaded, from whatever thread it is called."""
        self._ended.set()

    def stop(self) -> None:
        """Stops watching; what is loaded stays."""
        self.leave_off()
        if self._thread.is_alive():
            self._thread.join()

    def poll(self) -> None:
        """Brings what is loaded to what is there."""
        if self._has_loaded:
            # a request may have held what went until it had ended itself
            self._has_loaded = False
            machine.give_back()
        try:
            wanted = self._repository.latest()
        except OSError as error:
            logging.error("The models cannot be listed: %s", error.strerror)
            return
        with self._changed:
            # whoever asks for one that waits for those before it shall ask again
            for name, (version, path) in wanted.items():
                self._models.setdefault(name, {}).setdefault(version, _Version(path))
        for name, (version, path) in wanted.items():
            if self._ended.is_set():
                return
            self._bring(name, version, path)
        for name in set(self._models) - set(wanted):
            for version in self._loaded(name):
                self._retire(name, version)

    @contextlib.contextmanager
    def leased(self, name: str, version: int | None = None) -> Iterator[Servable]:
        """Yields the `Servable`; until it is given back it stays loaded.

        Args:
          name: of the model.
          version: None: the latest.

        Raises:
          Refusal: it is not served, or not yet.
        """
        entry = self._lease(name, version)
        assert entry.servable
        try:
            yield entry.servable
        finally:
            with self._changed:
                entry.in_use -= 1
                self._changed.notify_all()

    def available(self) -> list[str]:
        """The names of the models that answer, a sorted list."""
        with self._changed:
            return sorted(name for name in self._models if self._loaded(name))

    def statuses(
        self, name: str, version: int | None = None
    ) -> list[protos.get_model_status_pb2.ModelVersionStatus]:
        """The state of one or all versions of a model: list of ModelVersionStatus, latest first.

        Raises:
          Refusal: there is no such model or version.
        """
        with self._changed:
            versions = dict(self._models.get(name, {}))
        if version is not None:
            versions = {k: v for k, v in versions.items() if k == version}
        if not versions:
            raise _not_found(name, version)
        found = []
        for number, entry in sorted(versions.items(), reverse=True):
            status = State(version=number, state=entry.state)
            status.status.SetInParent()
            if entry.failure:
                # what exactly is in the log: it names folders
                status.status.error_code = StatusCode.INTERNAL.value[0]
                status.status.error_message = "The model cannot be loaded."
            found.append(status)
        return found

    def _lease(self, name: str, version: int | None) -> _Version:
        with self._changed:
            versions = self._models.get(name, {})
            ready = [k for k, v in versions.items() if v.state == State.AVAILABLE]
            number = version if version is not None else max(ready, default=None)
            if number in ready:
                versions[number].in_use += 1
                return versions[number]
            waiting = [v for k, v in versions.items() if version in (None, k)]
        if any(entry.state in (State.START, State.LOADING) for entry in waiting):
            raise Refusal(StatusCode.UNAVAILABLE, f"The model {name} is being loaded.")
        raise _not_found(name, version)

    def _watch(self) -> None:
        while not self._ended.wait(self._seconds):
            try:
                self.poll()
            # whatever a broken folder raises, the next look may find it mended
            except Exception:
                logging.exception("Looking for new models failed.")

    def _loaded(self, name: str) -> list[int]:
        return [k for k, v in self._models.get(name, {}).items() if v.state == State.AVAILABLE]

    def _bring(self, name: str, version: int, path: pathlib.Path) -> None:
        known = self._models[name][version]
        if known.state == State.AVAILABLE:
            return
        try:
            seen = _stamp(path)
        except OSError:  # it goes while it is looked at
            if known.state == State.START:
                known.state = State.END
            return
        if known.failure == seen:
            return
        entry = _Version(path)
        entry.state = State.LOADING
        with self._changed:
            self._models[name][version] = entry
        began = time.monotonic()
        try:
            servable = Servable(name, version, path)
            count = servable.warm_up()
            self._prepare(servable)
        # whatever a broken version raises, it must neither stay LOADING nor harm other models
        except Exception as error:
            if isinstance(error, errors.TfclicError):
                logging.error("%s", error)
            else:
                logging.exception("%s/%d cannot be loaded.", name, version)
            with self._changed:
                entry.state, entry.failure = State.END, seen
            return
        seconds = time.monotonic() - began
        logging.info("%s/%d: %d warm-up requests, ready in %.1f s", name, version, count, seconds)
        with self._changed:
            entry.servable, entry.state = servable, State.AVAILABLE
        self._metrics.loaded(name, version, seconds)
        self._told(name, True)
        for other in self._loaded(name):
            if other != version:
                self._retire(name, other)
        self._has_loaded = True
        machine.give_back()

    def _retire(self, name: str, version: int) -> None:
        entry = self._models[name][version]
        with self._changed:
            entry.state = State.UNLOADING
        if not self._loaded(name):
            self._told(name, False)
        with self._changed:
            self._changed.wait_for(lambda: entry.in_use == 0)
            entry.state, entry.servable = State.END, None
        self._metrics.unloaded(name, version)
        logging.info("%s/%d: unloaded", name, version)


def _not_found(name: str, version: int | None) -> Refusal:
    what = f"model {name}" if version is None else f"version {version} of the model {name}"
    return Refusal(StatusCode.NOT_FOUND, f"There is no {what} here.")


def _stamp(path: pathlib.Path) -> int:
    """Changes when a file of the model does."""
    return max((file.stat().st_mtime_ns for file in path.rglob("*")), default=0)
