"""The benchmarks of corpora, on a handful of names."""

import pathlib
import subprocess

import pytest

pytest.importorskip("apache_beam")

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


def test_names_are_listed_kept_written_and_read_again(load_benchmark, capsys, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    scale = load_benchmark("corpus_scale")
    monkeypatch.setattr(scale, "FOLDER_FILES", 20)
    scale.names(50)
    told = capsys.readouterr()
    stages = [line.split(" | ")[1] for line in told.out.splitlines()]
    assert stages == [
        "before",
        "list",
        "keep a record of each",
        "write the manifest",
        "start again: list, read the manifest",
    ]
    assert "bytes a name" in told.err


@pytest.fixture
def images(tmp_path, make_pixels):
    from PIL import Image

    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(2):
        Image.fromarray(make_pixels(20, 30, seed=i)).save(folder / f"{i}.png")
    return folder


def test_a_small_folder_is_gone_through_again(load_benchmark, images, tmp_path):
    corpus = load_benchmark("corpus")
    paths = corpus.chosen(images, 5)
    assert [path.name for path in paths] == ["0.png", "1.png", "0.png", "1.png", "0.png"]
    (folder,) = corpus.deal(paths, tmp_path / "dealt", 1)
    assert len(list(folder.iterdir())) == 5


def test_crops_are_as_large_as_asked_for_and_come_from_the_images(load_benchmark, images, tmp_path):
    from PIL import Image

    corpus = load_benchmark("corpus")
    paths = corpus.chosen(images, 3)
    made = corpus.cropped(paths, 16, tmp_path / "crops")
    for path, source in zip(made, paths):
        with Image.open(path) as crop, Image.open(source) as whole:
            assert crop.size == (16, 16)
            width, height = whole.size
            places = [(x, y) for x in range(width - 15) for y in range(height - 15)]
            assert any(
                whole.crop((x, y, x + 16, y + 16)).tobytes() == crop.tobytes() for x, y in places
            )


def test_each_way_is_a_command(load_benchmark, images, tmp_path):
    corpus = load_benchmark("corpus")
    for way, (make, processes, threads) in corpus.WAYS.items():
        folder = tmp_path / way
        commands = make("toy", corpus.chosen(images, 3), folder, processes, threads)
        words = [str(word) for command in commands for word in command]
        assert (f"--workers={processes}" in words) == ("dask" in way)
        assert len(commands) == (2 if way.startswith("2 loops") else 1)
        if "xargs" in way:
            subprocess.run(["sh", "-n", "-c", words[-1]], check=True)
            assert "-P 2 -n 8" in words[-1] and "tfclic.cli.compress -o" in words[-1]
