"""What may stand in a SavedModel's graph, tried on graphs that are made, forged and damaged."""

import json
import pathlib
import random

import pytest

from tfclic.format import graphs, model, operations

SAVED_MODELS = pathlib.Path(__file__).parents[2] / "saved_models"


@pytest.fixture(scope="module")
def whole(toy_model):
    """The bytes of a graph that TensorFlow has written."""
    return (toy_model / "saved_model.pb").read_bytes()


@pytest.fixture
def proto(whole):
    """The same, to be changed."""
    from tensorflow.core.protobuf import saved_model_pb2

    return saved_model_pb2.SavedModel.FromString(whole)


def refusal(proto, *asked):
    """What a graph is refused with; None if it is not."""
    data = proto if isinstance(proto, bytes) else proto.SerializeToString()
    try:
        graphs.check(data, ["serve"], asked)
    except graphs.GraphError as error:
        return str(error)
    return None


def node_of(graph, name):
    (found,) = (node for node in graph.graph_def.node if node.name == name)
    return found


def function_with(graph, op):
    return next(
        function
        for function in graph.graph_def.library.function
        if any(node.op == op for node in function.node_def)
    )


def call(graph, function, name="call"):
    node = graph.graph_def.node.add(name=name, op="PartitionedCall")
    node.attr["f"].func.name = function
    return node


def test_shipped_graphs_are_for_running(whole):
    assert refusal(whole) is None
    cards = sorted(SAVED_MODELS.glob("*/*/model_card.json"))
    assert cards
    for path in cards:
        card = model.Card.of(json.loads(path.read_text()))
        for coder in card.coders:
            tags, functions = card.graph(coder)
            asked = [each for one in functions.values() for each in one["outputs"].values()]
            graphs.check((path.parent / model.GRAPH).read_bytes(), tags, asked)
        if card.refinement:
            graphs.check((path.parent / model.REFINEMENT / model.GRAPH).read_bytes())


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    "op", ["ReadFile", "WriteFile", "PyFunc", "EagerPyFunc", "PrintV2", "_Send", "New", "NoOp2"]
)
def test_operations_that_are_not_on_the_list_are_named(proto, op, inside):
    graph = proto.meta_graphs[0].graph_def
    nodes = graph.library.function[-1].node_def if inside else graph.node
    nodes.add(name="it", op=op)
    sentence = f"has the operation {op}, which is not on the list of those that run"
    assert refusal(proto) == sentence


def test_the_list_has_operations_that_exist_and_touch_nothing():
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session as session

    found = op_def_pb2.OpList.FromString(session.TF_GetBuffer(session.TF_GetAllOpList()))
    known = {op.name: op for op in found.op}
    # those of TensorFlow Compression are not known before it is loaded, or not in this release
    ours = [name for name in operations.COMPUTING | operations.CALLING if name in known]
    assert len(ours) > 300
    words = ("File", "Print", "PyFunc", "Save", "Rpc", "Remote", "Send", "Recv", "Reader", "Write")
    assert [name for name in ours if any(word in name for word in words)] == ["ShardedFilename"]
    calling = {name for name in ours if any("func" in attr.type for attr in known[name].attr)}
    assert calling == operations.CALLING


def test_what_stores_variables_never_runs(proto):
    (graph,) = proto.meta_graphs
    store = graph.saver_def.save_tensor_name
    name = store.partition(":")[0]
    assert refusal(proto) is None
    # asked for by a card
    assert refusal(proto, store) == "writes files"
    # by one of another graph, where something else has this name
    graph.meta_info_def.tags[:] = ["serve", "other"]
    assert refusal(proto, store) is None
    graph.meta_info_def.tags[:] = ["serve"]
    # by a signature
    output = graph.signature_def["compress"].outputs["statuses"]
    before, output.name = output.name, store
    assert refusal(proto) == "writes files"
    output.name = before
    # by what depends on it
    for given in (store, f"^{name}"):
        other = graph.graph_def.node.add(name="other", op="NoOp", input=[given])
        assert refusal(proto) == "writes files"
        graph.graph_def.node.remove(other)
    # when the model is loaded
    restore, graph.saver_def.restore_op_name = graph.saver_def.restore_op_name, name
    assert refusal(proto) == "writes files"
    graph.saver_def.restore_op_name = restore
    graph.collection_def["saved_model_main_op"].node_list.value[:] = [name]
    assert refusal(proto) == "writes files"


def test_variables_are_stored_and_read_by_one_function_each(proto):
    (graph,) = proto.meta_graphs
    for op, sentence in (("SaveV2", "writes files"), ("RestoreV2", "reads files")):
        function = function_with(graph, op)
        inner = graph.graph_def.library.function[-1].node_def.add(name="x", op="StatelessIf")
        inner.attr["then_branch"].func.name = function.signature.name
        assert refusal(proto) == sentence
        inner.attr["then_branch"].func.name = ""
        inner.attr["branches"].list.func.add(name=function.signature.name)
        assert refusal(proto) == sentence
        inner.op = "NoOp"
        assert refusal(proto) is None


def test_variables_are_read_of_the_file_that_tensorflow_names(proto):
    (graph,) = proto.meta_graphs
    function = function_with(graph, "RestoreV2")
    second = call(graph, function.signature.name)
    second.input.append(graph.saver_def.filename_tensor_name)
    assert refusal(proto) == "reads files"
    graph.graph_def.node.remove(second)
    restore = node_of(graph, graph.saver_def.restore_op_name)
    constant = graph.graph_def.node.add(name="constant", op="Const")
    before, restore.input[0] = restore.input[0], constant.name
    assert refusal(proto) == "reads files"
    restore.input[0] = before
    (reading,) = (node for node in function.node_def if node.op == "RestoreV2")
    before, reading.input[0] = reading.input[0], reading.input[1]
    assert refusal(proto) == "reads files"
    reading.input[0] = before
    assert refusal(proto) is None


def test_messages_are_understood_as_tensorflow_understands_them(proto, whole):
    from tensorflow.core.framework import node_def_pb2
    from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

    # of two operations the last counts
    node = node_def_pb2.NodeDef(name="it", op="ReadFile").SerializeToString()
    node += node_def_pb2.NodeDef(op="NoOp").SerializeToString()
    assert node_def_pb2.NodeDef.FromString(node).op == "NoOp"

    def with_node(content):
        graph = b"\x0a" + bytes([len(content)]) + content
        meta = meta_graph_pb2.MetaGraphDef().SerializeToString()
        meta += b"\x12" + bytes([len(graph)]) + graph
        return b"\x12" + bytes([len(meta)]) + meta

    assert refusal(with_node(node)) is None
    later = node_def_pb2.NodeDef(op="ReadFile").SerializeToString()
    assert "ReadFile" in refusal(with_node(node + later))
    # parts of one message, the second of which has it
    (graph,) = proto.meta_graphs
    more = meta_graph_pb2.MetaGraphDef()
    more.graph_def.node.add(name="it", op="ReadFile")
    joined = graph.SerializeToString() + more.SerializeToString()
    data = saved_model_pb2.SavedModel().SerializeToString()
    size = len(joined)
    length = bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14 & 127 | 128, size >> 21])
    assert "ReadFile" in refusal(data + b"\x12" + length + joined)
    # a number of a field that TensorFlow would cut to 32 bits, and groups
    assert refusal(b"\x92\x80\x80\x80\x10" + whole[1:]) == "is damaged"
    assert refusal(b"\x13\x14" + whole) == "is damaged"


def test_damaged_graphs_are_refused_or_harmless(whole):
    from tensorflow.core.protobuf import saved_model_pb2

    chance, refused = random.Random(1), 0
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        data = bytes(data[: chance.randrange(len(data))] if chance.random() < 0.3 else data)
        if refusal(data) is not None:
            refused += 1
            continue
        try:
            proto = saved_model_pb2.SavedModel.FromString(data)
        except Exception:
            continue  # TensorFlow would not load it
        for graph in proto.meta_graphs:
            functions = graph.graph_def.library.function
            nodes = [*graph.graph_def.node, *(n for each in functions for n in each.node_def)]
            names = {node.op for node in nodes}
            allowed = operations.COMPUTING | operations.CALLING | operations.STORING
            assert names <= allowed | operations.RESTORING
    assert refused > 30
