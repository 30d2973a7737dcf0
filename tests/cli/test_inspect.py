"""bin/inspect, over the toy model."""

import json
import re

import numpy as np
import pytest
from PIL import Image

import tfclic
from tfclic.cli import common, inspect

pytest.importorskip("matplotlib")


@pytest.fixture
def run(toy_folder):
    """Function that runs the program with arguments; returns its exit status."""

    def run(*words):
        args = inspect.make_parser().parse_intermixed_args([str(word) for word in words])
        return common.guarded(inspect.inspect, args, "inspect")

    return run


@pytest.fixture
def coded(tmp_path, toy_codec, make_pixels):
    """Path of a `.tfclic` file."""
    path = tmp_path / "coded.tfclic"
    path.write_bytes(toy_codec.compress(make_pixels(30, 40), 40))
    return path


def test_a_file_is_told_and_nothing_is_written(run, coded, tmp_path, capsys):
    assert run(coded) == 0
    told = capsys.readouterr()
    assert "40x30, colour" in told.out and "quality   40" in told.out
    assert "toy/1, fingerprint 00ff10ab" in told.out
    assert f"{coded.stat().st_size:,} bytes" in told.out
    assert told.err == "" and list(tmp_path.iterdir()) == [coded]


def test_json_is_the_only_thing_on_stdout(run, coded, tmp_path, capsys):
    assert run(coded, "--json", "-o", tmp_path / "out.png", "--channel=7", "--at=39,0") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["file"]["file_bytes"] == coded.stat().st_size
    assert set(found["parts"]) == {"latents", "header"}
    assert found["parts"]["latents"] == pytest.approx(8 * found["strings"][0]["bytes"], rel=1e-5)
    assert found["drawn"]["channel"] == 7
    assert found["drawn"]["positions"] == [{"x": 39, "y": 0, "row": 0, "column": 2}]
    assert Image.open(tmp_path / "out.png").format == "PNG"


def test_an_image_is_coded_and_drawn_beside_it(run, photo, capsys):
    assert run(photo, "--model=toy", "--quality=10", "--tile=64") == 0
    target = photo.with_name("photo.inspect.pdf")
    assert target.read_bytes().startswith(b"%PDF")
    told = capsys.readouterr().out
    assert "quality   10" in told and str(target) in told


def test_an_image_named_like_a_file_or_the_reverse_is_what_it_holds(run, coded, photo, tmp_path):
    assert run(coded.rename(tmp_path / "a.png")) == 0
    assert run(photo.rename(tmp_path / "b.tfclic")) == 4


def test_what_a_pipe_brings_is_read_once(run, coded, photo, piped, tmp_path, capsys):
    assert run(coded, "--json") == 0
    told = capsys.readouterr().out
    assert run(piped(coded.read_bytes()), "--json") == 0
    assert capsys.readouterr().out == told
    target = tmp_path / "drawn.png"
    assert run(piped(photo.read_bytes()), "--model=toy", "-o", target) == 0
    assert "40x30, colour" in capsys.readouterr().out and target.exists()
    assert run(piped(photo.read_bytes()), "--model=toy") == 2
    assert "is a pipe or a device; say with -o where to write." in capsys.readouterr().err


def test_existing_drawings_are_replaced_by_force_only(run, photo, capsys):
    target = photo.with_name("mine.pdf")
    target.write_bytes(b"mine")
    assert run(photo, "--model=toy", "-o", target) == 2
    assert target.read_bytes() == b"mine" and capsys.readouterr().out == ""
    assert run(photo, "--model=toy", "-o", target, "--force") == 0
    assert target.read_bytes() != b"mine"


def test_metadata_are_counted_by_themselves(run, coded, toy_codec, make_pixels, capsys):
    metadata = tfclic.Metadata(xmp=bytes(range(99)))
    data = toy_codec.compress(make_pixels(30, 40), metadata=metadata)
    coded.write_bytes(data)
    assert run(coded) == 0
    beside = len(data) - len(toy_codec.compress(make_pixels(30, 40)))
    told = capsys.readouterr().out
    assert f"metadata  {beside} bytes of it" in told and "format    version 5, " in told
    assert run(coded, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parts"]["metadata"] == 8 * beside
    assert found["estimated_bits"] == pytest.approx(8 * len(data), rel=1e-5)


@pytest.mark.parametrize(
    "words, status, sentence",
    [
        (["missing.png", "--model=toy"], 3, "missing.png cannot be read as an image"),
        (["missing.tfclic"], 4, "missing.tfclic cannot be read: No such file"),
        (["damaged.tfclic"], 4, "damaged.tfclic: It is truncated: its end is missing."),
        (["coded.tfclic", "-o", "x.svg"], 2, "x.svg: pictures are written to .pdf or .png files."),
        (["coded.tfclic", "--quality=3"], 2, "--quality is for images; coded.tfclic is coded"),
        (["coded.tfclic", "--channel=3"], 2, "say what is drawn; say where with -o."),
        (["coded.tfclic", "-o", "x.pdf", "--channel=768"], 2, "the model has 0 to 767."),
        (["coded.tfclic", "-o", "x.pdf", "--at=0,30"], 2, "0,30 is not inside of the image, 40x30"),
        (["photo.png", "--model=toy", "--tile=65"], 2, "has to be a multiple of 64"),
        (["photo.png", "--max-pixels=1199", "--model=toy"], 3, "--max-pixels allows more"),
        (["coded.tfclic", "-o", "x.pdf", "--max-pixels=1199"], 4, "more than 1,199 in all"),
        (["photo.png", "--model=none"], 5, "There is no model none"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    run, coded, photo, monkeypatch, capsys, words, status, sentence
):
    monkeypatch.chdir(photo.parent)
    (photo.parent / "damaged.tfclic").write_bytes(coded.read_bytes()[:-1])
    assert run(*words) == status
    told = capsys.readouterr()
    assert told.out == "" and sentence in told.err and len(told.err.splitlines()) == 1
    assert not list(photo.parent.glob("*.pdf"))


def test_an_older_export_tells_sizes_and_why_no_more(
    run, export_toy, tmp_path, monkeypatch, capsys, make_pixels
):
    path = export_toy(tmp_path / "old")
    card = json.loads((path / "model_card.json").read_text())
    del card["functions"]["explain"]
    (path / "model_card.json").write_text(json.dumps(card))
    monkeypatch.setenv("TFCLIC_MODELS", str(path.parents[1]))
    photo = tmp_path / "gray.png"
    Image.fromarray(np.squeeze(make_pixels(30, 40, 1))).save(photo)
    assert run(photo, "--model=toy", "--json") == 5
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert found["parts"] is None and found["file"]["grayscale"] is True
    assert "has no function explain; export it again." in told.err
    assert not list(tmp_path.glob("*.pdf"))


@pytest.mark.parametrize("word", ["--at=1", "--at=-1,2", "--at=1,2,3", "--channel=x"])
def test_wrong_numbers_exit_with_2(run, word):
    with pytest.raises(SystemExit) as caught:
        run("a.png", word)
    assert caught.value.code == 2


def test_qualities_that_differ_are_told_and_drawn(run, coded, toy_codec, make_pixels, capsys):
    data = toy_codec.compress(make_pixels(60, 90), 20, areas=[(0, 0, 20, 20)])
    coded.write_bytes(data)
    target = coded.with_name("drawn.pdf")
    assert run(coded, "-o", target) == 0
    told = capsys.readouterr().out
    assert "quality   20, from place to place 20 to 60" in told and "version 6" in told
    size = toy_codec.info(data)["map_bytes"]
    assert f"map       {size} bytes of it" in told and "metadata" not in told
    pages = re.findall(rb"/Type /Page\b", target.read_bytes())
    assert run(coded, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parts"]["map"] == 8 * size and "metadata" not in found["parts"]
    assert found["estimated_bits"] == pytest.approx(8 * len(data), rel=1e-5)
    assert found["file"]["qualities"] == pytest.approx([20, 60], abs=0.01)
    coded.write_bytes(toy_codec.compress(make_pixels(60, 90), 20))
    assert run(coded, "-o", target, "--force") == 0
    assert len(re.findall(rb"/Type /Page\b", target.read_bytes())) == len(pages) - 1
    assert "place to place" not in capsys.readouterr().out
