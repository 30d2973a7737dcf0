"""The graphs of an exported model: loaded when they are wanted, and called."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tfclic import errors
from tfclic.format import beside, header, interface, model
from tfclic.runtime import c_api, checksums
from tfclic.runtime import session as sessions

if TYPE_CHECKING:
    from tfclic.format.interface import Function, Given
    from tfclic.runtime.catalog import Model
    from tfclic.runtime.tiles import Call


class Graphs:
    """Those of a model and a coder. They may be called from several threads at once.

    Attributes:
      model: the `catalog.Model`.
      coder: the name of that which writes, one of `tfclic.format.header.CODERS`.

    Args:
      found: the `catalog.Model`.
      coder: what is to write; None: the range coder, where the model and this machine have it.
      session: that of the coder's graph, where it is loaded already.

    Raises:
      errors.ModelError: it cannot be loaded, or has no such coder.
    """

    def __init__(
        self, found: Model, coder: str | None = None, session: sessions.Session | None = None
    ) -> None:
        self.model, self.coder = found, _chosen_coder(found, coder)
        self._session = session or _start(found, self.coder)
        self._refinement: sessions.Session | None = None
        self._fast: sessions.Session | None = None
        self._is_fast: bool | None = None if found.card.fast else False  # None: nobody knows yet
        self._lock = threading.Lock()

    def __contains__(self, function: Function[Any]) -> bool:
        """Whether the coder's graph has a function."""
        return function.name in self._session

    def refusing(self, refusal: type[errors.TfclicError]) -> Call:
        """`call` with what it raises."""
        return functools.partial(self.call, refusal)

    def header(self, data: bytes) -> interface.Info:
        """What a file's header says, whichever model made it.

        Raises:
          errors.FileFormatError: it is not a sound file.
        """
        function = interface.HEADER if interface.HEADER in self else interface.EARLIER_HEADER
        try:
            return self._session.call(function, data)
        except c_api.SessionError as error:
            raise errors.FileFormatError(cause(error)) from error

    def call(
        self, refusal: type[errors.TfclicError], function: Function[Given], *arguments: Any
    ) -> Given:
        """Calls an `interface.Function`, and returns its results, as `session.Session.call`.

        Raises `refusal` where the model refuses its arguments.
        """
        session = self.session_of(function)
        if function.name not in session:
            sentence = f"The model {self.model} has no function {function.name}; export it again."
            raise errors.ModelError(sentence)
        try:
            return session.call(function, *arguments)
        except c_api.SessionError as error:
            if error.code == c_api.RESOURCE_EXHAUSTED:
                sentence = "The image is too large for this machine's memory."
                raise errors.TfclicError(sentence) from error
            if error.code in (c_api.INVALID_ARGUMENT, c_api.DATA_LOSS):
                what = "image" if refusal is errors.ImageError else "file"
                sentence = f"The model {self.model} refuses this {what}: {cause(error)}"
                raise refusal(sentence) from error
            raise

    def session_of(self, function: Function[Any]) -> sessions.Session:
        """The session that runs a function, loaded when it is first wanted."""
        if function in (beside.REFINE, beside.REFINE_BY_MAP):
            with self._lock:
                if self._refinement is None:
                    self._refinement = _beside(self.model, model.REFINEMENT)
            return self._refinement
        if function.name not in (self.model.card.fast or {}):
            return self._session
        with self._lock:
            if self._is_fast is None:
                self._fast = _faster(self.model)
                self._is_fast = self._fast is not None
        return self._fast or self._session


def _chosen_coder(found: Model, coder: str | None) -> str:
    """The coder that is to write, given or not.

    Raises:
      errors.ModelError: a model, or this machine, has it not.
    """
    known, has_range = found.card.coders, c_api.has_compression()
    if coder is None:
        coder = known[0] if has_range or len(known) == 1 else header.INTERLEAVED
    if coder not in known:
        raise errors.ModelError(f"The model {found} does not write with the {coder} coder.")
    # newer TensorFlows miss its operations when they are run, not when the graph is loaded
    if coder == header.RANGE and not has_range:
        raise errors.ModelError(c_api.NO_COMPRESSION)
    return coder


def _start(found: Model, coder: str) -> sessions.Session:
    """The `session.Session` of a `catalog.Model` and a coder."""
    tags, functions = found.card.graph(coder)
    with _loading(found):
        if functions is None:
            raise ValueError("its card lists no functions")
        checksums.check(found.path, found.card)
        return sessions.Session(found.path, functions, tags)


def _beside(found: Model, folder: str) -> sessions.Session:
    """That of another graph of it, `model.REFINEMENT` or `model.FAST`."""
    functions = found.card.refinement if folder == model.REFINEMENT else found.card.fast
    with _loading(found):
        session = sessions.Session(found.path / folder, functions or {})
        session.call(beside.RESTORE, os.fsencode(found.path / model.VARIABLES))
        return session


def _faster(found: Model) -> sessions.Session | None:
    """That of `model.FAST`, if this machine computes what it has to."""
    try:
        session = _beside(found, model.FAST)
        return session if bool(session.call(beside.PROBE).sound) else None
    except (errors.ModelError, c_api.SessionError):
        return None  # its operations do not exist here


@contextlib.contextmanager
def _loading(found: Model) -> Iterator[None]:
    """Turns what goes wrong into an errors.ModelError."""
    try:
        yield
    except (c_api.SessionError, KeyError, ValueError) as error:
        sentence = f"The model {found.path} cannot be loaded: {cause(error)}."
        raise errors.ModelError(sentence) from error


def cause(error: Exception) -> str:
    """Returns the one line of a TensorFlow error that says what happened."""
    lines = [line.strip() for line in str(error).split("\n") if line.strip()]
    return c_api.assertion(error) or (lines[0] if lines else type(error).__name__)
