"""Models of strangers: graphs that do more than compute, and files that are not those of a card."""

import json
import pathlib
import shutil

import pytest
import tensorflow as tf

from tfclic import errors, runtime
from tfclic.format import model
from tfclic.runtime import catalog, checksums


@pytest.fixture
def copied(tiny_model, tmp_path):
    """The folder of a model that may be changed."""
    path = tmp_path / "tiny" / "1"
    shutil.copytree(tiny_model, path)
    return path


def test_an_export_has_the_checksums_of_all_that_is_loaded(copied):
    card = catalog.at(copied).card
    assert card.checksums == checksums.of_files(copied)
    assert sorted(card.checksums) == sorted(
        path.relative_to(copied).as_posix()
        for path in copied.rglob("*")
        if path.is_file() and (path.name == model.GRAPH or path.parent.name == "variables")
    )
    assert len(card.checksums) == 4
    checksums.check(copied, card)


@pytest.mark.parametrize(
    "name", ["variables/variables.data-00000-of-00001", "variables/variables.index", model.GRAPH]
)
def test_a_file_that_is_not_the_card_s_is_refused(copied, name):
    data = bytearray((copied / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / name).write_bytes(data)
    sentence = f"{copied / name} is not the file of which the model's card has the checksum."
    with pytest.raises(errors.ModelError) as caught:
        runtime.load(copied)
    assert str(caught.value) == sentence
    (copied / name).unlink()
    if name != model.GRAPH:  # without it, there is no model
        with pytest.raises(errors.ModelError, match="cannot be read: No such file or directory."):
            runtime.load(copied)


def test_a_card_has_to_list_what_is_loaded(copied):
    content = json.loads((copied / model.CARD).read_text())
    del content["checksums"]["variables/variables.index"]
    (copied / model.CARD).write_text(json.dumps(content))
    with pytest.raises(errors.ModelError, match="variables.index is not the file of which"):
        runtime.load(copied)


def test_cards_of_earlier_exports_have_none(copied):
    content = json.loads((copied / model.CARD).read_text())
    del content["checksums"]
    (copied / model.CARD).write_text(json.dumps(content))
    assert runtime.load(copied).model.card.checksums is None


class Reading(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def plan(self, height):
        return {"tile_height": tf.io.read_file(height)}


class Calling(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def plan(self, height):
        return {"tile_height": tf.py_function(lambda text: text, [height], tf.string)}


@pytest.mark.parametrize("kind, op", [(Reading, "ReadFile"), (Calling, "EagerPyFunc")])
def test_a_graph_that_does_more_than_compute_is_not_loaded(tmp_path, kind, op):
    from tfclic.export import saving

    path = tmp_path / "evil" / "1"
    module = kind()
    tf.saved_model.save(module, str(path), {"plan": module.plan})
    functions = saving.functions(path)
    card = model.Card("evil", 1, "00ff10ab", functions=functions)
    (path / model.CARD).write_text(json.dumps(card.content()))
    sentence = f"The model {path} cannot be loaded: its graph has the operation {op}, which is not"
    with pytest.raises(errors.ModelError) as caught:
        runtime.load(path)
    assert str(caught.value) == f"{sentence} on the list of those that run."


def test_a_graph_that_stores_variables_when_asked_is_not_loaded(export_toy, tmp_path):
    from tfclic.export import saving

    # as TensorFlow wrote it, and as all models were before theirs were made small
    path = export_toy(tmp_path)
    runtime.load(path)
    (graph,) = saving._read(path).meta_graphs
    content = json.loads((path / model.CARD).read_text())
    content["functions"]["plan"]["outputs"]["tile_height"] = graph.saver_def.save_tensor_name
    (path / model.CARD).write_text(json.dumps(content))
    with pytest.raises(errors.ModelError, match="cannot be loaded: its graph writes files."):
        runtime.load(path)


def test_exports_cannot_store_variables(copied):
    from tfclic.export import saving

    (graph,) = saving._read(copied).meta_graphs
    functions = graph.graph_def.library.function
    operations = {node.op for function in functions for node in function.node_def}
    assert "RestoreV2" in operations and "SaveV2" not in operations


def test_a_graph_has_no_other_one_beside_it(copied):
    pathlib.Path(copied, "saved_model.cpb").touch()
    with pytest.raises(errors.ModelError, match="has another one beside it, saved_model.cpb."):
        runtime.load(copied)


def test_a_server_checks_as_well(copied):
    servable = pytest.importorskip("tfclic.serving.servable")
    weights = copied / "variables" / "variables.data-00000-of-00001"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(errors.ModelError, match="is not the file of which the model's card has"):
        servable.Servable("tiny", 1, copied)
