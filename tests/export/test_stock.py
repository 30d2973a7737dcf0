"""Models with the interleaved coder: nothing but TensorFlow's own operations, the same latents."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tfclic import errors, runtime
from tfclic.export import container
from tfclic.format import header, interface, served
from tfclic.runtime import catalog

PROGRAM = """if True:
    import json, pathlib, sys
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.framework import op_def_registry

    found = {root: set() for root in sys.argv[1:]}
    for root, operations in found.items():
        for path in pathlib.Path(root).rglob("saved_model.pb"):
            proto = saved_model_pb2.SavedModel.FromString(path.read_bytes())
            (graph,) = (each.graph_def for each in proto.meta_graphs)
            functions = {each.signature.name for each in graph.library.function}
            nodes = [*graph.node, *(n for each in graph.library.function for n in each.node_def)]
            operations.update({node.op for node in nodes} - functions)
    known = {name for each in found.values() for name in each if op_def_registry.get(name)}
    print(json.dumps([[sorted(each & known), sorted(each - known)] for each in found.values()]))
    loaded = tf.saved_model.load(sys.argv[1])
    file = loaded.compress(tf.fill([20, 30, 3], tf.constant(99, tf.uint8)), 50.0)
    assert loaded.decompress(file).shape == [20, 30, 3]
    assert not any("tensorflow_compression" in name for name in sys.modules)
"""


@pytest.fixture(scope="module")
def codecs(both_coders):
    """Both, loaded, by the coder's name."""
    return {coder: runtime.load(both_coders / coder / "1") for coder in header.CODERS}


def test_no_operation_is_any_but_tensorflows_own_unless_the_range_coder_writes(both_coders):
    paths = [both_coders / coder / "1" for coder in (header.INTERLEAVED, header.RANGE)]
    run = subprocess.run([sys.executable, "-c", PROGRAM, *paths], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    (known, unknown), (_, of_range) = json.loads(run.stdout)
    assert "TensorListSetItem" in known and unknown == []
    assert "EntropyEncodeIndex" in of_range


@pytest.mark.parametrize("size", [(20, 30, 1), (100, 150, 3)])
def test_both_make_the_same_of_an_image(codecs, make_pixels, soft, size):
    pixels, files = soft(make_pixels(*size)), {}
    for coder, codec in codecs.items():
        assert codec.model.card.coder == codec.coder == coder
        known = codec.evaluate(np.broadcast_to(pixels, [*size[:2], 3]), 60, tile=64)
        files[coder] = known["file"]
        parsed = header.parse(known["file"])
        assert codec.info(known["file"])["coder"] == coder == parsed.coder
        assert parsed.version % 2 == (max(size) < 64)
        np.testing.assert_array_equal(codec.decode_latents(known["file"]), known["latents"])
        np.testing.assert_array_equal(codec.decompress(known["file"]), known["reconstruction"])
    assert abs(len(files[header.RANGE]) - len(files[header.INTERLEAVED])) < 60
    both = codecs[header.RANGE].decode_latents(files[header.INTERLEAVED]), known["latents"]
    np.testing.assert_array_equal(*both)
    shown = codecs[header.RANGE].decompress(files[header.INTERLEAVED])
    np.testing.assert_array_equal(shown, known["reconstruction"])


def test_functions_for_whole_files_read_both_too(both_coders, codecs, make_pixels, soft):
    import tensorflow as tf

    loaded = {each: tf.saved_model.load(str(both_coders / each / "1")) for each in header.CODERS}
    pixels = soft(make_pixels(70, 40))
    for coder, codec in codecs.items():
        file = codec.compress(pixels, 40)
        shown = codec.decompress(file)
        np.testing.assert_array_equal(loaded[header.RANGE].decompress(file), shown)
        assert header.parse(loaded[coder].compress(pixels, 40.0).numpy()).coder == coder
    decompress = loaded[header.INTERLEAVED].signatures[served.DECOMPRESS.name]
    files = [codecs[coder].compress(pixels, 40) for coder in header.CODERS]
    statuses = decompress(files=tf.constant(files))["statuses"].numpy().tolist()
    assert statuses == [container.RANGE_CODED.encode(), served.GOOD.encode()]


def test_who_lacks_the_range_coder_says_so(codecs, make_pixels):
    file = codecs[header.RANGE].compress(make_pixels(20, 30), 10)
    with pytest.raises(errors.ModelError, match="bin/recode FILE --coder=interleaved"):
        codecs[header.INTERLEAVED].decompress(file)
    call = codecs[header.INTERLEAVED]._graphs.refusing(errors.FileFormatError)
    with pytest.raises(errors.FileFormatError, match="range coder"):
        call(interface.OPEN, file)


def test_damaged_and_forged_files_are_refused(codecs, make_pixels):
    codec = codecs[header.INTERLEAVED]
    file = codec.compress(make_pixels(40, 50), 50)
    parsed = header.parse(file)
    random = np.random.default_rng(0)

    def forged(payload, **changes):
        import tensorflow as tf

        known = parsed._replace(payload=payload, lengths=(len(payload),), **changes)
        return header.pack(known, lambda body: tf.fingerprint([body]).numpy()[0].tobytes())

    assert forged(parsed.payload) == file
    payload = parsed.payload
    bad = [file[:-5], file[:20] + b"?" + file[21:]]
    bad += [forged(payload[:-1]), forged(payload + b"\0"), forged(b""), forged(payload[:1])]
    bad += [forged(random.bytes(size)) for size in (2, 40, len(payload), 3000)]
    bad += [forged(payload[: len(payload) // 2] + b"\xff" * (len(payload) - len(payload) // 2))]
    bad += [forged(payload, width=4096, height=4096), forged(payload, interleaved=False)]
    for data in bad:
        with pytest.raises((errors.FileFormatError, errors.ModelError)):
            codec.decompress(data)


def test_files_are_read_by_the_model_that_writes_such(
    both_coders, codecs, make_pixels, monkeypatch
):
    monkeypatch.setenv(catalog.VARIABLE, str(both_coders))
    for coder, codec in codecs.items():
        file = codec.compress(make_pixels(20, 30), 10)
        assert runtime.Library().codec_of(file).model.card.coder == coder
