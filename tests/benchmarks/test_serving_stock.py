"""The stock export as TensorFlow Serving's own server runs it: by TensorFlow's library alone."""

import json
import pathlib
import sys

import pytest

from tfclic.format import header, model, served

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def serving_stock(load_benchmark):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield load_benchmark("serving_stock")


def test_the_library_alone_answers_all_requests(serving_stock, two_graphs):
    found = serving_stock.measure(sys.executable, two_graphs)
    assert found["faults"] == []
    functions = json.loads((two_graphs / model.CARD).read_text())["stock"]
    assert found["signatures"] == len(functions) and found["functions"] > 20
    assert "While" in found["operations"] and "EntropyDecodeIndex" not in found["operations"]


def test_the_range_coder_does_not_even_load(serving_stock, both_coders):
    with pytest.raises(RuntimeError, match="Op type not registered"):
        serving_stock.measure(sys.executable, both_coders / header.RANGE / "1")


OPERATIONS = """
    op { name: "Add" attr { name: "T" type: "type" allowed_values { list { type: DT_INT32
      type: DT_FLOAT type: DT_HALF } } }
      attr { name: "quick" type: "bool" default_value { b: true } } }
    op { name: "Call" attr { name: "f" type: "func" } }
    op { name: "Old" deprecation { version: 5 explanation: "it is old" } }
    op { name: "PyFunc" }
"""
KERNELS = """
    kernel { op: "Add" device_type: "CPU"
      constraint { name: "T" allowed_values { list { type: DT_FLOAT type: DT_HALF } } } }
    kernel { op: "Add" device_type: "GPU" }
    kernel { op: "Call" device_type: "CPU" } kernel { op: "Old" device_type: "DEFAULT" }
    kernel { op: "PyFunc" device_type: "CPU" }
"""
ADD = 'node { name: "a" op: "Add" attr { key: "T" value { type: DT_FLOAT } }'
MADE = {
    ADD + ' attr { key: "_note" value { b: true } } }': None,
    'node { name: "a" op: "Sub" }': "there is no operation Sub",
    'node { name: "a" op: "Add" }': "Add: the attribute T is missing",
    ADD.replace("FLOAT", "BOOL") + "}": "Add: the attribute T has another type than is allowed",
    ADD.replace("FLOAT", "INT32") + "}": "Add: it has no kernel for these types",
    ADD + ' attr { key: "new" value { b: true } } }': "Add: no attribute new is known",
    'node { name: "a" op: "PyFunc" }': "PyFunc: it needs Python",
    'node { name: "a" op: "Old" }': "Old: it is deprecated: it is old",
    'node { name: "a" op: "Call" attr { key: "f" value { func { name: "g" } } } }': (
        "Call: there is no function g"
    ),
    "versions { min_consumer: 8 }": "graphs of version 7 need a newer one than 7",
}


@pytest.mark.parametrize("text,fault", MADE.items(), ids=map(str, MADE.values()))
@pytest.mark.parametrize("inside", [False, True])
def test_whatever_a_library_lacks_is_found(load_benchmark, text, fault, inside):
    from google.protobuf import text_format
    from tensorflow.core.framework import kernel_def_pb2, op_def_pb2, versions_pb2
    from tensorflow.core.protobuf import meta_graph_pb2

    if inside:
        text = text.replace("node {", 'library { function { signature { name: "f" } node_def {')
        text += " } }" if "node_def" in text else ""
    made = meta_graph_pb2.MetaGraphDef()
    text_format.Parse(f"graph_def {{ {text} }}", made)
    made.graph_def.versions.producer = 7
    found = load_benchmark("stock_graph").faults(
        made,
        text_format.Parse(OPERATIONS, op_def_pb2.OpList()),
        text_format.Parse(KERNELS, kernel_def_pb2.KernelList()),
        versions_pb2.VersionDef(producer=7),
    )
    lacking = [f"there is no signature {each.name}" for each in served.SERVED]
    assert found == [fault, *lacking][fault is None :]
