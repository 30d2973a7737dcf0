"""bin/evaluate, over the toy model."""

import json

import numpy as np
import pytest
from PIL import Image

from tfclic.cli import common, evaluate
from tfclic.evaluation.evaluate import Verification


@pytest.fixture
def run(toy_folder, folder):
    """Function that runs the program on `folder` with the toy model; returns its exit status."""

    def run(*words):
        words = ["--model=toy", f"--images={folder}", *map(str, words)]
        args = evaluate.make_parser().parse_intermixed_args(words)
        return common.guarded(evaluate.evaluate, args, "evaluate")

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


def test_images_and_averages_are_printed(run, capsys):
    assert run("--qualities=0,100") == 0
    told = capsys.readouterr()
    rows = [line.split()[:2] for line in told.out.splitlines()[1:]]
    names = ["a.png", "a.png", "b.png", "b.png", "average", "average"]
    assert rows == [list(row) for row in zip(names, ["0", "100"] * 3)]
    assert told.err == ""


def test_the_json_has_one_entry_per_quality(run, tmp_path, folder, toy_codec):
    path = tmp_path / "curve.json"
    assert run("--qualities=0,50,100", "--json", path) == 0
    content = json.loads(path.read_text())
    results = content["results"]
    assert results["quality"] == [0, 50, 100]
    for name in ("bpp", "psnr-rgb", "ms-ssim-rgb", "encoding_time", "decoding_time"):
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


def test_an_unreadable_image_is_left_out_and_told(run, folder, capsys):
    (folder / "c.png").write_bytes(b"damaged")
    assert run("--qualities=0") == 3
    told = capsys.readouterr()
    assert "c.png is not an image" in told.err
    assert "average" in told.out


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
    told = "\n".join(evaluate.verdict([good, good._replace(**change), good]))
    assert line in told
    assert told.count("FAIL") == 1 and told.count("pass") == 2


def test_a_failed_verification_exits_with_1(run, monkeypatch):
    monkeypatch.setattr(
        "tfclic.evaluation.evaluate.verify", lambda *_: Verification(1, 1000, 1000.0, 0.0)
    )
    assert run("--qualities=0", "--verify") == 1


def test_the_curve_is_compared_with_an_anchor(run, tmp_path, capsys):
    pytest.importorskip("bjontegaard")
    anchor = tmp_path / "other.json"
    anchor.write_text(json.dumps({"results": {"bpp": [0.1, 0.5], "psnr-rgb": [10, 60]}}))
    assert run("--qualities=0,100", "--anchor", anchor) == 0
    assert "BD-rate against other: none" in capsys.readouterr().out
    anchor.write_text("{}")
    assert run("--anchor", anchor) == 2
    assert "is not a rate-distortion curve" in capsys.readouterr().err


def test_a_folder_without_images_is_refused(run, folder):
    for path in folder.glob("*.png"):
        path.unlink()
    assert run() == 2


@pytest.mark.parametrize("words", [["--qualities=0,101"], ["--qualities="], ["--qualities=x"]])
def test_wrong_qualities_exit_with_2(run, words):
    with pytest.raises(SystemExit) as caught:
        run(*words)
    assert caught.value.code == 2
