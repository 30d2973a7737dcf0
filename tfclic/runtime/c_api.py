"""TensorFlow's C API, found and loaded without TensorFlow's Python package.

Importing that package takes longer than compressing a photograph, and loading a SavedModel with it
longer still. The shared library that it brings along has all that an exported codec needs, behind
an interface that is stable (`tensorflow/c/c_api.h`).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

from tfclic import errors

INVALID_ARGUMENT, RESOURCE_EXHAUSTED, DATA_LOSS = 3, 8, 15  # TF_Code
_OK = 0

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


def checked(c: ctypes.CDLL, function: Callable[..., Any], *arguments: Any) -> Any:
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
def library() -> ctypes.CDLL:
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
                found = ctypes.CDLL(os.path.join(folder, name), ctypes.RTLD_LOCAL)
    except OSError as error:
        raise errors.ModelError(f"TensorFlow's library cannot be loaded: {error}.") from error
    for name, letters in _PROTOTYPES.items():
        function = getattr(found, name)
        function.restype, *function.argtypes = (_TYPES[letter] for letter in letters)
    return found


def has_compression() -> bool:
    """Whether TensorFlow Compression's ops are there; not all models need them.

    If they are TensorFlow knows them from now on, without its Python package being imported.

    Raises:
      errors.ModelError: TensorFlow is not installed.
    """
    c = library()
    with _OPS_LOCK:
        if any(package in sys.modules for package in _OPS_PACKAGES):
            return True
        for package, file in _OPS_PACKAGES.items():
            folder = _package_folder(package)
            if folder is not None:
                checked(c, c.TF_LoadLibrary, os.fsencode(os.path.join(folder, file)))
                return True
    return False
