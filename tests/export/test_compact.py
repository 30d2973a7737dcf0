"""Graphs made small compute what they did."""

import collections

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfclic.export import compact


class Branches(tf.Module):
    """A loop around branches, two of which are the same, which read variables.

    Some of it is there twice, and some for nothing.
    """

    def __init__(self):
        super().__init__()
        self.weight, self.other = tf.Variable([2.0, 3.0]), tf.Variable(5.0)

    @tf.function(input_signature=[tf.TensorSpec([2], name="x"), tf.TensorSpec([], tf.int32, "n")])
    def run(self, x, n):
        x = x + (self.other - 1.0) * 0.0 + (self.other - 1.0) * 0.0
        _ = tf.exp(self.weight)

        def doubled(values):
            return tf.cond(
                values[0] > 10.0,
                lambda: values - self.other,
                lambda: values * self.weight + self.other,
            )

        for _ in tf.range(n):
            x = doubled(doubled(x))
        with tf.control_dependencies([tf.debugging.Assert(n < 9, ["too many"])]):
            return {"result": tf.identity(x)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A SavedModel's folder, its file, and what that had before it was made small."""
    folder = tmp_path_factory.mktemp("compact")
    module = Branches()
    tf.saved_model.save(module, str(folder), signatures={"run": module.run})
    path = folder / "saved_model.pb"
    before = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    after = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    compact.compact(after.meta_graphs[0])
    path.write_bytes(after.SerializeToString())
    return folder, before.meta_graphs[0], after.meta_graphs[0]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_results_are_the_same(saved, count):
    loaded = tf.saved_model.load(str(saved[0]))
    x, n = tf.constant([0.5, -1.0]), tf.constant(count)
    module = Branches()
    wanted = module.run(x, n)["result"]
    np.testing.assert_array_equal(loaded.run(x, n)["result"], wanted)
    np.testing.assert_array_equal(loaded.signatures["run"](x=x, n=n)["result"], wanted)


def test_errors_are_the_same(saved):
    loaded = tf.saved_model.load(str(saved[0]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="too many"):
        loaded.run(tf.zeros([2]), tf.constant(9))


def called(graph):
    """The names of functions that a graph calls."""
    return set(compact._called(compact._all_nodes(graph)))


def operations(graph, name):
    """How often each operation is in the function that has `name` in its own, as a Counter."""
    (function,) = (f for f in graph.graph_def.library.function if name in f.signature.name)
    return collections.Counter(node.op for node in function.node_def)


def test_equal_functions_are_one(saved):
    _, before, after = saved
    branches = [
        len({b for b in called(graph) if "cond_true" in b or "cond_false" in b})
        + len({b for b in called(graph) if "cond_1_true" in b or "cond_1_false" in b})
        for graph in (before, after)
    ]
    assert branches == [4, 2]  # of a condition that is there twice


def test_what_is_called_is_there_and_nothing_else(saved):
    _, _, after = saved
    there = {f.signature.name for f in after.graph_def.library.function}
    assert called(after) <= there
    assert there <= called(after) | set(after.object_graph_def.concrete_functions)


def test_what_is_computed_twice_is_computed_once(saved):
    _, before, after = saved
    twice, once = (operations(graph, "__inference_run") for graph in (before, after))
    assert twice["Mul"] == 2 and once["Mul"] == 1
    assert twice["ReadVariableOp"] == 3 and once["ReadVariableOp"] == 1
    # what was one value is added twice
    assert once["AddV2"] == 2


def test_what_nothing_follows_from_is_gone_but_not_what_does_something(saved):
    _, before, after = saved
    unused, kept = (operations(graph, "__inference_run") for graph in (before, after))
    assert unused["Exp"] == 1 and "Exp" not in kept
    assert unused["Assert"] == kept["Assert"] == 1


def test_variables_are_read_from_files_and_no_longer_written(saved):
    _, before, after = saved
    assert any("save" in name for name in called(before))
    assert not any("save" in name for name in called(after))
    assert any("restore" in name for name in called(after))
    # as a server reads them
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(saved[0]))
        signature = graph.signature_def["run"]
        given = {signature.inputs["x"].name: [0.5, -1.0], signature.inputs["n"].name: 1}
        found = session.run(signature.outputs["result"].name, given)
    module = Branches()
    wanted = module.run(tf.constant([0.5, -1.0]), tf.constant(1))["result"]
    np.testing.assert_array_equal(found, wanted)


def test_names_are_short_and_notes_are_gone(saved):
    _, before, after = saved
    nodes = [node for f in after.graph_def.library.function for node in f.node_def]
    assert max(len(node.name) for node in nodes) <= 2
    assert not any(name in node.attr for node in nodes for name in compact.IDLE_NOTES)
    assert after.ByteSize() < 0.7 * before.ByteSize()
    # inside of functions nothing is inferred anyway where calls outside of them are left alone
    calls = [n for n in after.graph_def.node if n.op == "StatefulPartitionedCall"]
    assert calls and all(node.attr[compact.NOT_INFERRED].b for node in calls)
    # signatures point to these
    left = {node.name for node in before.graph_def.node} - {n.name for n in after.graph_def.node}
    assert left == {before.saver_def.save_tensor_name.partition(":")[0]}
