"""bin/evaluate, over the toy model."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from tfclic import images, runtime
from tfclic.cli import common, evaluate, evaluate_tables
from tfclic.evaluation.evaluate import Verification
from tfclic.format import header


@pytest.fixture
def run(toy_folder, folder):
    """Function that runs the program on `folder` with the toy model; returns its exit status."""

    def run(*words):
        words = [f"--images={folder}", "--jobs=1", *map(str, words)]
        words += [] if "--model" in words else ["--model=toy"]
        args = evaluate.make_parser().parse_intermixed_args(words)
        return common.guarded(evaluate.evaluate, args, "evaluate")

    run.folder = folder
    return run


@pytest.fixture
def folder(tmp_path, make_pixels):
    """A folder with a colour and a grayscale image, and a file that is no image."""
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(make_pixels(20, 30)).save(folder / "a.png")
    Image.fromarray(make_pixels(20, 30, 1)[..., 0]).save(folder / "b.png")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_averages_are_printed(run, capsys):
    assert run("--qualities=0,100") == 0
    told = capsys.readouterr()
    rows = [line.split()[:2] for line in told.out.splitlines()[1:]]
    assert rows == [["toy/1", "0"], ["toy/1", "100"]]
    assert told.err == ""


def test_large_images_are_let_in_if_they_are_asked_for(run, tmp_path, capsys, monkeypatch):
    assert run("--qualities=50", "--max-pixels=599") == 3
    told = capsys.readouterr().err
    assert "a.png has more than 599 pixels; --max-pixels allows more.\n" in told
    # as if all images were larger than what is usual
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for function in (images.read, runtime.Codec.decompress):
        usual = header.DEFAULT_MAX_PIXELS
        smaller = tuple(599 if each == usual else each for each in function.__defaults__)
        monkeypatch.setattr(function, "__defaults__", smaller)
    words = "--max-pixels=0", "--codec=jpeg", "--verify", "--output", tmp_path / "out"
    assert run("--qualities=50", *words) == 0
    assert capsys.readouterr().err == ""


def test_the_curve_has_one_entry_per_quality(run, tmp_path, folder, toy_codec):
    assert run("--qualities=0,50,100", "--output", tmp_path / "out", "--gallery=0") == 0
    content = json.loads((tmp_path / "out" / "toy-1.json").read_text())
    results = content["results"]
    assert results["quality"] == [0, 50, 100]
    for name in ("bpp", "psnr-rgb", "ms-ssim-rgb", "flip", "encoding_time", "decoding_time"):
        assert len(results[name]) == 3
    sizes = []
    for name in ("a.png", "b.png"):
        sizes.append(len(toy_codec.compress(np.array(Image.open(folder / name)), 0)))
    assert results["bpp"][0] == pytest.approx(8 * sum(sizes) / 2 / 600)
    assert results["psnr-rgb"][0] > 10
    # The toy is lossless from quality 30 on, and these images are too small for MS-SSIM.
    assert results["psnr-rgb"][2] is None
    assert results["ms-ssim-rgb"] == [None] * 3
    assert set(content["images"]) == {"a.png", "b.png"}


def test_two_processes_make_the_whole_report(run, tmp_path, capsys):
    output = tmp_path / "out"
    words = "--qualities=0,20,25", "--codec=jpeg,jxl", "--anchor=jpeg", "--curve=vtm"
    assert run(*words, "--output", output, "--jobs=2") == 0
    told = capsys.readouterr().out
    assert "against JPEG" in told and "VTM, on kodak" in told
    files = [path.name for path in (output / "files" / "jpeg").iterdir()]
    assert len(files) == 22 and "a-5.jpg" in files and "b-equal.jpg" in files
    page = (output / "report.html").read_text()
    gallery = json.loads(re.search("^const gallery = (.*);$", page, re.MULTILINE)[1])
    assert [image["name"] for image in gallery] == ["a.png", "b.png"]
    titles = [version["title"] for version in gallery[0]["versions"]]
    assert titles == ["original", "toy/1", "JPEG", "JPEG XL"]
    for version in gallery[0]["versions"]:
        kind, data = version["source"].split(";base64,")
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert image.size == (30, 20)
    original = gallery[0]["versions"][0]["source"].split(",")[1]
    with Image.open(io.BytesIO(base64.b64decode(original))) as image:
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(run.folder / "a.png")))
    # nothing is fetched
    assert not re.search(r"<(script|link|img)[^>]*\b(src|href)=", page)
    measured = (output / "measurements.jsonl").stat().st_size
    assert run(*words, "--output", output, "--jobs=2") == 0
    assert (output / "measurements.jsonl").stat().st_size == measured


def test_the_card_gets_the_averages(run, export_toy, tmp_path, monkeypatch):
    model = export_toy(tmp_path / "own")
    assert run("--model", model, "--qualities=0", "--card") == 0
    results = json.loads((model / "model_card.json").read_text())["results"]["images"]
    assert results["quality"] == [0] and results["bpp"][0] > 0


def test_different_models_of_one_name_are_refused(run, export_toy, tmp_path, capsys):
    """Each would be told to be as good as the other."""
    other = export_toy(tmp_path / "own", fingerprint="deadbeef")
    assert run("--model=toy", "--model", other, "--qualities=0") == 2
    assert f"toy and {other} are both called toy/1;" in capsys.readouterr().err
    assert run("--model=toy", "--model=toy/1", "--qualities=0") == 0


def test_an_unreadable_image_is_left_out_and_told(run, folder, capsys):
    (folder / "c.png").write_bytes(b"damaged")
    assert run("--qualities=0") == 3
    told = capsys.readouterr()
    assert "c.png is not an image" in told.err
    assert "toy/1" in told.out


def test_a_transparent_image_is_left_out_and_told(run, folder, capsys):
    Image.fromarray(np.full([20, 30, 4], 100, np.uint8)).save(folder / "c.png")
    assert run("--qualities=0") == 3
    told = capsys.readouterr().err
    assert "c.png is transparent; what is measured has to be opaque." in told
    # which this program does not have
    assert "--background" not in told


def test_an_image_that_a_codec_cannot_hold_is_left_out_of_all_averages_and_told(
    run, folder, tmp_path, capsys
):
    """WebP has no sides above 16383 pixels, and a report of such an image no WebP files."""
    Image.fromarray(np.full([1, 17000], 100, np.uint8)).save(folder / "wide.png")
    output = tmp_path / "out"
    assert run("--qualities=0", "--codec=jpeg,webp", "--output", output) == 3
    told = capsys.readouterr()
    assert "wide.png: WebP cannot hold an image of 17000x1 pixels: " in told.err
    for name in ("toy-1", "jpeg", "webp"):
        curve = json.loads((output / f"{name}.json").read_text())
        assert list(curve["images"]) == ["a.png", "b.png"]
    for name in ("a.png", "b.png"):
        (folder / name).unlink()
    assert run("--qualities=0", "--codec=jpeg", "--output", output) == 0
    page = (output / "report.html").read_text()
    assert "data:image/png;base64," in page and "data:image/webp" not in page


def test_a_codec_that_measured_nothing_is_no_anchor(run, folder, capsys):
    for name in ("a.png", "b.png"):
        (folder / name).unlink()
    Image.fromarray(np.full([1, 17000], 100, np.uint8)).save(folder / "wide.png")
    words = "--codec=webp,jpeg", "--anchor=webp", "--anchor=jpeg"
    assert run("--qualities=0,20", *words) == 3
    told = capsys.readouterr()
    assert told.out.count("against ") == 1 and "against JPEG" in told.out
    assert "There is no curve of WebP, so that nothing is compared with it." in told.err


def test_files_are_verified_against_the_encoder(run, capsys):
    assert run("--qualities=0,100", "--verify") == 0
    told = capsys.readouterr().out
    assert "4 files checked" in told
    assert told.count("pass: ") == 3


@pytest.mark.parametrize(
    "change, line",
    [
        ({"latents_differ": 7}, "FAIL: decoded latents equal, at worst 7 differ"),
        ({"file_bytes": 1036}, "FAIL: size within 1 % + 24 bytes of the estimate, at worst 1,036"),
        ({"psnr_difference": 0.02}, "FAIL: PSNR within 0.01 dB, at worst 0.0200 dB off"),
    ],
)
def test_the_verdict_names_the_worst(change, line):
    good = Verification(0, 1034, 1000.0, 0.01)
    told = "\n".join(evaluate_tables.verdict([good, good._replace(**change), good]))
    assert line in told
    assert told.count("FAIL") == 1 and told.count("pass") == 2


def test_a_failed_verification_exits_with_1(run, monkeypatch):
    monkeypatch.setattr(
        "tfclic.evaluation.evaluate.verify", lambda *_: Verification(1, 1000, 1000.0, 0.0)
    )
    assert run("--qualities=0", "--verify") == 1


def test_the_curve_is_compared_with_an_anchor(run, tmp_path, capsys):
    anchor = tmp_path / "other.json"
    anchor.write_text(json.dumps({"results": {"bpp": [0.1, 0.5], "psnr-rgb": [10, 60]}}))
    assert run("--qualities=0,100", "--anchor", anchor) == 0
    told = capsys.readouterr().out
    assert "against other, on unknown images" in told
    # one of its two points is lossless
    assert told.splitlines()[-1].split() == ["toy/1", "-", "-"]
    anchor.write_text("{}")
    assert run("--anchor", anchor) == 2
    assert "is not a rate-distortion curve" in capsys.readouterr().err


def test_other_metrics_are_measured_and_compared(run, tmp_path, capsys):
    words = "--qualities=0,20,25", "--codec=jpeg", "--anchor=jpeg"
    assert run(*words, "--metrics=psnr-hvs-m,flip,vif", "--output", tmp_path / "out") == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].split()[-2:] == ["VIF", "PSNR-HVS-M"]
    # these images are too small for VIF
    assert told[1].split()[-2] == "-" and float(told[1].split()[-1]) > 10
    heading, row = next(pair for pair in zip(told, told[1:]) if "against JPEG" in pair[0])
    assert re.split("  +", heading) == [
        "against JPEG", "BD-rate and BD-PSNR-HVS-M", "BD-rate and BD-FLIP", "BD-rate by VIF",
    ]  # fmt: skip
    # each above its column
    assert row[heading.index("BD-rate") - 1] == " " and row[heading.index("BD-rate")] in "+-"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<th>PSNR-HVS-M</th><th>FLIP</th><th>VIF</th></tr>" in page


def test_a_metric_whose_package_is_missing_is_refused(run, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    assert run("--metrics=vmaf") == 2
    assert "VMAF needs the package imageio_ffmpeg; pip install" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["--codec=gif"], ["--jobs=0"], ["--gallery=-1"], ["--metrics=lpips"], ["--metrics="]],
)
def test_wrong_words_exit_with_2(run, words):
    with pytest.raises(SystemExit) as caught:
        run(*words)
    assert caught.value.code == 2


def test_a_folder_without_images_is_refused(run, folder):
    for path in folder.glob("*.png"):
        path.unlink()
    assert run() == 2


@pytest.mark.parametrize("words", [["--qualities=0,101"], ["--qualities="], ["--qualities=x"]])
def test_wrong_qualities_exit_with_2(run, words):
    with pytest.raises(SystemExit) as caught:
        run(*words)
    assert caught.value.code == 2
