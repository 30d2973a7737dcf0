"""Graphs made small compute what they did."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfclic.export import compact


class Branches(tf.Module):
    """A loop around branches, two of which are the same, which read variables."""

    def __init__(self):
        super().__init__()
        self.weight, self.other = tf.Variable([2.0, 3.0]), tf.Variable(5.0)

    @tf.function(input_signature=[tf.TensorSpec([2], name="x"), tf.TensorSpec([], tf.int32, "n")])
    def run(self, x, n):
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


def test_equal_functions_are_one(saved):
    _, before, after = saved
    functions = [len(graph.graph_def.library.function) for graph in (before, after)]
    assert functions[1] == functions[0] - 2  # of a condition that is there twice
    called = {
        function.name
        for node in compact._all_nodes(after)
        for attribute in node.attr.values()
        for function in compact._calls(attribute)
    }
    assert called <= {f.signature.name for f in after.graph_def.library.function}


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
    assert [node.name for node in after.graph_def.node] == [n.name for n in before.graph_def.node]
