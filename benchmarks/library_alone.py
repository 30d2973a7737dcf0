"""Runs a SavedModel with TensorFlow's C library and Python's standard library, nothing else.

    PYTHON -I benchmarks/library_alone.py FOLDER MODEL [TAG ...]

FOLDER has libtensorflow_framework and libtensorflow_cc, MODEL the SavedModel. Requests come one a
line on standard input, answers go so to standard output, in JSON. The session has the options that
TensorFlow Serving gives it: none, so that graphs are optimized. `serving_stock.py` starts it.
"""

import base64
import ctypes
import json
import os
import sys

STRING = 7  # TF_DataType
STRING_BYTES = 24  # sizeof(TF_TString)
# Result and arguments of functions: p a pointer, i an int, l an int64, z a size, s a string.
PROTOTYPES = {
    "TF_Version": "s",
    "TF_NewStatus": "p",
    "TF_GetCode": "ip",
    "TF_Message": "sp",
    "TF_NewBuffer": "p",
    "TF_NewGraph": "p",
    "TF_NewSessionOptions": "p",
    "TF_LoadSessionFromSavedModel": "pppspippp",
    "TF_SessionRun": "-ppppippipipp",
    "TF_GraphOperationByName": "pps",
    "TF_GraphVersions": "-ppp",
    "TF_GetAllOpList": "p",
    "TF_GetAllRegisteredKernels": "pp",
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
TYPES = {
    "-": None,
    "p": ctypes.c_void_p,
    "i": ctypes.c_int,
    "l": ctypes.c_int64,
    "z": ctypes.c_size_t,
    "s": ctypes.c_char_p,
}


class Buffer(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class Output(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


def library(folder):
    """The C API in a folder, with the types of its functions declared."""
    suffix = "2.dylib" if sys.platform == "darwin" else "so.2"
    for part in ("framework", "cc"):
        path = os.path.join(folder, f"libtensorflow_{part}.{suffix}")
        loaded = ctypes.CDLL(path, ctypes.RTLD_GLOBAL)
    for name, letters in PROTOTYPES.items():
        function = getattr(loaded, name)
        function.restype, *function.argtypes = (TYPES[letter] for letter in letters)
    return loaded


def checked(c, function, *arguments):
    """Calls a function that takes a TF_Status last; raises RuntimeError unless it says OK."""
    status = c.TF_NewStatus()
    result = function(*arguments, status)
    if c.TF_GetCode(status):
        raise RuntimeError(c.TF_Message(status).decode(errors="replace"))
    return result


def content(buffer):
    """The bytes in a TF_Buffer, in base64."""
    found = ctypes.cast(buffer, ctypes.POINTER(Buffer)).contents
    return base64.b64encode(ctypes.string_at(found.data, found.length)).decode()


class Model:
    """A SavedModel, loaded by its set of tags."""

    def __init__(self, folder, path, tags):
        self.c, self.described = library(folder), None
        graph = self.c.TF_NewGraph()
        versions, described = self.c.TF_NewBuffer(), self.c.TF_NewBuffer()
        checked(self.c, self.c.TF_GraphVersions, graph, versions)
        self.versions, self.graph = content(versions), self.c.TF_NewGraph()
        names = (ctypes.c_char_p * len(tags))(*(tag.encode() for tag in tags))
        self.session = checked(
            self.c,
            self.c.TF_LoadSessionFromSavedModel,
            *(self.c.TF_NewSessionOptions(), None, path.encode(), names, len(tags)),
            *(self.graph, described),
        )
        self.described = content(described)

    def describe(self):
        """What there is: of the library, and the MetaGraphDef that was loaded; messages in b64."""
        return {
            "version": self.c.TF_Version().decode(),
            "versions": self.versions,
            "operations": content(self.c.TF_GetAllOpList()),
            "kernels": content(checked(self.c, self.c.TF_GetAllRegisteredKernels)),
            "graph": self.described,
            "packages": sorted({name.partition(".")[0] for name in sys.modules}),
        }

    def run(self, inputs, outputs):
        """Runs the graph; `inputs` is a dict of tensors by name, `outputs` a list of names.

        A tensor is a dict: `dtype`, a TF_DataType, `shape`, and `b64`, its bytes in base64, or of
        strings a list of these.
        """
        c = self.c
        given = (ctypes.c_void_p * len(inputs))(*map(self.tensor, inputs.values()))
        found = (ctypes.c_void_p * len(outputs))()
        try:
            checked(
                c,
                c.TF_SessionRun,
                *(self.session, None),
                *((Output * len(inputs))(*map(self.output, inputs)), given, len(inputs)),
                *((Output * len(outputs))(*map(self.output, outputs)), found, len(outputs)),
                *(None, 0, None),
            )
            return [self.told(each) for each in found]
        finally:
            for each in (*given, *found):
                if each:
                    c.TF_DeleteTensor(each)

    def output(self, tensor):
        name, index = tensor.rsplit(":", 1)
        operation = self.c.TF_GraphOperationByName(self.graph, name.encode())
        if not operation:
            raise RuntimeError(f"there is no {tensor}")
        return Output(operation, int(index))

    def tensor(self, said):
        shape, c = said["shape"], self.c
        sizes = (ctypes.c_int64 * len(shape))(*shape)
        if said["dtype"] != STRING:
            data = base64.b64decode(said["b64"])
            made = c.TF_AllocateTensor(said["dtype"], sizes, len(shape), len(data))
            ctypes.memmove(c.TF_TensorData(made), data, len(data))
            return made
        values = [base64.b64decode(each) for each in said["b64"]]
        made = c.TF_AllocateTensor(STRING, sizes, len(shape), STRING_BYTES * len(values))
        for i, value in enumerate(values):
            place = c.TF_TensorData(made) + i * STRING_BYTES
            c.TF_StringInit(place)
            c.TF_StringCopy(place, value, len(value))
        return made

    def told(self, tensor):
        c, size = self.c, 1
        kind, start = c.TF_TensorType(tensor), c.TF_TensorData(tensor)
        shape = [c.TF_Dim(tensor, i) for i in range(c.TF_NumDims(tensor))]
        for side in shape:
            size *= side
        if kind != STRING:
            data = ctypes.string_at(start, c.TF_TensorByteSize(tensor)) if size else b""
            return {"dtype": kind, "shape": shape, "b64": base64.b64encode(data).decode()}
        places = [start + i * STRING_BYTES for i in range(size)]
        values = [
            ctypes.string_at(c.TF_StringGetDataPointer(place), c.TF_StringGetSize(place))
            for place in places
        ]
        told = [base64.b64encode(value).decode() for value in values]
        return {"dtype": STRING, "shape": shape, "b64": told}


def main():
    folder, path, *tags = sys.argv[1:]
    try:
        loaded, answer = Model(folder, path, tags or ["serve"]), None
        answer = loaded.describe()
    except (RuntimeError, OSError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1
    print(json.dumps(answer), flush=True)
    for line in sys.stdin:
        try:
            answer = loaded.run(**json.loads(line))
        except RuntimeError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
