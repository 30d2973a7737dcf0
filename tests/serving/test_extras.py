"""What the server does beyond the signatures of a codec."""

import base64
import json
import shutil
import urllib.request

import grpc
import numpy as np
import pytest
import tensorflow as tf

import tfclic
from tfclic import images, runtime
from tfclic.format import header, interface, picture
from tfclic.runtime import c_api, catalog, checks, session
from tfclic.serving import extras, limits, servable
from tfclic.serving.client import predict_request


@pytest.fixture(scope="module")
def both_server(serving, toy_model, sliced_toy, tmp_path_factory):
    """A server of the toy codec, and of the one with slices; images have 2500 pixels at most."""
    folder = tmp_path_factory.mktemp("both")
    for path in (toy_model, sliced_toy):
        shutil.copytree(path.parent, folder / path.parent.name)
    with serving(folder, max_pixels=2500, max_bytes=1 << 20) as started:
        yield started


@pytest.fixture
def call(both_server):
    """Function that calls a signature by gRPC; gives a dict of lists."""

    def call(signature, only=(), model="toy", **inputs):
        inputs = {
            name: value if isinstance(value, list) else np.asarray(value)
            for name, value in inputs.items()
        }
        request = predict_request(model, signature, inputs)
        request.output_filter.extend(only)
        outputs = both_server.prediction.Predict(request).outputs
        return {name: tf.make_ndarray(each).tolist() for name, each in outputs.items()}

    return call


@pytest.fixture(scope="session")
def png(make_pixels):
    """Pixels, uint8 [50, 40, 3], and their PNG file."""
    pixels = make_pixels(50, 40)
    return pixels, images.encode(pixels, "x.png")


AREAS = [runtime.Area(2, 3, 5, 4), runtime.Area(20, 30, 10, 9, 90, False)]
TEXT = b"2,3,5,4 20,30,10,9:90"


def test_areas_are_as_at_the_command_line(call, png, toy_codec):
    pixels, data = png
    qualities = np.array([20, 20], np.float32)
    found = call("compress", images=[data, data], qualities=qualities, areas=[TEXT, b""])
    assert found["statuses"] == [b"OK", b"OK"]
    with_areas, even = (toy_codec.compress(pixels, 20, areas=areas) for areas in (AREAS, []))
    assert found["files_bytes"] == [with_areas, even]
    assert with_areas != even


def test_efforts_are_as_at_the_command_line(tiny_model, png, monkeypatch):
    monkeypatch.setattr(checks, "EFFORTS", (0, 1, 2, 3))
    path, (pixels, data) = catalog.at(tiny_model).path, png
    served, codec = servable.Servable("tiny", 1, path), runtime.load(tiny_model)
    images, qualities = np.array([data, data, data], object), np.full(3, 90, np.float32)
    given = {"images": images, "qualities": qualities, "efforts": np.array([0, 3, 4], np.int32)}
    found = extras.run(served, "compress", given, (), limits.Most(5000, 3))
    assert found["statuses"].tolist()[:2] == [b"OK", b"OK"]
    assert b"efforts up to 3, not 4" in found["statuses"][2]
    files = [codec.compress(pixels, 90, effort=effort) for effort in (0, 3)]
    assert found["files_bytes"].tolist() == [*files, b""]
    assert files[0] != files[1]


def test_areas_of_gray_and_transparent_images(call, make_pixels, toy_codec):
    for channels in (1, 4):
        pixels = make_pixels(50, 40, channels)
        pixels = pixels[..., 0] if channels == 1 else pixels
        given = {"images": [images.encode(pixels, "x.png")], "qualities": np.float32([20])}
        (file,) = call("compress", **given, areas=[TEXT])["files_bytes"]
        assert file == toy_codec.compress(pixels, 20, areas=AREAS)


def test_rest_takes_areas_by_rows_and_columns(toy_server, png, toy_codec):
    pixels, data = png
    row = {"images": {"b64": base64.b64encode(data).decode()}, "qualities": 20}
    row["areas"] = TEXT.decode()
    expected = base64.b64encode(toy_codec.compress(pixels, 20, areas=AREAS)).decode()
    for body in ({"instances": [row]}, {"inputs": {name: [each] for name, each in row.items()}}):
        body = json.dumps({"signature_name": "compress", **body}).encode()
        url = f"{toy_server.url}/v1/models/toy:predict"
        with urllib.request.urlopen(url, body) as answer:
            assert expected in answer.read().decode()


@pytest.mark.parametrize(
    "text, sentence",
    [
        (b"1,2,3", "1,2,3 is not X,Y,W,H or X,Y,W,H:QUALITY"),
        (b"1,2,3,4:101", "The quality of an area has to be a number from 0 to 100, not 101."),
        (b"1,2,3,4:-101", "from -100 to 100"),
        (b"30,0,11,5", "The area 30,0,11,5 is not inside of the image, 40x50."),
        (b"0,0,0,5", "is not inside of the image"),
        (b"\xff\xfe", "is not X,Y,W,H"),
        (b"0,0,1,1 " * (extras.MOST_AREAS + 1), "There are more than 1000 areas."),
    ],
)
def test_areas_that_are_none_get_their_sentence_and_no_other(call, png, text, sentence):
    _, data = png
    qualities = np.array([20, 20], np.float32)
    found = call("compress", images=[data, data], qualities=qualities, areas=[text, b"0,0,9,9"])
    assert sentence in found["statuses"][0].decode() and found["files_bytes"][0] == b""
    assert found["statuses"][1] == b"OK" and found["files_bytes"][1]


def test_images_and_qualities_that_are_none_are_told_with_areas_too(call, png):
    _, data = png
    given = {"images": [b"junk", data, data[:99]], "areas": [b"0,0,9,9"] * 3}
    found = call("compress", **given, qualities=np.array([20, np.nan, 20], np.float32))
    assert found["statuses"][0] == b"It is not a PNG, JPEG, GIF or BMP image."
    assert b"The quality has to be a number from 0 to 100" in found["statuses"][1]
    assert b"cannot be read as an image" in found["statuses"][2]
    assert not any(found["files_bytes"])


def test_what_is_asked_for_alone_is_given(call, png):
    given = {"images": [png[1]], "qualities": np.float32([20]), "areas": [TEXT]}
    assert call("compress", ["statuses"], **given) == {"statuses": [b"OK"]}


@pytest.mark.parametrize(
    "inputs, sentence",
    [
        ({"areas": [TEXT, TEXT]}, r"'areas' has to be of shape \[1\]"),
        ({"areas": np.float32([1])}, "'areas' has to be of type string"),
        ({"areas": [TEXT], "roi": [b""]}, "no input 'roi'"),
        ({"areas": [TEXT], "qualities": [b"9"]}, "'qualities' has to be of type float"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(call, png, inputs, sentence):
    given = {"images": [png[1]], "qualities": np.float32([20]), **inputs}
    with pytest.raises(grpc.RpcError, match=sentence):
        call("compress", **given)


def test_many_pixels_are_refused_with_areas_too(call, make_pixels):
    large = images.encode(make_pixels(51, 50), "x.png")
    with pytest.raises(grpc.RpcError, match="more pixels"):
        call("compress", images=[large], qualities=np.float32([20]), areas=[TEXT])


def test_other_signatures_have_no_areas(call, png, toy_codec):
    with pytest.raises(grpc.RpcError, match="no input 'areas'"):
        call("info", files=[toy_codec.compress(png[0])], areas=[TEXT])


def read(data):
    """Pixels and metadata of a PNG file."""
    found = images.decode(data, "It", keeps=images.Keeps(alpha=True, metadata=True))
    return found.pixels, found.metadata


@pytest.fixture(scope="module")
def dressed(make_pixels, toy_codec):
    """A file with alpha, metadata and a map of qualities."""
    xmp = tfclic.Metadata(xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")
    return toy_codec.compress(make_pixels(50, 40, 4), np.array([[20, 90]]), metadata=xmp)


def test_images_of_a_scale(call, png, dressed, toy_codec):
    plain = toy_codec.compress(png[0])
    gray = toy_codec.compress(png[0][..., 0])
    files, scales = [plain, dressed, plain, gray], [1 / 8, 1 / 4, 1, 1 / 16]
    found = call("decompress", files=files, scales=np.float32(scales))
    assert found["statuses"] == [b"OK"] * 4
    for data, scale, made in zip(files, scales, found["images_bytes"]):
        pixels, metadata = read(made)
        assert np.array_equal(pixels, toy_codec.decompress(data, scale=scale))
        assert metadata.xmp == tfclic.metadata_of(data).xmp


def test_scales_and_files_that_are_none_get_their_sentence(call, png, toy_codec):
    file = toy_codec.compress(png[0])
    given = [file, b"junk", file[:-1], b"", file]
    scales = np.float32([1 / 3, 1 / 8, 1 / 8, 1 / 8, np.nan])
    found = call("decompress", files=given, scales=scales)
    assert found["statuses"][0].startswith(b"The scale has to be one of 1, 1/2, 1/4")
    assert found["statuses"][1:3] == [header.SENTENCES[i].encode() for i in (1, 3)]
    assert b"not nan" in found["statuses"][4]
    assert not any(found["images_bytes"])


def test_pixels_of_whole_images_are_counted_at_any_scale(call, make_pixels, toy_codec):
    for channels in (3, 4):
        large = toy_codec.compress(make_pixels(51, 50, channels))
        assert (picture.parse(large).image == large) == (channels == 3)
        with pytest.raises(grpc.RpcError, match="more pixels"):
            call("decompress", files=[large], scales=np.float32([1 / 8]))


@pytest.fixture(scope="module")
def tiled(sliced_toy, make_pixels):
    """A codec with slices, and a file of it with tiles; they are of 64x20 pixels."""
    codec = runtime.load(sliced_toy)
    return codec, codec.compress(make_pixels(20, 120), tile=64)


def test_beginnings_are_as_at_the_command_line(call, tiled):
    codec, whole = tiled
    first = whole[: -header.parse(whole).lengths[-1] // 2]
    pixels, received = codec.decompress_beginning(first)
    assert 0 < received.share < 1 and received.tiles == 1
    found = call(
        "decompress", model="sliced", files=[first, whole, first, whole],
        beginnings=np.array([True, True, False, False]),
    )  # fmt: skip
    truncated = header.SENTENCES[header.TRUNCATED].encode()
    assert found["statuses"] == [b"OK", b"OK", truncated, b"OK"]
    assert found["shares"] == pytest.approx([received.share, 1, 0, 1])
    made = [read(png)[0] for png in found["images_bytes"] if png]
    assert np.array_equal(made[0], pixels)
    assert np.array_equal(made[1], codec.decompress(whole)) and np.array_equal(made[1], made[2])
    assert np.array_equal(made[0][:, :40], made[1][:, :40])
    assert not np.array_equal(made[0], made[1])


def test_beginnings_of_nothing_get_their_sentence(call, tiled, toy_codec, png):
    _, whole = tiled
    length = header.varint(extras.MOST_CLAIMED + 1)
    long = whole[:4] + length + whole[header.read_varint(whole, 4)[1] :] + bytes(1 << 20)
    files = [b"junk", whole[:9], long[: 1 << 19], whole[:-9]]
    scales = np.float32([1, 1, 1, 1 / 8])
    given = {"files": files, "scales": scales, "beginnings": np.ones(4, bool)}
    found = call("decompress", model="sliced", **given)
    assert found["statuses"][0] == header.SENTENCES[header.NOT_TFCLIC].encode()
    assert found["statuses"][1] == header.SENTENCES[header.TRUNCATED].encode()
    assert b"would have more than 134,217,728 bytes" in found["statuses"][2]
    assert b"at scale 1 only" in found["statuses"][3]
    assert not any(found["images_bytes"]) and found["shares"] == [0] * 4
    # not one tile is there, or the only one is not
    one = tiled[0].compress(np.zeros([9, 9, 3], np.uint8))
    given = {"files": [one[:-9], whole[:99]], "beginnings": np.ones(2, bool)}
    found = call("decompress", model="sliced", **given)
    assert [b"Not a slice of it is there" in status for status in found["statuses"]] == [True] * 2
    # a model without slices
    given = {"files": [toy_codec.compress(png[0])[:-9]], "beginnings": np.ones(1, bool)}
    assert b"does not read slices" in call("decompress", **given)["statuses"][0]


def test_shares_are_an_output_where_beginnings_are_asked_for(call, tiled):
    given = {"files": [tiled[1]], "model": "sliced"}
    found = call("decompress", ["shares"], beginnings=np.ones(1, bool), **given)
    assert found == {"shares": [1]}
    with pytest.raises(grpc.RpcError, match="no output 'shares'"):
        call("decompress", ["shares"], scales=np.float32([1 / 8]), **given)


@pytest.mark.parametrize("ui", [False, True])
def test_with_the_page_models_are_ready_for_it(serving, sliced_toy, monkeypatch, ui):
    told = []
    call = session.Session.call

    def noted(self, function, *arguments):
        told.append(function)
        return call(self, function, *arguments)

    monkeypatch.setattr(session.Session, "call", noted)
    with serving(sliced_toy.parents[1], ui=ui):
        wanted = {
            interface.QUANTISE_BY_MAP,
            interface.SYNTHESISE_BY_MAP,
            interface.READ,
            interface.READ_PARTS,
        }
        assert wanted.issubset(told) if ui else not told


def test_a_model_that_cannot_be_made_ready_is_served(serving, toy_model, monkeypatch):
    def fail(*arguments, **named):
        raise c_api.SessionError(13, "no")

    monkeypatch.setattr(runtime.Codec, "compress", fail)
    with serving(toy_model.parents[1], ui=True) as started:
        request = predict_request("toy", "info", {"files": [b"junk"]})
        assert started.prediction.Predict(request).outputs["width"].dtype
