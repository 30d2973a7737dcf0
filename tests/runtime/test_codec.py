"""The Python interface, over the toy model."""

import dataclasses
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import tfclic
from tfclic import errors, images, runtime
from tfclic.format import interface, picture, vp8l

ROOT = pathlib.Path(__file__).parents[2]


def test_the_package_and_the_programs_start_without_tensorflow():
    program = (
        "import sys, tfclic, tfclic.runtime, tfclic.images, tfclic.cli.compress, "
        "tfclic.cli.decompress, tfclic.cli.evaluate; assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_a_model_runs_without_the_python_package_of_tfc_which_can_be_imported_later(toy_model):
    program = (
        "import sys, numpy, tfclic; codec = tfclic.load(sys.argv[1]); "
        "codec.compress(numpy.zeros([2, 2, 3], 'uint8')); "
        "assert 'tensorflow_compression' not in sys.modules; "
        "import tensorflow_compression as tfc; tfc.NoisyNormal"
    )
    subprocess.run([sys.executable, "-c", program, str(toy_model)], check=True, cwd=ROOT)


def test_what_tensorflow_brings_along_is_not_taken_for_what_python_needs():
    program = (
        "from tfclic.runtime import c_api; c_api.has_compression(); "
        "import ssl; ssl.create_default_context()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_three_lines(toy_folder, make_pixels):
    codec = tfclic.load("toy")
    pixels = make_pixels(20, 30)
    assert np.array_equal(codec.decompress(codec.compress(pixels, quality=100)), pixels)


@pytest.mark.parametrize("mode", ["P", "L", "1", "RGBA", "CMYK", "I;16"])
def test_pillow_images_are_taken_by_their_colours(toy_codec, mode, make_pixels):
    image = Image.fromarray(make_pixels(20, 30))
    image = image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode)
    found = toy_codec.decompress(toy_codec.compress(image, 100))
    np.testing.assert_array_equal(found, images.pixels_of(image))


@pytest.mark.parametrize(
    "region", [(0, 0, 5), (0.5, 0, 5, 5), "0,0,5,5", (0, 0, 5, None), (0, 0, 5, 41), (-1, 0, 5, 5)]
)
def test_regions_that_are_none_are_told(toy_codec, region, make_pixels):
    data = toy_codec.compress(make_pixels(20, 30))
    with pytest.raises(errors.UsageError, match="egion"):
        toy_codec.decompress(data, region)


def test_regions_may_be_arrays(toy_codec, make_pixels):
    data = toy_codec.compress(make_pixels(20, 30))
    found = toy_codec.decompress(data, np.array([3, 4, 5, 6]))
    np.testing.assert_array_equal(found, toy_codec.decompress(data)[4:10, 3:8])


@pytest.mark.parametrize("data", ["a.tfclic", pathlib.Path("a.tfclic"), 5, None])
def test_what_is_no_bytes_is_not_taken_for_any(toy_codec, data):
    for function in (toy_codec.decompress, toy_codec.info, tfclic.metadata_of):
        with pytest.raises(TypeError):
            function(data)


def test_bytes_of_any_kind_are_taken(toy_codec, make_pixels):
    data = toy_codec.compress(make_pixels(20, 30))
    for kind in (bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8)):
        np.testing.assert_array_equal(toy_codec.decompress(kind(data)), toy_codec.decompress(data))


def test_metadata_of_what_is_no_file_are_refused():
    with pytest.raises(errors.FileFormatError):
        tfclic.metadata_of(b"abc")


def test_slices_without_what_reads_them_are_told(toy_codec, make_pixels):
    data = toy_codec.compress(make_pixels(20, 30))
    with pytest.raises(errors.ModelError, match="does not read slices"):
        toy_codec.decompress(data, slices=1)
    found, functions = toy_codec.model, {**toy_codec.model.card.functions}
    functions.pop(interface.READ_PARTS.name, None)
    card = dataclasses.replace(found.card, slices=3, functions=functions)
    sliced = dataclasses.replace(found, card=card)
    with pytest.raises(errors.ModelError, match="with the range coder, which needs"):
        runtime.Codec(sliced).decompress(data, slices=1)


def test_pickled_it_is_loaded_again(toy_codec, make_pixels):
    pixels = make_pixels(20, 30)
    other = pickle.loads(pickle.dumps(toy_codec))
    assert (other.model, other.coder) == (toy_codec.model, toy_codec.coder)
    assert other.compress(pixels) == toy_codec.compress(pixels)


@pytest.mark.parametrize("height, width", [(1, 1), (1, 7), (5, 1), (20, 31)])
def test_grayscale_comes_back_as_grayscale(toy_codec, height, width, make_pixels):
    pixels = make_pixels(height, width, 1)
    for image in (pixels, pixels[..., 0]):
        assert np.array_equal(toy_codec.decompress(toy_codec.compress(image)), pixels[..., 0])


def test_quality_reaches_the_model(toy_codec, make_pixels):
    pixels = make_pixels(40, 40)
    assert len(toy_codec.compress(pixels, 0)) < len(toy_codec.compress(pixels, 100))


def test_info_tells_what_the_header_says(toy_codec, make_pixels):
    data = toy_codec.compress(make_pixels(20, 30, 1), quality=25)
    info = toy_codec.info(data)
    assert info["quality"] == pytest.approx(25, abs=1e-3)
    del info["quality"]
    assert info.pop("tiles") == 1
    assert (info.pop("tile_width"), info.pop("tile_height")) == (64, 64)
    assert info == {
        "fingerprint": toy_codec.model.fingerprint,
        "width": 30,
        "height": 20,
        "grayscale": True,
        "coder": "range",
        "file_bytes": len(data),
        "alpha_bytes": 0,
        "map_bytes": 0,
        "metadata_bytes": 0,
        "payload_bytes": len(data) - 18,
    }


@pytest.mark.parametrize(
    "image, sentence",
    [
        (np.zeros([4, 4, 3], np.float32), "uint8, not of float32"),
        (np.zeros([4, 4, 5], np.uint8), r"not \[4, 4, 5\]"),
        (np.zeros([4], np.uint8), r"not \[4\]"),
        (np.zeros([0, 4, 3], np.uint8), "no pixels"),
    ],
)
def test_arrays_that_are_no_images_are_refused(toy_codec, image, sentence):
    with pytest.raises(errors.ImageError, match=sentence):
        toy_codec.compress(image)


def test_an_image_larger_than_the_format_is_refused(toy_codec):
    with pytest.raises(errors.ImageError, match="too large for a tfclic file"):
        toy_codec.compress(np.zeros([1, 2**21], np.uint8), tile=4096)


@pytest.mark.parametrize("quality", [-1, 100.5, float("nan")])
def test_qualities_out_of_range_are_refused(toy_codec, quality, make_pixels):
    with pytest.raises(errors.UsageError, match="0 to 100"):
        toy_codec.compress(make_pixels(4, 4), quality)


def test_every_damage_of_a_file_is_refused(toy_codec, make_pixels):
    data = toy_codec.compress(make_pixels(2, 3))
    damaged = [data[:length] for length in range(len(data))] + [data + b"\0"]
    for position, byte in enumerate(data):
        for pattern in (0x01, 0x80, 0xFF):
            damaged.append(data[:position] + bytes([byte ^ pattern]) + data[position + 1 :])
    for each in damaged:
        with pytest.raises(errors.FileFormatError):
            toy_codec.decompress(each)


def test_a_file_of_another_model_is_refused(toy_codec, tmp_path, export_toy, make_pixels):
    other = runtime.load(export_toy(tmp_path, fingerprint="deadbeef"))
    data = other.compress(make_pixels(4, 4))
    with pytest.raises(errors.ModelError, match="fingerprint deadbeef; this is toy/1"):
        toy_codec.decompress(data)
    # And by the exported graph itself.
    with pytest.raises(
        errors.FileFormatError, match="another model, whose fingerprint is deadbeef"
    ):
        toy_codec._graphs.call(errors.FileFormatError, interface.OPEN, data)


def test_a_sound_file_with_a_senseless_payload_is_refused(toy_codec):
    from tfclic.export import container

    identity = bytes.fromhex(toy_codec.model.fingerprint)
    data = container.pack(identity, 4096, 1000, 0, False, b"not a PNG file").numpy()
    with pytest.raises(errors.FileFormatError, match="refuses this file"):
        toy_codec.decompress(data)


def test_a_damaged_saved_model_is_refused(tmp_path, export_toy):
    path = export_toy(tmp_path)
    (path / "saved_model.pb").write_bytes(b"not a SavedModel")
    with pytest.raises(errors.ModelError, match="cannot be loaded"):
        runtime.load(path)


def test_a_function_that_was_not_exported_is_told(toy_codec):
    with pytest.raises(errors.ModelError, match="has no function fly"):
        toy_codec._graphs.call(
            errors.ImageError, dataclasses.replace(interface.OPEN, name="fly"), b""
        )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("height, width", [(65, 64), (130, 200), (1, 300)])
def test_tiles_come_back_as_one_image(toy_codec, make_pixels, height, width, channels):
    pixels = make_pixels(height, width, channels)
    data = toy_codec.compress(pixels, quality=100, tile=64)
    assert toy_codec.info(data)["tiles"] == -(-height // 64) * -(-width // 64)
    decoded = toy_codec.decompress(data)
    assert np.array_equal(decoded.reshape(pixels.shape), pixels)
    whole = toy_codec.decode_latents(toy_codec.compress(pixels, quality=100))
    assert np.array_equal(toy_codec.decode_latents(data), whole)


def test_images_are_cut_into_equal_parts(toy_codec, make_pixels):
    info = toy_codec.info(toy_codec.compress(make_pixels(64, 260), tile=256))
    assert (info["tiles"], info["tile_width"], info["tile_height"]) == (2, 192, 64)


def test_a_region_is_that_part_of_the_image(toy_codec, make_pixels):
    pixels = make_pixels(300, 200)
    data = toy_codec.compress(pixels, quality=100, tile=64)
    for x, y, width, height in [
        (0, 0, 200, 300),
        (199, 299, 1, 1),
        (60, 100, 70, 5),
        (64, 64, 64, 64),
    ]:
        decoded = toy_codec.decompress(data, region=(x, y, width, height))
        assert np.array_equal(decoded, pixels[y : y + height, x : x + width])


def test_a_region_decodes_the_tiles_around_it_alone(toy_codec, make_pixels):
    data = toy_codec.compress(make_pixels(64, 768), quality=100, tile=192)
    for x, tiles_read, pieces in ((270, 1, 1), (200, 2, 1), (380, 2, 2)):
        told, region = [], (x, 0, 10, 10)
        toy_codec.decompress(data, region, progress=lambda *steps: told.append(steps))  # noqa: B023
        total = tiles_read + pieces
        assert told == [(step, total) for step in range(1, total + 1)]


def test_more_pixels_than_are_allowed_are_not_decoded(toy_codec, make_pixels):
    data = toy_codec.compress(make_pixels(30, 40))
    sentence = "It has 40x30 pixels, more than 1,199 in all; --max-pixels allows more."
    told = []
    with pytest.raises(errors.FileFormatError) as caught:
        toy_codec.decompress(data, progress=lambda *steps: told.append(steps), max_pixels=1199)
    assert str(caught.value) == sentence and told == []
    assert toy_codec.decompress(data, max_pixels=1200).shape == (30, 40, 3)
    assert toy_codec.decompress(data, max_pixels=None).shape == (30, 40, 3)
    # of a larger image a part may be had
    assert toy_codec.decompress(data, (0, 0, 20, 30), max_pixels=600).shape == (30, 20, 3)
    with pytest.raises(errors.FileFormatError, match="20x30 pixels, more than 599"):
        toy_codec.decompress(data, (0, 0, 20, 30), max_pixels=599)


@pytest.mark.parametrize(
    "region", [(0, 0, 41, 30), (-1, 0, 5, 5), (0, 0, 0, 5), (40, 0, 1, 1), (0, 29, 1, 2)]
)
def test_a_region_outside_of_the_image_is_refused(toy_codec, make_pixels, region):
    with pytest.raises(errors.UsageError, match="not inside of the image, 40x30"):
        toy_codec.decompress(toy_codec.compress(make_pixels(30, 40)), region=region)


@pytest.mark.parametrize("tile", [0, 63, 100, 8192])
def test_tiles_of_impossible_sizes_are_refused(toy_codec, make_pixels, tile):
    with pytest.raises(errors.UsageError, match="multiple of 64 from 64 to 4096"):
        toy_codec.compress(make_pixels(4, 4), tile=tile)


def test_progress_is_told_for_each_tile(toy_codec, make_pixels):
    told = []
    toy_codec.compress(make_pixels(64, 150), tile=64, progress=lambda *steps: told.append(steps))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_damaged_tile_is_refused(toy_codec, make_pixels):
    from tfclic.export import container

    data = toy_codec.compress(make_pixels(64, 128), tile=64)
    header = container.parse(data)
    payload = header.payload.numpy()[:-40] + 40 * b"\0"
    tiles = header.tile_height, header.tile_width, header.lengths
    forged = container.pack(header.fingerprint, 128, 64, 0, False, payload, tiles).numpy()
    with pytest.raises(errors.FileFormatError, match="refuses this file"):
        toy_codec.decompress(forged)


METADATA = tfclic.Metadata(icc_profile=b"p" * 300, exif=b"II*\0 some", xmp=bytes(range(200)))


def test_metadata_lie_beside_the_image(toy_codec, make_pixels):
    pixels = make_pixels(20, 30)
    plain, data = toy_codec.compress(pixels), toy_codec.compress(pixels, metadata=METADATA)
    assert tfclic.metadata_of(data) == METADATA
    assert tfclic.metadata_of(plain) == tfclic.Metadata()
    assert np.array_equal(toy_codec.decompress(data), pixels)
    assert np.array_equal(toy_codec.decompress(data, (3, 4, 5, 6)), pixels[4:10, 3:8])
    assert np.array_equal(toy_codec.decode_latents(data), toy_codec.decode_latents(plain))
    info, known = toy_codec.info(data), toy_codec.info(plain)
    assert info["metadata_bytes"] == len(data) - len(plain)
    assert {**info, "metadata_bytes": 0, "file_bytes": len(plain)} == known
    assert toy_codec.statistics(data).lengths == toy_codec.statistics(plain).lengths


def test_a_size_that_is_asked_for_is_that_of_all(toy_codec, make_pixels):
    pixels = make_pixels(40, 40)
    image = len(toy_codec.compress(pixels, 0))
    data = toy_codec.compress(pixels, 0, metadata=METADATA)
    for wanted in (image + 5, len(data) - 1):
        with pytest.raises(errors.UsageError, match=f"the nearest is {len(data):,} bytes"):
            toy_codec.compress(pixels, file_bytes=wanted, metadata=METADATA)
    assert toy_codec.compress(pixels, file_bytes=len(data) + 5, metadata=METADATA) == data


def test_damage_beside_the_image_is_refused(toy_codec, make_pixels):
    data = toy_codec.compress(make_pixels(20, 30), metadata=METADATA)
    for place in range(0, len(data), 9):
        with pytest.raises(errors.FileFormatError):
            toy_codec.decompress(data[:place] + bytes([data[place] ^ 64]) + data[place + 1 :])


@pytest.mark.parametrize("channels", [2, 4])
def test_transparent_arrays_keep_their_alpha(toy_codec, make_pixels, channels):
    pixels = make_pixels(70, 30, channels).clip(1, 255)
    data = toy_codec.compress(pixels, 10, tile=64)
    decoded = toy_codec.decompress(data)
    assert decoded.shape == (70, 30, channels)
    assert np.array_equal(decoded[..., -1], pixels[..., -1])
    opaque = toy_codec.compress(pixels[..., :-1], 10, tile=64)
    assert np.array_equal(decoded[..., :-1].squeeze(), toy_codec.decompress(opaque))
    assert np.array_equal(toy_codec.decompress(data, (3, 50, 6, 18)), decoded[50:68, 3:9])
    info = toy_codec.info(data)
    assert len(opaque) < len(opaque) + info["alpha_bytes"] < info["file_bytes"] == len(data)


def test_opaque_alpha_costs_nothing(toy_codec, make_pixels):
    pixels = make_pixels(20, 30, 4)
    pixels[..., 3] = 255
    assert toy_codec.compress(pixels) == toy_codec.compress(pixels[..., :3])


def test_alpha_of_another_size_is_refused(toy_codec, make_pixels, monkeypatch):
    # a bitstream of WebP does not tell where it ends
    monkeypatch.setattr(vp8l, "is_there", lambda: False)
    image = toy_codec.compress(make_pixels(20, 30))
    plane = picture.parse(toy_codec.compress(make_pixels(20, 31, 4))).alpha
    with pytest.raises(errors.FileFormatError, match="corrupted"):
        toy_codec.decompress(picture.pack(picture.Picture(image, alpha=plane)))


def test_transparent_arrays_are_not_evaluated(toy_codec, make_pixels):
    with pytest.raises(errors.ImageError, match="Only opaque"):
        toy_codec.evaluate(make_pixels(20, 30, 4))
