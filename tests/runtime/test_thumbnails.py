"""Thumbnails of latents, over a toy model that makes them exactly: its latents are pixels."""

import json
import shutil

import numpy as np
import pytest

from tfclic import errors, runtime
from tfclic.format import model
from tfclic.format.latents import STRIDE
from tfclic.runtime import catalog, checksums, thumbnails, tiles
from tfclic.runtime.thumbnails import Map


def exact_map(by):
    """The map of the toy's latents, which are blocks of pixels, to their means."""
    side, channels = STRIDE // by, 3 * STRIDE**2
    kernel = np.zeros([STRIDE, STRIDE, 3, side, side, 3], np.float32)
    for row in range(STRIDE):
        for column in range(STRIDE):
            for colour in range(3):
                kernel[row, column, colour, row // by, column // by, colour] = 1 / by**2
    return Map(
        channels=np.arange(channels, dtype=np.int32),
        logarithms=np.zeros([1, channels], np.float32),
        kernel=kernel.reshape(1, 1, channels, -1),
        bias=np.zeros(3 * side**2, np.float32),
    )


def taught(toy_model, folder, maps):
    """The toy with maps, a copy in `folder`; its path."""
    path = folder / "toy" / "1"
    shutil.copytree(toy_model, path)
    (path / model.THUMBNAILS).write_bytes(thumbnails.packed(maps))
    return path


@pytest.fixture(scope="module")
def codec(toy_model, tmp_path_factory):
    """The toy, which makes thumbnails of 1/4 and 1/8."""
    folder = tmp_path_factory.mktemp("taught")
    return runtime.load(taught(toy_model, folder, {by: exact_map(by) for by in (4, 8)}))


@pytest.fixture
def shortcuts(monkeypatch):
    """A list that tells, for each thumbnail of latents, by what it divided sides."""
    made, original = [], tiles.decode_reduced

    def spy(call, data, mapped, *arguments):
        made.append(STRIDE // mapped.side)
        return original(call, data, mapped, *arguments)

    monkeypatch.setattr(tiles, "decode_reduced", spy)
    return made


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("tile", [64, 1024])
def test_a_thumbnail_has_the_means_of_pixels(codec, make_pixels, shortcuts, channels, tile):
    pixels = make_pixels(96, 160, channels)
    data = codec.compress(pixels, 100, tile=tile)
    whole = codec.decompress(data)
    for by in thumbnails.REDUCTIONS:
        found = codec.decompress(data, scale=1 / by)
        wanted = thumbnails.reduced(whole, by)
        assert found.shape == wanted.shape == (96 // by, 160 // by, *whole.shape[2:])
        # means are rounded, and of grayscale once more
        assert np.abs(found.astype(int) - wanted).max() <= 1
    # the others there is no map for
    assert shortcuts == [4, 8]


def test_sides_are_rounded_up(codec, toy_codec, make_pixels):
    data = codec.compress(make_pixels(33, 57), 100)
    assert codec.decompress(data, scale=1 / 8).shape == (5, 8, 3)
    assert toy_codec.decompress(data, scale=1 / 8).shape == (5, 8, 3)
    tiny = codec.compress(make_pixels(1, 1, 1))
    assert codec.decompress(tiny, scale=1 / 8).shape == (1, 1)


def test_a_model_without_maps_decodes_all_and_reduces(toy_codec, make_pixels, shortcuts):
    pixels = make_pixels(30, 40)
    found = toy_codec.decompress(toy_codec.compress(pixels, 100), scale=1 / 8)
    blocks = np.pad(pixels, [(0, 2), (0, 0), (0, 0)], "edge")[:24].reshape(3, 8, 5, 8, 3)
    assert np.abs(found[:3] - blocks.mean((1, 3))).max() <= 1
    assert not shortcuts


@pytest.mark.parametrize(
    "region, is_short",
    [((64, 32, 96, 40), True), ((8, 200, 17, 9), True), ((9, 200, 16, 8), False)],
)
def test_a_region_is_reduced_from_its_corner(codec, make_pixels, shortcuts, region, is_short):
    data = codec.compress(make_pixels(256, 192), 100, tile=64)
    x, y, width, height = region
    found = codec.decompress(data, region, scale=1 / 8)
    whole = codec.decompress(data)[y : y + height, x : x + width]
    wanted = thumbnails.reduced(whole, 8)
    assert found.shape == wanted.shape
    inside = np.abs(found.astype(int) - wanted)[: height // 8, : width // 8]
    assert inside.max() <= 1 and bool(shortcuts) == is_short


def test_only_tiles_around_a_region_are_read(codec, make_pixels, monkeypatch):
    data = codec.compress(make_pixels(256, 256), 100, tile=64)
    read, original = [], tiles.read_tile

    def reading(call, data, opened, tile):
        read.append(int(tile))
        return original(call, data, opened, tile)

    monkeypatch.setattr(tiles, "read_tile", reading)
    codec.decompress(data, (0, 0, 40, 40), scale=1 / 8)
    assert read == [0]
    codec.decompress(data, (64, 64, 8, 8), scale=1 / 8)
    assert sorted(read[1:]) == [0, 1, 4, 5]


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_reduced_as_well(codec, make_pixels, shortcuts, channels):
    pixels = make_pixels(32, 64, channels)
    pixels[..., -1] = np.where(np.arange(64) < 20, 0, 255)
    data = codec.compress(pixels, 100)
    found = codec.decompress(data, scale=1 / 8)
    assert found.shape == (4, 8, channels) and shortcuts == [8]
    assert found[0, :, -1].tolist() == [0, 0, 128, 255, 255, 255, 255, 255]
    opaque = pixels[:, 24:, :-1].reshape(4, 8, 5, 8, channels - 1).mean((1, 3))
    assert np.abs(found[:, 3:, :-1] - opaque).max() <= 1


@pytest.mark.parametrize("scale", [0, 1 / 3, 2, -1 / 8, 1 / 32, float("nan")])
def test_other_scales_are_refused(codec, make_pixels, scale):
    with pytest.raises(errors.UsageError, match="one of 1, 1/2, 1/4, 1/8, 1/16, not"):
        codec.decompress(codec.compress(make_pixels(4, 4)), scale=scale)


def test_gains_are_between_those_of_two_levels():
    logarithms = np.log([[1.0, 4.0], [2.0, 1.0], [8.0, 1.0]]).astype(np.float32)
    found = exact_map(8)._replace(logarithms=logarithms)
    known = {0: [1, 4], 25: [2**0.5, 2], 50: [2, 1], 75: [4, 1], 100: [8, 1]}
    for quality, gains in known.items():
        np.testing.assert_allclose(found.gains(quality), gains, rtol=1e-6)
    several = found.gains(np.reshape([*known, 50], [2, 3]))
    np.testing.assert_allclose(several.reshape(6, 2), [*known.values(), known[50]], rtol=1e-6)
    alone = exact_map(8)._replace(logarithms=logarithms[:1])
    np.testing.assert_allclose(alone.gains(70), [1, 4], rtol=1e-6)


def test_a_kernel_sees_neighbours_and_what_is_at_the_edge():
    latents = np.arange(6, dtype=np.int16).reshape(2, 3, 1)
    kernel = np.zeros([3, 3, 1, 3], np.float32)
    kernel[1, 2], kernel[0, 1] = 1, 10  # the right one, and the one above
    logarithms = np.zeros([1, 1], np.float32)
    found = Map(np.array([0], np.int32), logarithms, kernel, np.ones(3, np.float32))
    wanted = np.array([[2, 13, 23], [5, 16, 26]])
    np.testing.assert_array_equal(found.image(latents, 50)[..., 0], wanted)
    np.testing.assert_array_equal(found.columns(latents, 50)[0, 0], [0, 0, 1, 0, 0, 1, 3, 3, 4])


def test_images_are_made_in_bands_of_rows(make_pixels):
    rng = np.random.default_rng(0)
    latents = rng.integers(-9, 9, [150, 2, 3]).astype(np.int16)
    kernel = rng.normal(0, 1, [3, 3, 3, 3]).astype(np.float32)
    logarithms, bias = np.zeros([1, 3], np.float32), np.full(3, 128, np.float32)
    found = Map(np.arange(3), logarithms, kernel, bias)
    wanted = found.columns(latents, 0) @ kernel.reshape(-1, 3) + bias
    np.testing.assert_allclose(found.image(latents, 0), np.clip(wanted, 0, 255), rtol=1e-4)


def test_maps_come_back_from_their_file(codec):
    maps = thumbnails.read(codec.model.path)
    assert sorted(maps) == [4, 8]
    for by, found in maps.items():
        for array, known in zip(found, exact_map(by)):
            np.testing.assert_array_equal(array, known)  # powers of two lose nothing


def damaged(**changes):
    return thumbnails.packed({8: exact_map(8)._replace(**changes)})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no zip file",
        thumbnails.packed({8: exact_map(8)})[:-40],
        thumbnails.packed({3: exact_map(8)}),
        thumbnails.packed({4: exact_map(8)}),
        damaged(bias=np.zeros(5, np.float32)),
        damaged(bias=np.full(12, np.nan, np.float32)),
        damaged(channels=np.arange(7, dtype=np.int32)),
        damaged(channels=np.arange(768, dtype=np.int32) - 1),
        damaged(logarithms=np.zeros([0, 768], np.float32)),
        damaged(kernel=np.zeros([2, 2, 768, 12], np.float32)),
        damaged(bias=np.array([object()])),
    ],
)
def test_a_damaged_file_of_maps_is_told(toy_model, tmp_path, make_pixels, content):
    path = taught(toy_model, tmp_path, {})
    (path / model.THUMBNAILS).write_bytes(content)
    codec = runtime.load(path)
    data = codec.compress(make_pixels(20, 30), 100)
    codec.decompress(data)  # nothing else needs it
    with pytest.raises(errors.ModelError, match="thumbnails.npz is damaged: "):
        codec.decompress(data, scale=1 / 8)


def test_maps_of_another_model_are_told(toy_model, tmp_path, make_pixels):
    found = exact_map(8)
    path = taught(toy_model, tmp_path, {8: found._replace(channels=found.channels + 1)})
    codec = runtime.load(path)
    with pytest.raises(errors.ModelError, match="for more latents than it has"):
        codec.decompress(codec.compress(make_pixels(20, 30)), scale=1 / 8)


def test_a_card_vouches_for_maps(toy_model, tmp_path, make_pixels, shortcuts):
    path = taught(toy_model, tmp_path, {})
    (path / model.THUMBNAILS).unlink()
    known = checksums.of_files(path)
    card = json.loads((path / model.CARD).read_text())
    (path / model.CARD).write_text(json.dumps({**card, "checksums": known}))
    content = thumbnails.packed({8: exact_map(8)})
    (path / model.THUMBNAILS).write_bytes(content)
    codec = runtime.load(path)
    data = codec.compress(make_pixels(20, 30), 100)
    codec.decompress(data, scale=1 / 8)
    assert not shortcuts  # nobody knows whose they are
    found = {**known, model.THUMBNAILS: checksums.of_files(path)[model.THUMBNAILS]}
    catalog.update(codec.model, lambda card: {**card, "checksums": found})
    runtime.load(path).decompress(data, scale=1 / 8)
    assert shortcuts == [8]
    (path / model.THUMBNAILS).write_bytes(content[:-1] + b"!")
    with pytest.raises(errors.ModelError, match="is not the file of which the model's card has"):
        runtime.load(path)
