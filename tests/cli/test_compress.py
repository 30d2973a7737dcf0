"""bin/compress, over the toy model."""

import os
import pathlib
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageCms

import tfclic
from tfclic import runtime
from tfclic.cli import common, compress

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def run(toy_folder):
    """Function that runs the program with arguments and the toy model; returns its exit status."""

    def run(*words):
        args = compress.make_parser().parse_intermixed_args(["--model=toy", *map(str, words)])
        return common.guarded(compress.compress, args, "compress")

    return run


def test_the_file_lies_beside_the_photo_and_holds_it(run, photo, toy_codec, capsys):
    assert run(photo, "--quality=100") == 0
    data = photo.with_suffix(".tfclic").read_bytes()
    assert np.array_equal(toy_codec.decompress(data), np.array(Image.open(photo)))
    assert toy_codec.info(data)["quality"] == 100
    told = capsys.readouterr()
    rate = f"{8 * len(data) / 1200:.3f} bpp, {3600 / len(data):.1f}:1 of raw"
    sizes = f"40x30, {photo.stat().st_size:,} -> {len(data):,} bytes"
    assert told.out.startswith(f"{photo} -> {photo.with_suffix('.tfclic')}: {sizes}, {rate}, ")
    assert told.err == ""


def test_a_photo_may_come_from_a_pipe(run, photo, piped, tmp_path, capsys):
    assert run(photo) == 0
    capsys.readouterr()
    pipe, target = piped(photo.read_bytes()), tmp_path / "piped.tfclic"
    assert run(pipe, "-o", target) == 0
    assert target.read_bytes() == photo.with_suffix(".tfclic").read_bytes()
    told = capsys.readouterr().out
    assert told.startswith(f"{pipe} -> {target}: 40x30, {target.stat().st_size:,} bytes, ")
    assert run(piped(photo.read_bytes())) == 2
    assert "is a pipe or a device; say with -o where to write." in capsys.readouterr().err


def test_the_default_quality_is_in_the_middle(run, photo, toy_codec):
    run(photo)
    data = photo.with_suffix(".tfclic").read_bytes()
    assert toy_codec.info(data)["quality"] == pytest.approx(50, abs=1e-3)


def test_a_bad_photo_does_not_stop_the_others(run, photo, tmp_path, monkeypatch, capsys):
    loads = []
    original = runtime.Codec.__init__
    monkeypatch.setattr(
        runtime.Codec, "__init__", lambda self, *given: loads.append(original(self, *given))
    )
    bad, last = tmp_path / "bad.png", tmp_path / "last.png"
    bad.write_bytes(photo.read_bytes()[:100])
    shutil.copy(photo, last)
    folder = tmp_path / "coded"
    assert run(photo, bad, tmp_path / "missing.png", "-o", folder, last) == 3
    assert sorted(os.listdir(folder)) == ["last.tfclic", "photo.tfclic"]
    assert len(loads) == 1
    told = capsys.readouterr().err
    assert "bad.png cannot be read as an image" in told
    assert "missing.png cannot be read as an image: No such file or directory." in told
    assert "2 of 4 files failed" in told


def test_existing_files_are_replaced_by_force_only(run, photo, capsys):
    target = photo.with_suffix(".tfclic")
    target.write_bytes(b"mine")
    assert run(photo) == 2
    assert target.read_bytes() == b"mine"
    assert "exists already" in capsys.readouterr().err
    assert run(photo, "--force") == 0
    assert target.read_bytes()[:3] == b"TFC"
    assert run(photo, "-o", photo, "--force") == 2


def test_a_disk_that_takes_no_more_is_told_and_nothing_is_left(run, photo, tmp_path, capsys):
    folder = tmp_path / "coded"
    folder.mkdir()
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, most))
    try:
        status = run(photo, "-o", folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert status == 2
    assert "photo.tfclic cannot be written: File too large." in capsys.readouterr().err
    assert os.listdir(folder) == []


def test_alpha_is_kept_unless_there_is_a_background(run, tmp_path, toy_codec, capsys):
    path = tmp_path / "clear.png"
    Image.new("RGBA", (4, 4), (1, 2, 3, 1)).save(path)
    assert run(path) == 0
    pixels = toy_codec.decompress(path.with_suffix(".tfclic").read_bytes())
    assert (pixels == [1, 2, 3, 1]).all()
    assert run(path, "--background=beige", "--force") == 0
    pixels = toy_codec.decompress(path.with_suffix(".tfclic").read_bytes())
    assert (abs(pixels - [245.0, 245, 220]) < 2).all()
    assert run(path, "--background=bege") == 2


def test_what_gets_lost_is_noted(run, tmp_path, capsys):
    path = tmp_path / "deep.png"
    Image.fromarray(np.full([4, 4], 65535, np.uint16)).save(path)
    assert run(path) == 0
    assert "deep.png: Its samples of more than 8 bits" in capsys.readouterr().err


def test_a_file_that_is_larger_than_the_image_was_says_so(run, tmp_path, capsys):
    plain, noisy = tmp_path / "plain.png", tmp_path / "noisy.png"
    Image.new("RGB", (64, 64), "white").save(plain)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(noisy)
    assert run(plain, noisy, "--quality=0") == 0
    assert plain.stat().st_size < plain.with_suffix(".tfclic").stat().st_size
    of_plain, of_noisy = capsys.readouterr().out.splitlines()
    assert of_plain.endswith(f" s; larger than {plain} is")
    assert of_noisy.endswith(" s")


def test_a_missing_model_is_told_before_any_work(run, photo, capsys):
    assert run(photo, "--model=large") == 5
    assert "There is no model large" in capsys.readouterr().err
    assert not photo.with_suffix(".tfclic").exists()


def test_a_model_can_be_named_by_path(run, photo, toy_model, monkeypatch):
    monkeypatch.delenv("TFCLIC_MODELS")
    assert run(photo, "--model", toy_model) == 0


@pytest.mark.parametrize("words", [[], ["a.png", "--quality=101"], ["a.png", "--bad"]])
def test_wrong_usage_exits_with_2(run, words):
    with pytest.raises(SystemExit) as caught:
        run(*words)
    assert caught.value.code == 2


def test_the_program_as_a_process(photo, toy_folder):
    command = [sys.executable, "-m", "tfclic.cli.compress", "--model", "toy", str(photo)]
    # whatever this shell wants to hear of TensorFlow
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    how = {"capture_output": True, "text": True, "cwd": ROOT, "env": environment}
    done = subprocess.run(command, **how)
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    done = subprocess.run([*command, "--quality=x"], **how)
    assert done.returncode == 2


def test_a_target_is_a_size_of_the_file(run, photo, toy_codec):
    pixels = np.array(Image.open(photo))
    wanted = len(toy_codec.compress(pixels, 0)) + 5
    assert run(photo, "--bytes", wanted) == 0
    assert photo.with_suffix(".tfclic").stat().st_size <= wanted


@pytest.mark.parametrize("words", [["--bytes=10"], ["--bpp=500"], ["--psnr=3"]])
def test_a_target_out_of_reach_is_one_sentence(run, photo, words, capsys):
    assert run(photo, *words) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
    assert told.err.startswith(f"compress: {photo}: ") and "the nearest is" in told.err
    assert not photo.with_suffix(".tfclic").exists()


@pytest.mark.parametrize(
    "words", [["--bpp=0"], ["--bytes=-5"], ["--psnr=nan"], ["--bpp=1", "--psnr=30"], ["--tile=x"]]
)
def test_senseless_targets_are_usage_errors(run, photo, words):
    with pytest.raises(SystemExit) as caught:
        run(photo, *words)
    assert caught.value.code == 2


def test_too_many_pixels_are_refused_unless_they_are_allowed(run, photo, capsys):
    assert run(photo, "--max-pixels=1199") == 3
    told = capsys.readouterr().err
    assert told == f"compress: {photo} has more than 1,199 pixels; --max-pixels allows more.\n"
    assert run(photo, "--max-pixels=1200") == 0


def test_tiles_are_as_large_as_asked_for(run, photo, toy_codec, capsys):
    Image.fromarray(np.zeros([70, 130, 3], np.uint8)).save(photo)
    assert run(photo, "--tile=64") == 0
    assert toy_codec.info(photo.with_suffix(".tfclic").read_bytes())["tiles"] == 6
    assert run(photo, "--tile=65", "--force") == 2
    assert "multiple of 64" in capsys.readouterr().err


@pytest.fixture
def dressed(tmp_path, make_pixels):
    """Path of a JPEG photograph, 40x30 and to be turned, with all kinds of metadata."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "dressed.jpg"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(make_pixels(30, 40))
    image.save(path, exif=exif.tobytes(), icc_profile=profile, xmp=b"<x/>")
    return path


def test_metadata_are_kept_and_the_image_is_turned_once(run, dressed, toy_codec, capsys):
    assert run(dressed) == 0
    assert capsys.readouterr().err == ""
    data = dressed.with_suffix(".tfclic").read_bytes()
    metadata = tfclic.metadata_of(data)
    exif = Image.Exif()
    exif.load(metadata.exif)
    assert exif[0x0112] == 1
    assert metadata.icc_profile == Image.open(dressed).info["icc_profile"]
    assert metadata.xmp == b"<x/>"
    assert toy_codec.decompress(data).shape == (40, 30, 3)


def test_metadata_are_left_out_if_one_says_so(run, dressed, toy_codec):
    assert run(dressed, "--strip") == 0
    data = dressed.with_suffix(".tfclic").read_bytes()
    assert tfclic.metadata_of(data) == tfclic.Metadata()
    assert data[3] == 1 and toy_codec.decompress(data).shape == (40, 30, 3)


def test_an_area_gets_another_quality(run, photo, toy_codec):
    assert run(photo, "-q20", "--roi", "8,9,4,5", "--roi=30,20,10,10:77", "--roi=0,0,2,2:-5") == 0
    data = photo.with_suffix(".tfclic").read_bytes()
    areas = [
        runtime.Area(8, 9, 4, 5),
        runtime.Area(30, 20, 10, 10, 77, False),
        runtime.Area(0, 0, 2, 2, -5),
    ]
    pixels = np.array(Image.open(photo))
    assert data == toy_codec.compress(pixels, 20, areas=areas) != toy_codec.compress(pixels, 20)


def test_a_mask_says_the_quality_of_every_place(run, photo, toy_codec, tmp_path):
    mask = np.zeros([3, 40], np.uint8)
    mask[:, 32:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    assert run(photo, "--quality-map", tmp_path / "mask.png") == 0
    data = photo.with_suffix(".tfclic").read_bytes()
    assert data == toy_codec.compress(np.array(Image.open(photo)), mask / 2.55)
    found = toy_codec.qualities(data)
    # the last latent is nearer to the node before it than nodes are to each other
    assert found[0, 0] == 0 and found[0, -1] == pytest.approx(75, abs=0.1)


def test_a_mask_goes_with_a_target_but_not_with_a_quality(run, photo, toy_codec, tmp_path, capsys):
    Image.fromarray(np.array([[0, 99]], np.uint8)).save(tmp_path / "mask.png")
    words = photo, "--quality-map", tmp_path / "mask.png"
    least, most = (len(toy_codec.compress(np.array(Image.open(photo)), q)) for q in (0, 100))
    assert run(*words, f"--bytes={(least + most) // 2}") == 0
    data = photo.with_suffix(".tfclic").read_bytes()
    assert data[3] == 6 and len(data) <= (least + most) // 2
    assert run(*words, "--quality=3", "--force") == 2
    assert "--quality-map says every quality" in capsys.readouterr().err


def test_masks_that_are_none_are_refused(run, photo, tmp_path, capsys):
    assert run(photo, "--quality-map", photo) == 3
    assert "has colours; a map of qualities is a gray image" in capsys.readouterr().err
    Image.new("LA", (5, 5)).save(tmp_path / "clear.png")
    assert run(photo, "--quality-map", tmp_path / "clear.png") == 3
    assert "clear.png has transparency; a map of qualities is" in capsys.readouterr().err
    assert run(photo, "--quality-map", tmp_path / "missing.png") == 3
    Image.new("L", (50, 25)).save(tmp_path / "large.png")
    assert run(photo, "--quality-map", tmp_path / "large.png", "--max-pixels=1200") == 3
    assert "large.png has more than 1,200 pixels; --max-pixels all" in capsys.readouterr().err
    assert not photo.with_suffix(".tfclic").exists()


def test_areas_outside_of_an_image_are_refused(run, photo, capsys):
    assert run(photo, "--roi", "30,0,11,5") == 2
    told = capsys.readouterr().err
    assert f"{photo}: The area 30,0,11,5 is not inside of the image, 40x30." in told


@pytest.mark.parametrize(
    "text",
    ["1,2,3", "1,2,3,x", "1,2,3,4:", "1,2,3,4:101", "1,2,3,4:+-3", "-1,2,3,4", "1,2,3,4:nan"],
)
def test_areas_that_are_none_are_refused(text, capsys):
    with pytest.raises(SystemExit) as caught:
        compress.make_parser().parse_intermixed_args(["photo.jpg", f"--roi={text}"])
    assert caught.value.code == 2 and "--roi" in capsys.readouterr().err
