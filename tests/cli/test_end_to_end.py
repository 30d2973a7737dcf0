"""The programs one after another, each in a process: train, export, compress, back, evaluate."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

TINY = """
from tfclic import configuration


def get_config():
    _, config = configuration.load("hyperprior")
    config.model.update(
        latent_channels=6, widths=(4, 4, 4), hyper_channels=4, lmbdas=(0.01, 0.02),
        block_transform=True,
    )
    config.training.update(steps=2, crop_size=64, batch_size=2, validation_images=1)
    return config
"""


def program(name, *arguments, folder, models):
    """Runs `tfclic.cli.<name>` in `folder`; returns the finished process."""
    environment = {**os.environ, "TFCLIC_MODELS": str(models)}
    command = [sys.executable, "-m", f"tfclic.cli.{name}", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("end_to_end")


def test_train_export_compress_decompress_evaluate(folder, make_pixels):
    (folder / "photos").mkdir()
    for i in range(6):
        Image.fromarray(make_pixels(80, 100, seed=i)).save(folder / "photos" / f"{i}.png")
    (folder / "tiny.py").write_text(TINY)
    models = folder / "models"

    def run(name, *arguments):
        result = program(name, *arguments, folder=folder, models=models)
        assert result.returncode == 0, result.stderr
        return result.stdout

    run("train", "--model=tiny.py", "--data=photos", "--workdir=run")
    # one graph, since two take twice as long; tests/export has both
    run("export", "--workdir=run", "--name=tiny", f"--folder={models}", "--coder=range")
    line = run("compress", "photos/0.png", "-o", "0.tfclic", "--model", "tiny")
    assert "100x80" in line and "bpp" in line
    run("decompress", "0.tfclic", "-o", "back.png")
    with Image.open(folder / "back.png") as back:
        assert back.size == (100, 80) and back.mode == "RGB"
        assert np.asarray(back).std() > 0

    (folder / "made").mkdir()
    for i in range(2):
        Image.fromarray(make_pixels(176, 192, seed=i)).save(folder / "made" / f"{i}.png")
    words = "--images=made", "--model=tiny", "--codec=jpeg", "--anchor=jpeg", "--verify"
    told = run("evaluate", *words, "--qualities=0,100", "--output=measured", "--jobs=1")
    assert "against JPEG" in told and told.count("pass: ") == 3
    curve = json.loads((folder / "measured" / "tiny-1.json").read_text())
    assert set(curve["images"]) == {"0.png", "1.png"}
    assert all(0 < value < 1 for value in curve["results"]["ms-ssim-rgb"])
    page = (folder / "measured" / "report.html").read_text()
    assert '"title": "tiny/1"' in page and "tfclic tiny/1" in page
