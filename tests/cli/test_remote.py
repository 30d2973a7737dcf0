"""bin/compress and bin/decompress with --server: as without it, but for who does the work."""

import contextlib
import os

import grpc
import pytest
from PIL import Image

from tests.serving.conftest import running
from tfclic import errors
from tfclic.cli import common, compress, decompress, remote


@pytest.fixture(scope="module")
def address(toy_model):
    with running(toy_model.parents[1]) as started:
        yield f"127.0.0.1:{started.server.port}"


@pytest.fixture
def run(toy_folder, address):
    """Function that runs a program, at the server or (`server=False`) here; returns its status."""

    def run(program, *words, server=True):
        main = getattr(program, program.__name__.rpartition(".")[2])
        words = [*words, f"--server={address}"] if server else words
        args = program.make_parser().parse_intermixed_args([*map(str, words)])
        return common.guarded(main, args, main.__name__)

    return run


@pytest.fixture
def photos(tmp_path, make_pixels):
    """Paths of images of several kinds: turned by EXIF, grayscale, transparent, small."""
    exif = Image.Exif()
    exif[274] = 6
    paths = [tmp_path / name for name in ("turned.jpg", "gray.png", "clear.png", "a.tif", "b.webp")]
    Image.fromarray(make_pixels(30, 40)).save(paths[0], exif=exif)
    Image.fromarray(make_pixels(20, 25, 1)[..., 0]).save(paths[1])
    Image.new("RGBA", (9, 9), (10, 20, 30, 40)).save(paths[2])
    for path in paths[3:]:
        Image.fromarray(make_pixels(11, 13)).save(path)
    return paths


def without_seconds(text):
    return [line.rpartition(", ")[0] for line in text.splitlines()]


def test_files_images_and_lines_are_those_made_here(run, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = [path.name for path in photos]
    told = {}
    for server, folder in ((True, "there"), (False, "here")):
        words = ["--model=toy", "--quality=70", *names, "-o", folder]
        assert run(compress, *words, server=server) == 0
        coded = [os.path.join(folder, os.path.splitext(name)[0] + ".tfclic") for name in names]
        assert run(decompress, *coded, "-o", f"{folder}/decoded", server=server) == 0
        told[folder] = [
            line.replace(folder, "") for line in without_seconds(capsys.readouterr().out)
        ]
    assert told["there"] == told["here"] and len(told["here"]) == 10
    for name in names:
        name = os.path.splitext(name)[0]
        for path in (f"{name}.tfclic", f"decoded/{name}.png"):
            there, here = ((tmp_path / folder / path).read_bytes() for folder in ("there", "here"))
            assert there == here, path


def test_a_bad_file_does_not_stop_the_others(run, photos, tmp_path, capsys):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"garbage")
    assert run(compress, "--model=toy", photos[1], bad, photos[4]) == 3
    told = capsys.readouterr()
    assert "bad.png is not an image" in told.err
    assert "1 of 3 files failed" in told.err and told.out.count("\n") == 2
    damaged = photos[1].with_suffix(".tfclic")
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert run(decompress, damaged, photos[4].with_suffix(".tfclic"), "-o", tmp_path / "out") == 4
    told = capsys.readouterr()
    assert f"{damaged}: It is truncated" in told.err and told.out.count("\n") == 1


def test_existing_files_are_replaced_by_force_only(run, photos, capsys):
    target = photos[1].with_suffix(".tfclic")
    target.write_bytes(b"mine")
    assert run(compress, "--model=toy", photos[1]) == 2
    assert target.read_bytes() == b"mine"
    assert run(compress, "--model=toy", photos[1], "--force") == 0
    assert run(decompress, target) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    "program, words, name",
    [
        (compress, ["a.png", "--bpp=1"], "bpp"),
        (compress, ["a.png", "--psnr=30"], "psnr"),
        (compress, ["a.png", "--bytes=100"], "bytes"),
        (compress, ["a.png", "--tile=64"], "tile"),
        (compress, ["a.png", "--coder=range"], "coder"),
        (compress, ["a.png", "--quality-map=b.png"], "quality-map"),
        (decompress, ["a.tfclic", "--region=0,0,1,1"], "region"),
    ],
)
def test_what_a_server_cannot_do_is_refused(run, program, words, name, capsys):
    assert run(program, *words) == 2
    assert capsys.readouterr().err.endswith(f": --{name} works without --server only.\n")


def test_a_model_that_is_not_there_is_told(run, photos, capsys):
    assert run(compress, "--model=large", photos[1]) == 5
    assert "There is no model large here." in capsys.readouterr().err
    assert run(decompress, "--model=toy", "x.tfclic", server=False) == 2
    assert run(compress, "--model=toy/1", photos[1]) == 0
    assert run(compress, "--model=toy/7", photos[1], "--force") == 5


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_areas_and_scales_are_as_here(run, make_pixels, channels, tmp_path, capsys):
    for name in ("there", "here"):
        (tmp_path / name).mkdir()
        photo = tmp_path / name / "photo.png"
        Image.fromarray(make_pixels(30, 70, channels).squeeze()).save(photo)
        where = {"server": name == "there"}
        areas = "--roi=0,0,9,9", "--roi=20,3,5,6:80"
        assert run(compress, "--model=toy", photo, *areas, **where) == 0
        coded, small = photo.with_suffix(".tfclic"), photo.with_name("small.png")
        assert run(decompress, coded, "-o", small, "--scale=1/4", **where) == 0
    for name in ("photo.tfclic", "small.png"):
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    assert Image.open(small).size == (18, 8)
    there, here = capsys.readouterr().out.replace("there", "here").split(f"{photo} -> ")[1:]
    assert without_seconds(there) == without_seconds(here)


def test_efforts_beyond_the_servers_are_refused(run, photos, capsys):
    assert run(compress, "--model=toy", photos[1], "--effort=1") == 3
    assert "takes efforts up to 0, not 1 (bin/serve --max_effort)." in capsys.readouterr().err


@pytest.mark.parametrize("channels", [1, 4])
def test_a_file_with_a_map_is_decoded_there(run, make_pixels, channels, tmp_path):
    photo, there, here = (tmp_path / name for name in ("photo.png", "there.png", "here.png"))
    Image.fromarray(make_pixels(30, 70, channels).squeeze()).save(photo)
    assert run(compress, "--model=toy", photo, "--roi=0,0,9,9", server=False) == 0
    coded = photo.with_suffix(".tfclic")
    assert coded.read_bytes()[3] == 6
    assert run(decompress, coded, "-o", there) == 0
    assert run(decompress, coded, "-o", here, server=False) == 0
    assert there.read_bytes() == here.read_bytes()


def test_a_coder_without_a_model_asks_for_the_default_one(
    toy_model, address, make_pixels, monkeypatch
):
    monkeypatch.setattr(remote.runtime, "DEFAULT_MODEL", toy_model.parent.name)
    data = remote.Coder(address).compress(make_pixels(8, 8), None)
    assert data[:3] == b"TFC"


def test_no_server_is_told(photos, monkeypatch, capsys):
    from tfclic.serving import client

    monkeypatch.setattr(client, "_OPTIONS", [])
    args = compress.make_parser().parse_args(["--server=127.0.0.1:1", str(photos[1])])
    assert common.guarded(compress.compress, args, "compress") == 1
    assert "The server 127.0.0.1:1 cannot be reached." in capsys.readouterr().err


def test_a_server_that_is_there_says_itself_why_it_does_not_answer():
    from tfclic.serving import client

    class Unavailable(grpc.RpcError):
        def code(self):
            return grpc.StatusCode.UNAVAILABLE

        def details(self):
            return "The model toy is being loaded."

    with contextlib.closing(client.Client("127.0.0.1:1")) as one:
        told = one._failure(Unavailable(), errors.ImageError)
    assert type(told) is errors.TfclicError
    assert str(told) == "The server 127.0.0.1:1 says: The model toy is being loaded."
