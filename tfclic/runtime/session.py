"""Runs the functions of a SavedModel through TensorFlow's C API, without its Python package.

Importing TensorFlow's Python package takes longer than compressing a photograph, and loading a
SavedModel with it longer still. The shared library that the package brings along has all that an
exported codec needs, behind an interface that is stable (`tensorflow/c/c_api.h`).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import importlib.util
import os
import pathlib
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfclic import errors, machine
from tfclic.format import graphs, model

if TYPE_CHECKING:
    from tfclic.format.interface import Function, Given
    from tfclic.format.model import Signature

INVALID_ARGUMENT, RESOURCE_EXHAUSTED, DATA_LOSS = 3, 8, 15  # TF_Code
_OK = 0
_STRING = 7  # TF_DataType
_DTYPES = {
    1: np.float32,
    2: np.float64,
    3: np.int32,
    4: np.uint8,
    5: np.int16,
    9: np.int64,
    10: np.bool_,
}
_STRING_BYTES = 24  # sizeof(TF_TString)
# A serialized ConfigProto that says graph_options.rewrite_options.disable_meta_optimizer: exported
# graphs are small and run a few times only, and optimizing them takes longer than that.
_CONFIG = b"R\x05R\x03\x98\x01\x01"
# What precedes intra_op_parallelism_threads and inter_op_parallelism_threads, up to 127.
_THREADS, _MOST_THREADS = b"\x10", 127
_THREADS_OF_OPERATIONS = b"\x28"

# TensorFlow may take these in place of `model.GRAPH`.
_OTHER_GRAPHS = ("saved_model.cpb", "saved_model.pbtxt")

_REMARK = re.compile(
    rb"absl::InitializeLog|oneDNN custom operations are on|Could not find cuda drivers"
)

NO_COMPRESSION = "The range coder needs the package tensorflow-compression, which is not installed."
_OPS_LOCK = threading.Lock()
# Under TensorFlow 2.15 and later the ops come in a package of their own.
_OPS_PACKAGES = {
    # The very spelling with which TFC itself loads it: TensorFlow tells libraries apart by
    # spelling, and under another one TFC could not be imported later in this process.
    "tensorflow_compression": "python/ops/../../cc/libtensorflow_compression.so",
    "tensorflow_compression_ops": "cc/libtensorflow_compression.so",
}


class SessionError(Exception):
    """TensorFlow refused something.

    Attributes:
      code: int, a TF_Code.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def assertion(error: Exception) -> str | None:
    """The sentence that a graph's own check refused with; None if it was no such check."""
    refused = re.search(r"assertion failed: \[(.*?)\]", str(error))
    return refused.group(1) if refused else None


class _Output(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


# Result and arguments of what is used of the C API: p a pointer, i an int, z a size, s a string.
_PROTOTYPES = {
    "TF_NewStatus": "p",
    "TF_DeleteStatus": "-p",
    "TF_GetCode": "ip",
    "TF_Message": "sp",
    "TF_LoadLibrary": "psp",
    "TF_NewSessionOptions": "p",
    "TF_SetConfig": "-pszp",
    "TF_DeleteSessionOptions": "-p",
    "TF_NewGraph": "p",
    "TF_DeleteGraph": "-p",
    "TF_LoadSessionFromSavedModel": "pppspippp",
    "TF_DeleteSession": "-pp",
    "TF_SessionRun": "-ppppippipipp",
    "TF_GraphOperationByName": "pps",
    "TF_AllocateTensor": "pipiz",
    "TF_DeleteTensor": "-p",
    "TF_TensorData": "pp",
    "TF_TensorByteSize": "zp",
    "TF_TensorType": "ip",
    "TF_NumDims": "ip",
    "TF_Dim": "lpi",
    "TF_StringInit": "-p",
    "TF_StringCopy": "-psz",
    "TF_StringGetDataPointer": "pp",
    "TF_StringGetSize": "zp",
}
_TYPES = {
    "-": None,
    "p": ctypes.c_void_p,
    "i": ctypes.c_int,
    "l": ctypes.c_int64,
    "z": ctypes.c_size_t,
    "s": ctypes.c_char_p,
}


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
        self._c = _library()
        has_ops = has_compression()
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
            raise errors.ModelError(NO_COMPRESSION) from error
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
                given[i] = _to_tensor(self._c, arguments[key])
            self._checked(
                self._c.TF_SessionRun,
                *(self._session, None),
                *((_Output * len(inputs))(*inputs.values()), given, len(inputs)),
                *((_Output * len(outputs))(*outputs.values()), results, len(outputs)),
                *(None, 0, None),
            )
            return {key: _from_tensor(self._c, results[i]) for i, key in enumerate(outputs)}
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
        return _checked(self._c, function, *arguments)


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


def _checked(c: ctypes.CDLL, function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function that takes a TF_Status last; raises SessionError unless it says OK."""
    status = c.TF_NewStatus()
    try:
        result = function(*arguments, status)
        code = c.TF_GetCode(status)
        if code != _OK:
            raise SessionError(code, c.TF_Message(status).decode(errors="replace"))
        return result
    finally:
        c.TF_DeleteStatus(status)


def _to_tensor(c: ctypes.CDLL, value: Any) -> int:
    if isinstance(value, bytes) or getattr(value, "dtype", None) == np.object_:
        return _to_strings(c, np.asarray(value, np.object_))
    array = np.ascontiguousarray(value).reshape(np.shape(value))
    kind = next(kind for kind, dtype in _DTYPES.items() if dtype == array.dtype)
    sizes = (ctypes.c_int64 * array.ndim)(*array.shape)
    tensor = c.TF_AllocateTensor(kind, sizes, array.ndim, array.nbytes)
    ctypes.memmove(c.TF_TensorData(tensor), array.ctypes.data, array.nbytes)
    return tensor


def _from_tensor(c: ctypes.CDLL, tensor: int | None) -> Any:
    kind, start = c.TF_TensorType(tensor), c.TF_TensorData(tensor)
    shape = [c.TF_Dim(tensor, i) for i in range(c.TF_NumDims(tensor))]
    if kind == _STRING:
        array = np.empty(shape, np.object_)
        for i in range(array.size):
            text = start + i * _STRING_BYTES
            array.flat[i] = ctypes.string_at(
                c.TF_StringGetDataPointer(text), c.TF_StringGetSize(text)
            )
        return array if shape else array.item()
    array = np.empty(shape, _DTYPES[kind])
    ctypes.memmove(array.ctypes.data, start, array.nbytes)
    return array


def _to_strings(c: ctypes.CDLL, array: np.ndarray) -> int:
    sizes = (ctypes.c_int64 * array.ndim)(*array.shape)
    tensor = c.TF_AllocateTensor(_STRING, sizes, array.ndim, _STRING_BYTES * array.size)
    start = c.TF_TensorData(tensor)
    for i, value in enumerate(array.flat):
        text = start + i * _STRING_BYTES
        c.TF_StringInit(text)
        c.TF_StringCopy(text, value, len(value))
    return tensor


def _package_folder(package: str) -> str | None:
    """The folder of an installed package, found without importing it; None if there is none."""
    spec = importlib.util.find_spec(package)
    return spec.submodule_search_locations[0] if spec and spec.submodule_search_locations else None


@contextlib.contextmanager
def without_remarks() -> Iterator[None]:
    """Keeps from stderr what TensorFlow remarks while it is loaded, if its remarks are not wanted.

    Newer releases do so before they look at TF_CPP_MIN_LOG_LEVEL. All else comes a little later.
    """
    try:
        os.fstat(2)
        is_wanted = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "0") == "0"
    except OSError:
        is_wanted = True  # by nobody: stderr is closed
    if is_wanted:
        yield
        return
    with tempfile.TemporaryFile() as remarks, os.fdopen(os.dup(2), "wb") as stderr:
        os.dup2(remarks.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr.fileno(), 2)
            remarks.seek(0)
            stderr.writelines(line for line in remarks if not _REMARK.search(line))


@functools.cache
def _library() -> ctypes.CDLL:
    """The C API, with the types of its functions declared."""
    folder = _package_folder("tensorflow")
    suffix = "2.dylib" if sys.platform == "darwin" else "so.2"
    names = [f"libtensorflow_{part}.{suffix}" for part in ("framework", "cc")]
    try:
        if folder is None:
            raise errors.ModelError("The package tensorflow is not installed.")
        with without_remarks():
            for name in names:
                # not for all to see: Python's ssl would take TensorFlow's BoringSSL for its OpenSSL
                library = ctypes.CDLL(os.path.join(folder, name), ctypes.RTLD_LOCAL)
    except OSError as error:
        raise errors.ModelError(f"TensorFlow's library cannot be loaded: {error}.") from error
    for name, letters in _PROTOTYPES.items():
        function = getattr(library, name)
        function.restype, *function.argtypes = (_TYPES[letter] for letter in letters)
    return library


def has_compression() -> bool:
    """Whether TensorFlow Compression's ops are there; not all models need them.

    If they are TensorFlow knows them from now on, without its Python package being imported.

    Raises:
      errors.ModelError: TensorFlow is not installed.
    """
    c = _library()
    with _OPS_LOCK:
        if any(package in sys.modules for package in _OPS_PACKAGES):
            return True
        for package, library in _OPS_PACKAGES.items():
            folder = _package_folder(package)
            if folder is not None:
                _checked(c, c.TF_LoadLibrary, os.fsencode(os.path.join(folder, library)))
                return True
    return False


def give_back() -> None:
    """Gives memory back to the system that calls, and what has gone, have left: glibc keeps it."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
