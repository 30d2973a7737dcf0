"""Runs the functions of a SavedModel through TensorFlow's C API."""

from __future__ import annotations

import ctypes
import functools
import os
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfclic import errors, machine
from tfclic.format import graphs, model
from tfclic.runtime import c_api, tensors
from tfclic.runtime.c_api import INVALID_ARGUMENT, SessionError

if TYPE_CHECKING:
    from tfclic.format.interface import Function, Given
    from tfclic.format.model import Signature

# A serialized ConfigProto that says graph_options.rewrite_options.disable_meta_optimizer: exported
# graphs are small and run a few times only, and optimizing them takes longer than that.
_CONFIG = b"R\x05R\x03\x98\x01\x01"
# What precedes intra_op_parallelism_threads and inter_op_parallelism_threads, up to 127.
_THREADS, _MOST_THREADS = b"\x10", 127
_THREADS_OF_OPERATIONS = b"\x28"

# TensorFlow may take these in place of `model.GRAPH`.
_OTHER_GRAPHS = ("saved_model.cpb", "saved_model.pbtxt")


class _Output(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


class Session:
    """A SavedModel, loaded. Its functions may run in several threads at once.

    Args:
      path: folder of the SavedModel.
      functions: dict from a function's name to `{"inputs": names, "outputs": names}`, where `names`
        maps an argument or a result to its tensor in the graph ("operation:index").
      tags: those of the graph.

    Raises:
      SessionError: it cannot be loaded, or its graph is not for running (`graphs.check`).
      errors.ModelError: TensorFlow, or TensorFlow Compression where it is needed, is not installed;
        or this process was forked from one with sessions.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        functions: Mapping[str, Signature],
        tags: Sequence[str] = model.TAGS,
    ) -> None:
        _check(pathlib.Path(path), functions, tags)
        self._begun_in = _begun_in()
        self._c = c_api.library()
        has_ops = c_api.has_compression()
        self._graph = self._c.TF_NewGraph()
        self._session = None
        options = self._c.TF_NewSessionOptions()
        names = (ctypes.c_char_p * len(tags))(*(tag.encode() for tag in tags))
        try:
            config = _config()
            self._checked(self._c.TF_SetConfig, options, config, len(config))
            self._session = self._checked(
                self._c.TF_LoadSessionFromSavedModel,
                *(options, None, os.fsencode(path), names, len(tags), self._graph, None),
            )
        except SessionError as error:
            if has_ops or "Op type not registered" not in str(error):
                raise
            raise errors.ModelError(c_api.NO_COMPRESSION) from error
        finally:
            self._c.TF_DeleteSessionOptions(options)
        self._functions = {
            name: tuple(
                {key: self._output(tensor) for key, tensor in function[side].items()}
                for side in ("inputs", "outputs")
            )
            for name, function in functions.items()
        }

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if is_finalizing():
            return  # with the process all of it goes, and some that this needs has gone
        if getattr(self, "_begun_in", None) != os.getpid():
            return  # it is another process's, or there is none
        if getattr(self, "_session", None):
            self._checked(self._c.TF_DeleteSession, self._session)
        if getattr(self, "_graph", None):
            self._c.TF_DeleteGraph(self._graph)

    def __contains__(self, name: str) -> bool:
        return name in self._functions

    def call(self, function: Function[Given], *arguments: Any) -> Given:
        """Runs a `Function`; its results, as its NamedTuple, or dict; otherwise as `run`."""
        given = function.takes(*arguments)._asdict()
        return function.results(self.run(function.name, **given))

    def run(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Runs a function.

        Args:
          name: str, one of `functions`.
          **arguments: its inputs: bytes, numpy arrays or numbers of the right type; several strings
            are an array of objects.

        Returns:
          A dict of its outputs: bytes for a string, otherwise numpy arrays.

        Raises:
          SessionError: TensorFlow refuses the arguments, or fails.
          errors.ModelError: this process was forked from the one with the session.
        """
        _begun_in()
        inputs, outputs = self._functions[name]
        given = (ctypes.c_void_p * len(inputs))()
        results = (ctypes.c_void_p * len(outputs))()
        try:
            for i, key in enumerate(inputs):
                given[i] = tensors.to_tensor(self._c, arguments[key])
            self._checked(
                self._c.TF_SessionRun,
                *(self._session, None),
                *((_Output * len(inputs))(*inputs.values()), given, len(inputs)),
                *((_Output * len(outputs))(*outputs.values()), results, len(outputs)),
                *(None, 0, None),
            )
            return {key: tensors.from_tensor(self._c, results[i]) for i, key in enumerate(outputs)}
        finally:
            for tensor in (*given, *results):
                if tensor:
                    self._c.TF_DeleteTensor(tensor)

    def _output(self, tensor: str) -> _Output:
        operation, index = tensor.rsplit(":", 1)
        found = self._c.TF_GraphOperationByName(self._graph, operation.encode())
        if not found:
            raise SessionError(INVALID_ARGUMENT, f"its graph has no {tensor}")
        return _Output(found, int(index))

    def _checked(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return c_api.checked(self._c, function, *arguments)


def _config() -> bytes:
    """A serialized ConfigProto.

    TensorFlow has a thread for each core that it may run on. Where there is time on fewer of them,
    as in containers, so many threads would stand in each other's way.
    """
    cores = machine.cores()
    if cores == machine.schedulable_cores() or "TF_NUM_INTRAOP_THREADS" in os.environ:
        return _CONFIG
    count = bytes([min(cores, _MOST_THREADS)])
    return _CONFIG + _THREADS + count + _THREADS_OF_OPERATIONS + count


def _check(path: pathlib.Path, functions: Mapping[str, Signature], tags: Sequence[str]) -> None:
    """Sees to it that TensorFlow runs nothing but what a model needs."""
    asked = [tensor for function in functions.values() for tensor in function["outputs"].values()]
    try:
        for other in _OTHER_GRAPHS:
            if (path / other).exists():
                raise graphs.GraphError(f"has another one beside it, {other}")
        graphs.check((path / model.GRAPH).read_bytes(), tags, asked)
    except OSError as error:
        raise SessionError(INVALID_ARGUMENT, f"{error.strerror}: {model.GRAPH}") from error
    except graphs.GraphError as error:
        raise SessionError(INVALID_ARGUMENT, f"its graph {error}") from error


@functools.cache
def _first_begun_in() -> int:
    """The process in which sessions began, or one that was forked from it."""
    return os.getpid()


def _begun_in() -> int:
    """This process, in which there are or may be sessions.

    Raises:
      errors.ModelError: it was forked from one with sessions, whose threads it does not have, so
        that it would wait for them for ever.
    """
    if _first_begun_in() != os.getpid():
        raise errors.ModelError(
            "A model had been loaded before this process was forked, and none can run in it; "
            "start processes by multiprocessing's spawn, or load models in them alone."
        )
    return os.getpid()
