"""What TensorFlow Serving does with a model, around TensorFlow's library in its own process."""

import base64
import json
import pathlib
import subprocess
import threading
import time

import numpy as np

from tfclic.format import model
from tfclic.serving import rest_format, tensors

PROGRAM = pathlib.Path(__file__).with_name("library_alone.py")
FIND = "import importlib.util as u; print(u.find_spec('tensorflow').submodule_search_locations[0])"


class Alone:
    """The library in its own process, with a model loaded.

    Attributes:
      told: dict, what `library_alone.Model.describe` tells.
      graph: the MetaGraphDef that was loaded.
      seconds: to load it.
    """

    def __init__(self, python, path):
        from tensorflow.core.protobuf import meta_graph_pb2

        folder = subprocess.run([python, "-c", FIND], capture_output=True, text=True, check=True)
        command = [python, "-I", str(PROGRAM), folder.stdout.strip(), str(path), *model.TAGS]
        pipe = subprocess.PIPE
        began = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )
        self.lock = threading.Lock()
        self.told = self._answer()
        self.seconds = time.perf_counter() - began
        self.graph = meta_graph_pb2.MetaGraphDef.FromString(base64.b64decode(self.told["graph"]))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def message(self, name, kind):
        """What it tells as a message of a kind."""
        return kind.FromString(base64.b64decode(self.told[name]))

    def run(self, name, inputs, wanted=()):
        """Calls a signature with arrays, as the server calls a session; a dict of arrays."""
        signature = self.graph.signature_def[name]
        outputs = {key: signature.outputs[key].name for key in wanted or sorted(signature.outputs)}
        given = {}
        for key, array in inputs.items():
            info = signature.inputs[key]
            # of bytes numpy would make a string of its own, without the zeros at the end
            array = np.asarray(array, np.object_ if isinstance(array, bytes) else None)
            given[info.name] = _as_json(array, info.dtype)
        request = {"inputs": given, "outputs": list(outputs.values())}
        with self.lock:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            return dict(zip(outputs, map(_as_array, self._answer())))

    def rest(self, body):
        """What the server answers to the JSON of a request, a dict."""
        request = rest_format.Request(json.dumps(body).encode())
        signature = self.graph.signature_def[request.signature]
        outputs = self.run(request.signature, request.inputs(signature))
        return json.loads(rest_format.answer(outputs, request.rows))

    def _answer(self):
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": "the process ended"}
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer


def _as_json(array, dtype):
    if dtype == tensors.STRING:
        told = [base64.b64encode(each).decode() for each in array.ravel().tolist()]
    else:
        assert tensors.number_of(array) == dtype, (array.dtype, dtype)
        told = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": dtype, "shape": array.shape, "b64": told}


def _as_array(told):
    if told["dtype"] == tensors.STRING:
        values = [base64.b64decode(each) for each in told["b64"]]
        return strings(values).reshape(told["shape"])
    import tensorflow as tf

    dtype = tf.dtypes.as_dtype(told["dtype"]).as_numpy_dtype
    return np.frombuffer(base64.b64decode(told["b64"]), dtype).reshape(told["shape"])


def strings(values):
    """An array of bytes."""
    return np.array([*values, None], np.object_)[:-1]


def b64(data):
    """Bytes as TensorFlow Serving's JSON has them."""
    return {"b64": base64.b64encode(data).decode()}
