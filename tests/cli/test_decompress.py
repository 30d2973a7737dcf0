"""bin/decompress, over the toy model."""

import os

import numpy as np
import pytest
from PIL import Image

import tfclic
from tfclic import runtime
from tfclic.cli import common, decompress


@pytest.fixture
def run(toy_folder):
    """Function that runs the program with arguments; returns its exit status."""

    def run(*words):
        args = decompress.make_parser().parse_intermixed_args([str(word) for word in words])
        return common.guarded(decompress.decompress, args, "decompress")

    return run


@pytest.fixture
def pixels(make_pixels):
    return make_pixels(30, 40)


@pytest.fixture
def coded(tmp_path, toy_codec, pixels):
    """Path of a `.tfclic` file of `pixels`."""
    path = tmp_path / "photo.tfclic"
    path.write_bytes(toy_codec.compress(pixels))
    return path


def test_a_png_lies_beside_the_file(run, coded, pixels, capsys):
    assert run(coded) == 0
    target = coded.with_suffix(".png")
    assert np.array_equal(np.array(Image.open(target)), pixels)
    told = capsys.readouterr()
    assert told.out.startswith(f"{coded} -> {target}: 40x30, {coded.stat().st_size:,} -> ")
    assert told.err == ""


def test_a_file_may_come_from_a_pipe(run, coded, piped, pixels, tmp_path, capsys):
    pipe, target = piped(coded.read_bytes()), tmp_path / "piped.png"
    assert run(pipe, "-o", target) == 0
    assert np.array_equal(np.array(Image.open(target)), pixels)
    told = capsys.readouterr().out
    assert told.startswith(f"{pipe} -> {target}: 40x30, {target.stat().st_size:,} bytes, ")


def test_the_extension_says_the_format(run, coded, tmp_path):
    for name, kind in (("a.jpg", "JPEG"), ("a.bmp", "BMP"), ("a", "PNG")):
        assert run(coded, "-o", tmp_path / name) == 0
        assert Image.open(tmp_path / name).format == kind


def test_an_unknown_extension_is_refused(run, coded, capsys):
    assert run(coded, "-o", coded.with_suffix(".xyz")) == 2
    assert ".xyz files cannot be written" in capsys.readouterr().err


def test_grayscale_is_written_as_grayscale(run, tmp_path, toy_codec, make_pixels):
    (tmp_path / "gray.tfclic").write_bytes(toy_codec.compress(make_pixels(5, 7, 1)))
    assert run(tmp_path / "gray.tfclic") == 0
    assert Image.open(tmp_path / "gray.png").mode == "L"


def test_existing_images_are_replaced_by_force_only(run, coded):
    target = coded.with_suffix(".png")
    target.write_bytes(b"mine")
    assert run(coded) == 2
    assert target.read_bytes() == b"mine"
    assert run(coded, "--force") == 0
    assert target.read_bytes() != b"mine"


def test_the_model_is_found_by_its_fingerprint(run, coded, export_toy, tmp_path, monkeypatch):
    export_toy(tmp_path / "more", "other", 3, "deadbeef")
    other = tmp_path / "other.tfclic"
    other.write_bytes(runtime.load(tmp_path / "more" / "other").compress(np.zeros([2, 2], "u1")))
    listed = os.pathsep.join([os.environ["TFCLIC_MODELS"], str(tmp_path / "more")])
    monkeypatch.setenv("TFCLIC_MODELS", listed)
    assert run(coded, other, "-o", tmp_path / "out") == 0
    assert sorted(os.listdir(tmp_path / "out")) == ["other.png", "photo.png"]


def test_a_missing_model_is_told(run, coded, export_toy, tmp_path, monkeypatch, capsys):
    export_toy(tmp_path / "more", runtime.DEFAULT_MODEL, 3, "deadbeef")
    monkeypatch.setenv("TFCLIC_MODELS", str(tmp_path / "more"))
    assert run(coded) == 5
    assert "needs the model with fingerprint 00ff10ab" in capsys.readouterr().err
    assert not coded.with_suffix(".png").exists()


def test_damaged_files_are_refused(run, coded, tmp_path, capsys):
    data = coded.read_bytes()
    damages = [data[:-1], data[:20], b"", data[:30] + b"X" + data[31:], b"GIF89a"]
    for number, damaged in enumerate(damages):
        (tmp_path / f"{number}.tfclic").write_bytes(damaged)
    paths = [tmp_path / f"{number}.tfclic" for number in range(len(damages))]
    assert run(*paths) == 4
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("It is ") == len(damages)
    assert not list(tmp_path.glob("*.png"))


def test_a_damaged_file_is_refused_as_such_even_if_the_output_exists(run, coded):
    assert run(coded) == 0
    coded.write_bytes(coded.read_bytes()[:-1])
    assert run(coded) == 4


def test_an_image_is_a_foreign_file(run, photo):
    assert run(photo) == 4


def test_a_missing_file_is_told_and_does_not_stop_the_others(run, coded, tmp_path, capsys):
    assert run(tmp_path / "missing.tfclic", coded) == 4
    assert coded.with_suffix(".png").exists()
    assert "missing.tfclic cannot be read: No such file" in capsys.readouterr().err


def test_a_folder_is_told_to_be_one(run, tmp_path, capsys):
    assert run(tmp_path) == 4
    assert f"{tmp_path} is a folder; name the files in it." in capsys.readouterr().err


def test_a_region_is_written_alone(run, coded, pixels, capsys):
    assert run(coded, "--region=3,5,20,10") == 0
    decoded = np.array(Image.open(coded.with_suffix(".png")))
    assert np.array_equal(decoded, pixels[5:15, 3:23])
    rate = 8 * coded.stat().st_size / pixels[..., 0].size
    assert "20x10, " in (told := capsys.readouterr().out) and f"{rate:.3f} bpp" in told


def test_a_region_outside_of_the_image_is_refused(run, coded, capsys):
    assert run(coded, "--region=30,5,20,10") == 2
    assert "is not inside of the image" in capsys.readouterr().err
    assert not coded.with_suffix(".png").exists()


def test_too_many_pixels_are_refused_unless_they_are_allowed(run, coded, capsys):
    assert run(coded, "--max-pixels=1199") == 4
    told = capsys.readouterr().err
    assert f"{coded}: It has 40x30 pixels, more than 1,199 in all; --max-pixels" in told
    assert not coded.with_suffix(".png").exists()
    assert run(coded, "--max-pixels=1199", "--region=0,0,40,29") == 0
    assert run(coded, "--max-pixels=0", "--force") == 0
    with pytest.raises(SystemExit):
        run(coded, "--max-pixels=-1")


@pytest.mark.parametrize("words", ["1,2,3", "a,b,c,d", "-1,0,5,5", "1,2,3,4,5"])
def test_a_region_has_four_numbers(run, coded, words):
    with pytest.raises(SystemExit) as caught:
        run(coded, f"--region={words}")
    assert caught.value.code == 2


@pytest.mark.parametrize("by, size", [(2, (20, 15)), (4, (10, 8)), (8, (5, 4)), (16, (3, 2))])
def test_a_scale_reduces_the_image(run, coded, pixels, capsys, by, size):
    assert run(coded, f"--scale=1/{by}") == 0
    decoded = Image.open(coded.with_suffix(".png"))
    assert decoded.size == size
    assert np.array_equal(np.array(decoded), np.array(Image.fromarray(pixels).reduce(by)))
    # bits are those of pixels that are coded
    rate = 8 * coded.stat().st_size / pixels[..., 0].size
    told = capsys.readouterr().out
    assert f"{size[0]}x{size[1]}, " in told and f"{rate:.3f} bpp" in told


def test_a_region_is_reduced_alone(run, coded, pixels):
    assert run(coded, "--scale=1/8", "--region=8,16,20,14") == 0
    decoded = np.array(Image.open(coded.with_suffix(".png")))
    wanted = Image.fromarray(pixels[16:30, 8:28]).reduce(8)
    assert np.array_equal(decoded, np.array(wanted))


def test_the_beginning_of_a_file_is_not_reduced(run, coded, capsys):
    coded.write_bytes(coded.read_bytes()[:-9])
    assert run(coded, "--partial", "--scale=1/8") == 2
    assert "--scale works without --partial only" in capsys.readouterr().err


def test_a_damaged_file_that_has_its_end_is_no_beginning(run, coded, capsys):
    data = coded.read_bytes()
    for damaged in (data[:30] + b"X" + data[31:], data + b"X"):
        coded.write_bytes(damaged)
        assert run(coded, "--partial") == 4
        assert f"{coded}: It is corrupted" in capsys.readouterr().err
    assert not coded.with_suffix(".png").exists()


@pytest.mark.parametrize("text", ["1/3", "1/32", "2/1", "1:8", "0.125", "8", ""])
def test_other_scales_are_refused(run, coded, text, capsys):
    with pytest.raises(SystemExit) as caught:
        run(coded, f"--scale={text}")
    assert caught.value.code == 2
    assert "is not 1/2, 1/4, 1/8 or 1/16" in capsys.readouterr().err


@pytest.fixture
def dressed(tmp_path, toy_codec, pixels):
    """Path of a `.tfclic` file with metadata, whose image is still to be turned."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "dressed.tfclic"
    metadata = tfclic.Metadata(exif=exif.tobytes()[6:], xmp=b"<x/>")
    path.write_bytes(toy_codec.compress(pixels, metadata=metadata))
    return path


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_metadata_go_into_the_image(run, dressed, tmp_path, capsys, name):
    assert run(dressed, "-o", tmp_path / name) == 0
    with Image.open(tmp_path / name) as image:
        image.load()
        assert image.getexif()[0x0112] == 6
        assert image.info["xmp"] == b"<x/>"
        assert image.size == (40, 30)
    assert capsys.readouterr().err == ""


def test_what_a_format_cannot_hold_is_told_and_done(run, dressed, tmp_path, capsys, pixels):
    assert run(dressed, "-o", tmp_path / "a.bmp") == 0
    assert np.array_equal(np.array(Image.open(tmp_path / "a.bmp")), np.rot90(pixels, -1))
    told = capsys.readouterr().err
    assert told.count("\n") == 2 and f"{dressed}: BMP cannot hold its Exif of" in told


def test_metadata_are_left_out_if_one_says_so(run, dressed, pixels, capsys):
    assert run(dressed, "--strip") == 0
    image = Image.open(dressed.with_suffix(".png"))
    assert np.array_equal(np.array(image), np.rot90(pixels, -1))
    assert not {"exif", "xmp", "icc_profile"} & set(image.info)
    assert capsys.readouterr().err == ""


def test_transparent_images_stay_so_or_go_on_a_colour(
    run, tmp_path, toy_codec, make_pixels, capsys
):
    pixels = make_pixels(30, 40, 4).clip(1, 255)
    path = tmp_path / "clear.tfclic"
    path.write_bytes(toy_codec.compress(pixels))
    assert run(path) == 0
    assert np.array_equal(np.array(Image.open(tmp_path / "clear.png")), pixels)
    assert run(path, "-o", tmp_path / "a.jpg") == 2
    assert "JPEG cannot hold a transparent image" in capsys.readouterr().err
    assert run(path, "-o", tmp_path / "a.jpg", "--background=red") == 0
    assert Image.open(tmp_path / "a.jpg").mode == "RGB"
    assert run(path, "--background=bege", "--force") == 2


def test_a_gray_image_on_a_colour_has_no_profile_of_grays(run, tmp_path, toy_codec, make_pixels):
    path = tmp_path / "clear.tfclic"
    kept = tfclic.Metadata(icc_profile=b"of grays")
    path.write_bytes(toy_codec.compress(make_pixels(5, 7, 2), metadata=kept))
    for colour, mode, profile in (("red", "RGB", None), ("white", "L", b"of grays")):
        assert run(path, f"--background={colour}", "--force") == 0
        with Image.open(tmp_path / "clear.png") as image:
            assert image.mode == mode and image.info.get("icc_profile") == profile
