"""bin/recode, over the tiny codec, exported with both coders."""

import numpy as np
import pytest

from tfclic import runtime
from tfclic.cli import common, recode
from tfclic.format import header, picture
from tfclic.runtime import catalog


@pytest.fixture(scope="module")
def coded(both_coders, make_pixels, soft):
    """A file of six tiles, written with the range coder."""
    pixels = soft(make_pixels(150, 100, 1))
    return runtime.load(both_coders / header.RANGE).compress(pixels, 33.3, tile=64)


@pytest.fixture
def run(both_coders, monkeypatch):
    """Function that runs the program with arguments; returns its exit status."""
    monkeypatch.setenv(catalog.VARIABLE, str(both_coders))

    def run(*words):
        args = recode.make_parser().parse_intermixed_args([str(word) for word in words])
        return common.guarded(recode.recode, args, "recode")

    return run


def test_there_and_back_gives_the_same_bytes(run, coded, both_coders, tmp_path, capsys):
    source = tmp_path / "a.tfclic"
    source.write_bytes(coded)
    assert run(source, "--coder=interleaved") == 0
    target = tmp_path / "a.interleaved.tfclic"
    data = target.read_bytes()
    line = f"{source} -> {target}: {len(coded):,} -> {len(data):,} bytes"
    assert capsys.readouterr().out.strip() == line
    before, after = header.parse(coded), header.parse(data)
    assert (before.coder, after.coder) == header.CODERS and len(after.lengths) == 6
    same = "grayscale", "fingerprint", "quality", "width", "height", "tile_height", "tile_width"
    assert all(getattr(before, name) == getattr(after, name) for name in same)
    codec = runtime.load(both_coders / header.INTERLEAVED)
    known = runtime.load(both_coders / header.RANGE).decode_latents(coded)
    np.testing.assert_array_equal(codec.decode_latents(data), known)
    assert run(target, "--coder=range", "-o", tmp_path / "b.tfclic") == 0
    assert (tmp_path / "b.tfclic").read_bytes() == coded


def test_a_file_of_that_coder_is_copied(run, coded, tmp_path):
    (tmp_path / "a.tfclic").write_bytes(coded)
    assert run(tmp_path / "a.tfclic", "--coder=range", "-o", tmp_path / "b.tfclic") == 0
    assert (tmp_path / "b.tfclic").read_bytes() == coded


def test_what_is_missing_is_told(run, coded, tmp_path, tiny_model, monkeypatch, capsys):
    (tmp_path / "a.tfclic").write_bytes(coded)
    monkeypatch.setenv(catalog.VARIABLE, str(tiny_model))
    assert run(tmp_path / "a.tfclic", "--coder=interleaved") == 5
    assert "export it with --coder=interleaved" in capsys.readouterr().err


def test_damaged_files_are_refused(run, coded, tmp_path):
    (tmp_path / "a.tfclic").write_bytes(coded[:-9])
    assert run(tmp_path / "a.tfclic", "--coder=interleaved") == 4
    assert not (tmp_path / "a.interleaved.tfclic").exists()


def test_what_lies_beside_the_image_stays_there(run, coded, tmp_path):
    metadata = picture.Metadata(exif=b"II*\0 some")
    (tmp_path / "a.tfclic").write_bytes(picture.pack(picture.Picture(coded, metadata)))
    assert run(tmp_path / "a.tfclic", "--coder=interleaved") == 0
    found = picture.parse((tmp_path / "a.interleaved.tfclic").read_bytes())
    assert found.metadata == metadata and header.parse(found.image).interleaved


def test_a_map_of_qualities_stays_and_means_the_same(run, both_coders, make_pixels, soft, tmp_path):
    codec = runtime.load(both_coders / header.RANGE)
    data = codec.compress(soft(make_pixels(64, 128)), np.array([[10, 90]]))
    (tmp_path / "a.tfclic").write_bytes(data)
    assert run(tmp_path / "a.tfclic", "--coder=interleaved") == 0
    anew = (tmp_path / "a.interleaved.tfclic").read_bytes()
    assert picture.parse(anew).quality_map == picture.parse(data).quality_map != b""
    np.testing.assert_array_equal(codec.decompress(anew), codec.decompress(data))
