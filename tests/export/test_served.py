"""The signatures for servers: batches whose elements do not harm each other."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfclic import images, runtime
from tfclic.export import served
from tfclic.format import model
from tfclic.runtime import session as sessions


@pytest.fixture(scope="module")
def loaded(tiny_model):
    return runtime.load(tiny_model)


@pytest.fixture(scope="module")
def run(tiny_model):
    """Function that calls a signature of the exported tiny codec; lists are batches of strings."""
    card = json.loads((tiny_model / "model_card.json").read_text())
    session = sessions.Session(tiny_model, card["functions"])

    def run(name, **inputs):
        for key, value in inputs.items():
            if isinstance(value, list):
                inputs[key] = np.array([*value, None], object)[:-1]
        return session.run(name, **inputs)

    return run


@pytest.fixture(scope="module")
def pictures(make_pixels):
    return [make_pixels(40, 50), make_pixels(70, 30, 1)[..., 0], make_pixels(20, 1040)]


@pytest.fixture(scope="module")
def files(loaded, pictures):
    return [loaded.compress(pixels, 60) for pixels in pictures]


@pytest.fixture(scope="module")
def bad(files):
    """Files that are not to be decoded, each with a word of the sentence about it."""
    damaged = bytearray(files[0])
    damaged[-6] ^= 1
    return {
        b"": "not a tfclic file",
        b"garbage": "not a tfclic file",
        files[0][:-1]: "truncated",
        bytes(damaged): "corrupted",
        b"TFC\x05" + files[0][4:]: "bin/serve and bin/decompress do",
        b"TFC\x06" + files[0][4:]: "differs from place to place",
        b"TFC\x07" + files[0][4:]: "newer",
    }


def test_files_are_those_made_alone(run, pictures, files):
    pngs = [images.encode(pixels, "x.png") for pixels in pictures]
    qualities = np.full([3], 60, np.float32)
    found = run("compress", images=pngs, qualities=qualities)
    assert found["files_bytes"].tolist() == files
    assert found["statuses"].tolist() == [b"OK"] * 3


def test_bad_images_and_qualities_leave_the_others(run, pictures, files):
    png = images.encode(pictures[0], "x.png")
    given = [png, png[:90], png, png]
    qualities = np.array([60, 60, np.nan, 60], np.float32)
    found = run("compress", images=given, qualities=qualities)
    assert found["files_bytes"].tolist() == [files[0], b"", b"", files[0]]
    sentences = [status.decode() for status in found["statuses"]]
    assert sentences[0] == sentences[3] == "OK"
    assert "damaged" in sentences[1] and sentences[2] == served.BAD_QUALITY


def test_bad_files_leave_the_others(run, loaded, files, bad):
    given = [*files, *bad, files[0]]
    found = run("decompress", files=given)
    for file, png in zip(given, found["images_bytes"]):
        if file in files:
            pixels = np.array(Image.open(io.BytesIO(png)))
            assert np.array_equal(pixels, loaded.decompress(file))
        else:
            assert png == b""
    for file, status in zip(given, found["statuses"]):
        assert status == b"OK" if file in files else bad[file] in status.decode()


def test_forged_files_leave_the_others(run, files, monkeypatch):
    import pathlib

    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).parents[2] / "benchmarks"))
    import forging

    parts = forging.take_apart(files[0])
    # whole by its checksum, but not what its header says
    forged = [
        forging.put_together(parts._replace(payload=parts.payload[: len(parts.payload) // 2])),
        forging.put_together(parts._replace(payload=bytes(len(parts.payload)))),
        forging.put_together(parts._replace(sizes=2 * forging.varint(4000))),
        forging.put_together(parts._replace(sizes=2 * forging.varint(4096))),
    ]
    for signature, output in (("decompress", "images_bytes"), ("heat_map", "maps_bytes")):
        found = run(signature, files=[*forged, files[0]])
        sound = found["statuses"] == b"OK"
        assert sound[-1] and not sound[[0, 2, 3]].any()
        assert [len(each) > 0 for each in found[output]] == sound.tolist()


def test_another_models_file_is_named(run, export_toy, tmp_path, pictures):
    toy = runtime.load(export_toy(tmp_path))
    found = run("decompress", files=[toy.compress(pictures[0])])
    assert found["statuses"][0] == (b"It was made by another model, whose fingerprint is 00ff10ab.")
    assert run("info", files=[toy.compress(pictures[0])])["statuses"][0] == b"OK"


def test_info_is_of_each(run, loaded, files, bad):
    found = run("info", files=[*files, *bad])
    for index, file in enumerate(files):
        known = loaded.info(file)
        known.pop("file_bytes")
        # graphs read files of images alone
        assert [known.pop(f"{name}_bytes") for name in ("alpha", "map", "metadata")] == [0, 0, 0]
        of_this = {name: values[index] for name, values in found.items() if name != "statuses"}
        for name in ("fingerprint", "coder"):
            assert of_this.pop(name).decode() == known.pop(name)
        assert of_this == pytest.approx(known)
    for name in ("width", "height", "quality", "tiles", "payload_bytes"):
        assert not found[name][len(files) :].any()
    told = [status.decode() for status in found["statuses"][len(files) :]]
    assert all(word in sentence for word, sentence in zip(bad.values(), told))
    assert len(told) == len(bad)


def test_heat_maps_are_the_bits_of_the_model(run, loaded, files, bad):
    found = run("heat_map", files=[*files, *bad])
    for file, png, scale in zip(files, found["maps_bytes"], found["scale"]):
        info, parts = loaded.info(file), loaded.statistics(file).parts
        shades = np.array(Image.open(io.BytesIO(png)))
        assert shades.shape == (-(-info["height"] // 16), -(-info["width"] // 16))
        assert shades.max() == 255
        bits = parts["latents"].positions.astype(float)
        for name in ("hyper_latents", "channels"):
            bits += np.kron(parts[name].positions, np.ones([4, 4])) / 16
        expected = bits[: shades.shape[0], : shades.shape[1]] / 256
        assert scale == pytest.approx(expected.max(), rel=1e-4)
        np.testing.assert_allclose(shades * scale / 255, expected, atol=scale / 255)
    assert set(found["maps_bytes"][3:]) == {b""} and not found["scale"][3:].any()


def test_an_empty_batch_is_an_empty_answer(run):
    assert run("info", files=[])["statuses"].shape == (0,)


def test_warm_up_requests_are_calls_that_were_answered(tiny_model, run):
    from tensorflow_serving.apis import prediction_log_pb2

    records = tf.data.TFRecordDataset(str(tiny_model / model.WARM_UP))
    logs = [prediction_log_pb2.PredictionLog.FromString(r.numpy()).predict_log for r in records]
    names = [log.request.model_spec.signature_name for log in logs]
    assert names == ["compress", "decompress", "info", "heat_map"]
    for log, name in zip(logs, names):
        inputs = {key: tf.make_ndarray(each) for key, each in log.request.inputs.items()}
        outputs = {key: tf.make_ndarray(each) for key, each in log.response.outputs.items()}
        assert outputs["statuses"].tolist() == [b"OK"]
        answer = run(name, **inputs)
        assert all(np.array_equal(answer[key], outputs[key]) for key in outputs)
