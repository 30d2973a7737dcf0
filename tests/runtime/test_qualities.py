"""Qualities that differ from place to place: what is asked for, and what becomes of it."""

import json
import shutil

import numpy as np
import pytest

from tfclic import errors, runtime
from tfclic.format import header, interface, model, picture
from tfclic.runtime import Area, qualities
from tfclic.runtime.qualities import Wanted


def wanted_of(*given):
    """The qualities of the nodes of an image of 320x256 pixels, as a file would have them."""
    wanted = Wanted(256, 320, *given)
    found = wanted.at(wanted.middle)
    codes = found.codes((0, 0, 16, 20))
    return header.quality_of(np.broadcast_to(codes, (16, 20)) * 1.0)


def test_an_area_has_its_quality_and_what_is_far_has_none_of_it():
    found = wanted_of(30, [Area(96, 64, 64, 96)])
    inside = found[4:10, 6:10]
    np.testing.assert_allclose(inside, 70, atol=0.01)
    # and so have the latents beside it
    assert np.all(found[3:11, 5:11] > 55)
    assert np.all(found >= 29.99) and np.all(found <= 70.01)
    far = found.copy()
    far[1:13, 3:13] = 30
    np.testing.assert_allclose(far, 30, atol=0.01)


def test_areas_may_have_any_quality_and_later_ones_cover_earlier_ones():
    areas = [Area(0, 0, 320, 128, -20), (0, 128, 96, 96, 90, False), Area(0, 0, 64, 64, 10)]
    found = wanted_of(30, areas)
    assert found[1, 1] == pytest.approx(40, abs=0.3)
    assert found[3, 15] == pytest.approx(10, abs=0.3)
    assert found[11, 2] == pytest.approx(90, abs=0.3)
    assert found[15, 19] == pytest.approx(30, abs=0.01)


def test_areas_are_kept_within_what_qualities_there_are():
    assert wanted_of(80, [Area(0, 0, 64, 64)]).max() == 100
    assert wanted_of(20, [Area(0, 0, 64, 64, -50)]).min() == 0


@pytest.mark.parametrize("shape", [(256, 320), (2, 2), (8, 10), (1000, 999)])
def test_maps_are_spread_over_the_image(shape):
    mask = np.zeros(shape)
    mask[: shape[0] // 2, (shape[1] + 1) // 2 :] = 100
    found = wanted_of(mask)
    assert np.all(found[:7, 12:] > 99) and np.all(found[:, :8] < 1) and np.all(found[9:] < 1)


def test_maps_are_averaged_in_blocks():
    fine = np.indices((256, 320)).sum(0) % 2 * 60.0
    assert Wanted(256, 320, fine).at(30).deviations is None
    rows = np.repeat(np.arange(8.0) * 10, 32)[:, None] * np.ones(320)
    found = wanted_of(rows)
    for node in range(1, 7):
        # in the middle of nodes there is no latent, but two beside it
        pair = found[2 * node : 2 * node + 2].mean()
        assert pair == pytest.approx(10 * node, abs=0.5)


def test_a_map_moves_as_a_whole():
    wanted = Wanted(256, 320, np.linspace(20, 60, 5)[None], [Area(0, 0, 9, 9, 77, False)])
    assert wanted.middle == pytest.approx(40)
    at = [header.quality_of(wanted.at(q).codes((0, 0, 16, 20)) * 1.0) for q in (40, 50)]
    np.testing.assert_allclose(at[1][8:] - at[0][8:], 10, atol=0.5)
    assert at[0][0, 0] == pytest.approx(77, abs=0.5) == at[1][0, 0]


def test_what_is_even_is_no_map():
    for wanted in (
        Wanted(50, 70, 33.3),
        Wanted(50, 70, np.full((4, 4), 33.3)),
        Wanted(50, 70, 33.3, [Area(0, 0, 5, 5, 0)]),
        Wanted(50, 70, 3.3, [Area(0, 0, 70, 50, 30)]),
        Wanted(50, 70, 3.3, [Area(0, 0, 70, 50, 33.3, False)]),
    ):
        found = wanted.at(wanted.middle)
        assert found.deviations is None and found.coded == b""
        assert found.quality == pytest.approx(33.3)


@pytest.mark.parametrize(
    "given, sentence",
    [
        ((101,), "The quality has to be a number from 0 to 100, not 101"),
        ((np.zeros(3),), r"A map of qualities is \[h, w\], not \[3\]"),
        ((np.zeros([0, 3]),), r"A map of qualities is \[h, w\], not \[0, 3\]"),
        ((np.full([2, 2], np.nan),), "numbers from 0 to 100"),
        ((np.array([[50, 100.5]]),), "numbers from 0 to 100"),
        ((50, [Area(0.5, 0, 21, 1)]), "An area has four whole numbers"),
        ((50, [Area(300, 0, 21, 1)]), "The area 300,0,21,1 is not inside of the image, 320x256"),
        ((50, [Area(0, 0, 0, 1)]), "not inside of the image"),
        ((50, [Area(0, 0, 1, 1, 101)]), "from -100 to 100, not 101"),
        ((50, [Area(0, 0, 1, 1, -1, False)]), "from 0 to 100, not -1"),
    ],
)
def test_what_cannot_be_is_refused(given, sentence):
    with pytest.raises(errors.UsageError, match=sentence):
        Wanted(256, 320, *given)


def test_a_file_tells_the_qualities_that_were_asked_for(toy_codec, make_pixels):
    pixels = make_pixels(100, 200)
    data = toy_codec.compress(pixels, 20, areas=[Area(10, 70, 20, 30, 60, False)])
    info = toy_codec.info(data)
    assert info["quality"] == pytest.approx(20, abs=1e-3) and info["map_bytes"] > 0
    assert data[3] == 6 and info["metadata_bytes"] == 0
    found = toy_codec.qualities(data)
    assert found.shape == (7, 13)
    assert [found[5, 1], found[0, 12]] == pytest.approx([60, 20], abs=0.01)
    even = toy_codec.compress(pixels, 20)
    assert toy_codec.info(even)["map_bytes"] == 0
    np.testing.assert_allclose(toy_codec.qualities(even), np.full((7, 13), 20), atol=1e-3)


def test_places_are_coded_by_their_qualities(toy_codec, make_pixels):
    pixels = make_pixels(200, 300)
    data = toy_codec.compress(pixels, 20, areas=[Area(100, 50, 60, 40)])
    even = toy_codec.decompress(toy_codec.compress(pixels, 20))
    found = toy_codec.decompress(data)
    inside = np.s_[50:90, 100:160]
    np.testing.assert_array_equal(found[inside], pixels[inside])
    np.testing.assert_array_equal(found[:, 220:], even[:, 220:])
    assert np.any(even[inside] != pixels[inside])
    for tile in (64, 128):
        tiled = toy_codec.compress(pixels, 20, areas=[Area(100, 50, 60, 40)], tile=tile)
        np.testing.assert_array_equal(toy_codec.decompress(tiled), found)


def test_alpha_metadata_and_a_map_go_together(toy_codec, make_pixels):
    pixels, metadata = make_pixels(100, 100, 4), picture.Metadata(xmp=b"<xmp/>")
    data = toy_codec.compress(pixels, np.array([[10, 90]]), metadata=metadata)
    whole = picture.parse(data)
    assert whole.metadata == metadata and whole.alpha and whole.quality_map
    decoded = toy_codec.decompress(data)
    np.testing.assert_array_equal(decoded[..., 3], pixels[..., 3])
    region = toy_codec.decompress(data, (30, 40, 50, 60))
    np.testing.assert_array_equal(region, decoded[40:100, 30:80])


def test_even_qualities_give_the_files_of_numbers(toy_codec, make_pixels):
    pixels = make_pixels(60, 90)
    data = toy_codec.compress(pixels, 37.5)
    assert data[3] == 1
    assert toy_codec.compress(pixels, np.full((3, 5), 37.5)) == data
    assert toy_codec.compress(pixels, 7.5, areas=[Area(0, 0, 90, 60, 30)]) == data


@pytest.mark.parametrize("target", ["file_bytes", "bpp", "psnr"])
def test_targets_are_met_by_files_with_maps(tiny_model, make_pixels, soft, target):
    codec, pixels = runtime.load(tiny_model), soft(make_pixels(120, 150))
    plain = codec.compress(pixels, 50 if target == "psnr" else 80)
    how = dict(areas=[Area(30, 30, 40, 40, 20)])

    def psnr(data):
        return 10 * np.log10(255**2 / np.square(1.0 * codec.decompress(data) - pixels).mean())

    value = {"file_bytes": len(plain), "bpp": 8 * len(plain) / pixels[..., 0].size}
    data = codec.compress(pixels, **{target: {**value, "psnr": psnr(plain)}[target]}, **how)
    if target == "psnr":
        assert psnr(plain) <= psnr(data) <= psnr(plain) + 0.05
    else:
        assert 0.98 * len(plain) <= len(data) <= len(plain)
    found = codec.qualities(data)
    assert found[3, 3] - found[-1, -1] == pytest.approx(20, abs=0.5)
    if target == "file_bytes":
        moved = codec.compress(pixels, np.array([[20, 60]]), file_bytes=len(plain))
        assert 0.98 * len(plain) <= len(moved) <= len(plain)


def test_refined_files_are_what_the_encoder_knew(tiny_model, make_pixels, soft, monkeypatch):
    monkeypatch.setattr(runtime.checks, "EFFORTS", (0, 6))
    codec, pixels = runtime.load(tiny_model), soft(make_pixels(60, 90))
    plain, known = (
        codec.evaluate(pixels, np.array([[60, 100]]), effort=effort, tile=64) for effort in (0, 1)
    )
    assert np.any(known["latents"] != plain["latents"])
    np.testing.assert_array_equal(codec.decompress(known["file"]), known["reconstruction"])


def test_a_model_without_maps_says_how_to_get_one(toy_model, tmp_path, make_pixels, toy_codec):
    copied = shutil.copytree(toy_model, tmp_path / "toy" / "1")
    card = json.loads((copied / model.CARD).read_text())
    for function in (interface.QUANTISE_BY_MAP, interface.SYNTHESISE_BY_MAP):
        del card["functions"][function.name]
    (copied / model.CARD).write_text(json.dumps(card))
    earlier, pixels = runtime.load(copied), make_pixels(60, 90)
    assert earlier.compress(pixels, 20) == toy_codec.compress(pixels, 20)
    data = toy_codec.compress(pixels, np.array([[10, 90]]))
    for refused in (
        lambda: earlier.compress(pixels, np.array([[10, 90]])),
        lambda: earlier.compress(pixels, areas=[Area(0, 0, 9, 9)]),
        lambda: earlier.decompress(data),
    ):
        with pytest.raises(errors.ModelError, match="`bin/export --from=toy --name=toy` makes one"):
            refused()


def test_maps_of_other_sizes_are_refused(toy_codec, make_pixels):
    first, second = (
        picture.parse(toy_codec.compress(make_pixels(60, width), np.array([[10, 90]])))
        for width in (90, 200)
    )
    forged = picture.pack(first._replace(quality_map=second.quality_map))
    for read in (toy_codec.decompress, toy_codec.qualities):
        with pytest.raises(errors.FileFormatError, match="corrupted"):
            read(forged)


def test_what_the_default_rise_is():
    assert Area(0, 0, 1, 1) == (0, 0, 1, 1, qualities.RISE, True)
