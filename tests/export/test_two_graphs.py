"""Exports with a graph for each coder, which share their variables; and exports made of exports."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfclic import errors, runtime
from tfclic.cli import common, compress, export, recode
from tfclic.export import saving, stored
from tfclic.format import header, model
from tfclic.format.served import DECOMPRESS, GOOD, INFO, SERVED
from tfclic.runtime import c_api, catalog
from tfclic.serving import servable


@pytest.fixture(scope="module")
def codecs(two_graphs):
    """It, loaded for each coder, by the coder's name."""
    return {coder: runtime.load(two_graphs, coder) for coder in header.CODERS}


@pytest.fixture
def without_compression(monkeypatch):
    """TensorFlow Compression is not there."""
    monkeypatch.setattr(c_api, "has_compression", lambda: False)


def test_the_graph_of_servers_has_no_operation_but_tensorflows(two_graphs):
    proto = saved_model_pb2.SavedModel.FromString((two_graphs / model.GRAPH).read_bytes())
    found = {}
    for graph in proto.meta_graphs:
        functions = graph.graph_def.library.function
        operations = {node.op for each in functions for node in each.node_def}
        found[frozenset(graph.meta_info_def.tags)] = any(map(_is_of_range, operations))
    assert found == {frozenset(["serve"]): False, frozenset(["serve", "range"]): True}
    loaded = tf.saved_model.load(str(two_graphs), tags=list(model.TAGS))
    (status,) = loaded.signatures["info"](files=tf.constant([b"TFC"]))["statuses"].numpy()
    assert status.decode() == header.SENTENCES[header.TRUNCATED]


def _is_of_range(operation):
    return operation.startswith(("Entropy", "CreateRange"))


def test_files_are_those_of_models_with_one_coder(
    codecs, two_graphs, both_coders, make_pixels, soft
):
    pixels = soft(make_pixels(70, 90))
    for coder, codec in codecs.items():
        alone = runtime.load(both_coders / coder)
        assert codec.coder == alone.coder == coder
        assert alone.model.card.coders == (coder,) and codec.model.card.coders == header.CODERS
        file = codec.compress(pixels, 40)
        assert file == alone.compress(pixels, 40)
        np.testing.assert_array_equal(alone.decompress(file), codec.decompress(file))
    sizes = [
        sum(each.stat().st_size for each in (path / "variables").iterdir())
        for path in (two_graphs, both_coders / header.RANGE / "1")
    ]
    assert abs(sizes[0] - sizes[1]) < 5000


def test_without_compression_the_other_graph_runs(
    two_graphs, codecs, both_coders, make_pixels, soft, without_compression
):
    for path, coder in ((two_graphs, header.RANGE), (both_coders / header.RANGE, None)):
        with pytest.raises(errors.ModelError, match="tensorflow-compression"):
            runtime.load(path, coder)
    codec, pixels = runtime.load(two_graphs), soft(make_pixels(20, 30))
    assert codec.coder == header.INTERLEAVED
    assert header.parse(codec.compress(pixels)).coder == header.INTERLEAVED
    assert header.parse(codec.compress(pixels, effort=1)).coder == header.INTERLEAVED
    with pytest.raises(errors.ModelError) as refused:
        codec.decompress(codecs[header.RANGE].compress(pixels))
    assert str(refused.value) == header.RANGE_CODED
    assert "`bin/recode FILE --coder=interleaved`" in header.RANGE_CODED


def test_with_it_the_range_coder_writes_and_both_are_read(two_graphs, codecs, make_pixels, soft):
    codec, pixels = runtime.load(two_graphs), soft(make_pixels(20, 30))
    assert codec.coder == header.RANGE
    assert codec.compress(pixels) == codecs[header.RANGE].compress(pixels)
    codec.decompress(codecs[header.INTERLEAVED].compress(pixels))


def test_a_model_with_one_coder_has_no_other(both_coders):
    with pytest.raises(errors.ModelError, match="does not write with the interleaved coder"):
        runtime.load(both_coders / header.RANGE, header.INTERLEAVED)


def test_the_program_writes_with_the_coder_that_is_asked_for(two_graphs, codecs, photo):
    for coder, codec in codecs.items():
        words = [str(photo), f"--model={two_graphs}", f"--coder={coder}", "--force"]
        args = compress.make_parser().parse_args(words)
        assert common.guarded(compress.compress, args, "compress") == 0
        file = photo.with_suffix(".tfclic").read_bytes()
        assert codec.info(file)["coder"] == coder


@pytest.mark.parametrize("has_compression", [False, True])
def test_the_server_takes_the_graph_that_can_run(
    two_graphs, codecs, make_pixels, soft, has_compression, monkeypatch
):
    monkeypatch.setattr(c_api, "has_compression", lambda: has_compression)
    served = servable.Servable("two", 1, two_graphs)
    assert set(served.signatures) == servable.CODEC_SIGNATURES
    assert served.warm_up() == len(SERVED)
    files = [codecs[coder].compress(soft(make_pixels(20, 30))) for coder in header.CODERS]
    found = served.run(DECOMPRESS.name, {"files": np.array([*files, None], object)[:-1]})
    bad = GOOD if has_compression else header.RANGE_CODED
    told = served.run(INFO.name, {"files": np.array([*files, b"", None], object)[:-1]})
    assert [coder.decode() for coder in told["coder"]] == [*header.CODERS, ""]
    assert [status.decode() for status in found["statuses"]] == [bad, GOOD]


def test_recoding_needs_one_model(two_graphs, codecs, make_pixels, soft, tmp_path, monkeypatch):
    monkeypatch.setenv(catalog.VARIABLE, str(two_graphs))
    file = codecs[header.RANGE].compress(soft(make_pixels(90, 150)), tile=64)
    (tmp_path / "a.tfclic").write_bytes(file)
    for words in (["a.tfclic", "--coder=interleaved"], ["a.interleaved.tfclic", "--coder=range"]):
        args = recode.make_parser().parse_args([str(tmp_path / words[0]), words[1]])
        assert common.guarded(recode.recode, args, "recode") == 0
    recoded = (tmp_path / "a.interleaved.tfclic").read_bytes()
    assert recoded == codecs[header.INTERLEAVED].compress(soft(make_pixels(90, 150)), tile=64)
    assert (tmp_path / "a.interleaved.range.tfclic").read_bytes() == file


def test_an_export_of_an_export_is_the_same_model(two_graphs, tmp_path, monkeypatch):
    words = [f"--from={two_graphs}", "--name=again", f"--folder={tmp_path}", "--coder=interleaved"]
    assert export.make_parser().parse_args(words[:-1]).coder == model.BOTH
    digests, given = [], {}

    def save(codec, folder, name, *, like, **named):
        # tests/export/test_integers.py has what comes of such a codec
        assert (folder, name) == (str(tmp_path), "again")
        digests.append(stored.StoredCodec(codec, like).digest().hex())
        given.update(named)
        return two_graphs

    monkeypatch.setattr(saving, "save", save)
    args = export.make_parser().parse_args(words)
    assert common.guarded(export.export, args, "export") == 0
    card = json.loads((two_graphs / model.CARD).read_text())
    assert digests == [card["fingerprint"]]
    nothing = dict.fromkeys(("results", "seen", "thumbnails"))
    same = {name: card[name] for name in ("config", "training", "transforms")}
    assert given == {"coder": header.INTERLEAVED, **same, **nothing}


def test_what_cannot_be_exported_again_is_told(both_coders, tmp_path, capsys):
    # its card does not say how it was made
    words = [f"--from={both_coders / header.RANGE}", "--name=again", f"--folder={tmp_path}"]
    args = export.make_parser().parse_args(words)
    assert common.guarded(export.export, args, "export") == 5
    assert "cannot be read" in capsys.readouterr().err
