"""Files and images with alpha and metadata, at the server: nothing of them is lost."""

import base64
import io
import json
import urllib.request

import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfclic
from tfclic import images
from tfclic.format import alpha, header, picture
from tfclic.serving.client import predict_request

XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"


def exif():
    made = Image.Exif()
    made[0x010F] = "Maker"
    return made.tobytes()[len(b"Exif\0\0") :]


METADATA = tfclic.Metadata(exif=exif(), xmp=XMP)


@pytest.fixture(scope="module")
def transparent(make_pixels):
    """Pixels, uint8 [30, 40, 4], of which some are clear, and then black."""
    pixels = make_pixels(30, 40, 4)
    pixels[:9, :, 3] = 0
    pixels[9:20, :, 3] = 255
    return pixels


@pytest.fixture(scope="module")
def dressed(toy_codec, transparent):
    """Their file with alpha and metadata."""
    return toy_codec.compress(transparent, 100, metadata=METADATA)


@pytest.fixture
def call(toy_server):
    """Function that calls a signature by gRPC; gives a dict of lists."""

    def call(signature, only=(), **inputs):
        request = predict_request("toy", signature, inputs)
        request.output_filter.extend(only)
        outputs = toy_server.prediction.Predict(request).outputs
        return {name: tf.make_ndarray(each).tolist() for name, each in outputs.items()}

    return call


def test_a_file_becomes_the_picture_with_all_that_it_has(call, dressed, toy_codec, pictures):
    plain = toy_codec.compress(pictures[0], 100)
    found = call("decompress", files=[plain, dressed, b"junk", plain])
    assert found["statuses"][:2] == [b"OK", b"OK"]
    assert found["statuses"][2:] == [b"It is not a tfclic file.", b"OK"]
    png = Image.open(io.BytesIO(found["images_bytes"][1]))
    assert np.array_equal(np.array(png), toy_codec.decompress(dressed))
    assert png.mode == "RGBA" and png.getexif()[0x010F] == "Maker"
    kept = images.decode(found["images_bytes"][1], "", keeps=images.Keeps(True, True)).metadata
    assert kept == METADATA
    assert found["images_bytes"][0] == found["images_bytes"][3]
    assert not found["images_bytes"][2]


def test_transparent_images_may_be_as_large_as_the_server_takes(
    call, transparent, toy_codec, monkeypatch
):
    png = images.encode(transparent, "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    usual = header.DEFAULT_MAX_PIXELS
    smaller = tuple(599 if each == usual else each for each in images.decode.__defaults__)
    monkeypatch.setattr(images.decode, "__defaults__", smaller)
    found = call("compress", images=[png], qualities=np.array([100], np.float32))
    assert found["statuses"] == [b"OK"]
    (data,) = found["files_bytes"]
    found = call("decompress", files=[data])
    assert found["statuses"] == [b"OK"]
    monkeypatch.undo()
    decoded = np.array(Image.open(io.BytesIO(found["images_bytes"][0])))
    assert np.array_equal(decoded, toy_codec.decompress(data)) and decoded.shape == (30, 40, 4)


def test_rest_answers_alike(toy_server, dressed, toy_codec):
    body = {"inputs": [{"b64": base64.b64encode(dressed).decode()}]}
    url = f"{toy_server.url}/v1/models/toy:predict"
    request = json.dumps({"signature_name": "decompress", **body}).encode()
    with urllib.request.urlopen(url, request) as answer:
        outputs = json.load(answer)["outputs"]
    png = base64.b64decode(outputs["images_bytes"][0]["b64"])
    assert np.array_equal(np.array(Image.open(io.BytesIO(png))), toy_codec.decompress(dressed))


def test_what_is_asked_for_alone_is_given(call, dressed):
    assert list(call("decompress", ["images_bytes"], files=[dressed])) == ["images_bytes"]
    assert call("info", ["width"], files=[dressed]) == {"width": [40]}
    with pytest.raises(grpc.RpcError, match="depth"):
        call("info", ["depth"], files=[dressed])


def test_info_and_map_are_of_the_image(call, dressed):
    image = picture.parse(dressed).image
    for signature in ("info", "heat_map"):
        assert call(signature, files=[dressed]) == call(signature, files=[image])


def test_files_whose_quality_differs_are_decoded(call, dressed, toy_codec, transparent):
    with_map = toy_codec.compress(transparent, np.array([[20, 90]]), metadata=METADATA)
    gray = toy_codec.compress(transparent[..., 0], np.array([[20, 90]]), tile=64)
    whole = picture.parse(with_map)
    foreign = bytearray(whole.image)
    foreign[7] ^= 1
    forged = whole._replace(quality_map=b"\1\0\0" + whole.quality_map[3:-1])
    files = [with_map, dressed, picture.pack(whole._replace(image=bytes(foreign)))]
    found = call("decompress", files=[*files, picture.pack(forged), gray])
    corrupted = header.SENTENCES[header.CORRUPTED].encode()
    assert found["statuses"] == [b"OK", b"OK", corrupted, corrupted, b"OK"]
    pngs = found["images_bytes"]
    assert pngs[1] and not pngs[2] and not pngs[3]
    for number, data in ((0, with_map), (4, gray)):
        pixels = np.array(Image.open(io.BytesIO(pngs[number])))
        assert np.array_equal(pixels, toy_codec.decompress(data))
    assert Image.open(io.BytesIO(pngs[0])).getexif()[0x010F] == "Maker"
    for signature in ("info", "heat_map"):
        assert call(signature, files=[with_map]) == call(signature, files=[whole.image])


def test_many_pixels_with_a_map_are_refused(call, toy_codec):
    whole = picture.parse(toy_codec.compress(np.zeros([64, 64, 3], np.uint8), np.array([[20, 90]])))
    width, height = (header.varint(side) for side in (40_000, 40_000))
    start = header.read_varint(whole.image, 4)[1]
    body = whole.image[: start + 6] + width + height + whole.image[start + 8 :]
    with pytest.raises(grpc.RpcError, match="more pixels"):
        call("decompress", files=[picture.pack(whole._replace(image=body))])


def test_a_damaged_one_gets_its_sentence_and_no_other(call, dressed, toy_codec, transparent):
    whole = picture.parse(dressed)
    of_others = picture.pack(whole._replace(alpha=alpha.encode(transparent[:9, :, 0])))
    found = call("decompress", files=[dressed[:-1], dressed[:-1] + b"?", of_others, dressed])
    truncated, corrupted = (header.SENTENCES[i].encode() for i in (3, 4))
    assert found["statuses"] == [truncated, corrupted, corrupted, b"OK"]
    assert not any(found["images_bytes"][:3]) and found["images_bytes"][3]
    found = call("info", files=[dressed[:-1], dressed])
    assert found["statuses"] == [truncated, b"OK"] and found["width"] == [0, 40]


def test_a_transparent_image_becomes_a_file_with_its_alpha(call, transparent, toy_codec, pngs):
    for pixels in (transparent, np.ascontiguousarray(transparent[..., 2:])):
        given = [images.encode(pixels, "x.png"), pngs[1]]
        found = call("compress", images=given, qualities=np.array([100, 100], np.float32))
        assert found["statuses"] == [b"OK", b"OK"]
        assert found["files_bytes"][0] == toy_codec.compress(pixels, 100)
        assert header.parse(found["files_bytes"][1])


def test_a_transparent_colour_is_alpha_and_opaque_alpha_is_none(call, make_pixels):
    image = Image.fromarray(make_pixels(20, 30)).quantize(8)
    palette, opaque = io.BytesIO(), io.BytesIO()
    image.save(palette, "PNG", transparency=3)
    image.convert("RGBA").save(opaque, "PNG")
    given = [palette.getvalue(), opaque.getvalue(), palette.getvalue()[:120]]
    found = call("compress", images=given, qualities=np.full([3], 100, np.float32))
    first, second, _ = map(picture.parse, found["files_bytes"])
    plane = alpha.decode(first.alpha, 20, 30)
    assert np.array_equal(plane == 0, np.array(image) == 3)
    assert second.alpha == b"" and found["statuses"][1] == b"OK"
    assert b"damaged" in found["statuses"][2]


def test_pixels_inside_are_counted(call, toy_codec, make_pixels):
    large = make_pixels(60, 50, 4)
    for signature, inputs in (
        ("decompress", {"files": [toy_codec.compress(large)]}),
        ("compress", {"images": [images.encode(large, "x.png")], "qualities": np.ones(1)}),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call(signature, **inputs)
        assert "more pixels than the 2,500" in caught.value.details()
