"""A wheel of the package, installed outside of the checkout, does what the programs in bin/ do."""

import email
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile

import numpy as np
import pytest
from PIL import Image

from tfclic.cli import common, programs

ROOT = pathlib.Path(__file__).parents[1]
SOURCES = ["tfclic", "configs", "saved_models", "setup.py", "setup.cfg", "pyproject.toml"]
SOURCES += ["MANIFEST.in", "README.md", "LICENSE"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Path of the wheel, built without network, of a copy of the sources as they are."""
    folder = tmp_path_factory.mktemp("build")
    skipped = shutil.ignore_patterns(
        "__pycache__", "*.egg-info", "cca_small", "coarse_to_fine_small"
    )
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        options = {"ignore": skipped} if (ROOT / name).is_dir() else {}
        copy(ROOT / name, folder / name, **options)
    pip = [sys.executable, "-I", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder / "dist"]
    subprocess.run([*pip, "wheel", *options, folder], check=True, capture_output=True)
    (path,) = (folder / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Function that runs the installed `tfclic` with arguments, in a folder of its own."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-I", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    hidden = ("PYTHON", "TFCLIC", "TF_CPP")  # so that nothing of the checkout counts as installed
    environment = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    command = [*pip, "--python", python, "install", "--no-deps", "--no-index", wheel]
    subprocess.run(command, check=True, capture_output=True, cwd=folder, env=environment)
    # what tfclic needs is borrowed, so that nothing has to be fetched
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"])
    work = tmp_path_factory.mktemp("work")

    def run(*words, program=("-m", "tfclic.cli.programs")):
        start = [folder / "bin" / "tfclic"] if program is None else [python, *program]
        return subprocess.run(
            [*start, *words], cwd=work, env=environment, capture_output=True, text=True
        )

    run.folder = work
    return run


def test_a_wheel_has_what_programs_need_and_no_more(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "tfclic/py.typed",
        "tfclic/configs/gmm_attention_small.py",
        "tfclic/saved_models/gmm_attention_small/1/saved_model.pb",
        "tfclic/saved_models/gmm_attention_small/1/refinement/saved_model.pb",
        "tfclic/evaluation/report.html",
        "tfclic/serving/page.html",
        "tfclic/portable/runner/run.py",
    ):
        assert wanted in names
    tops = {name.split("/")[0] for name in names}
    assert tops == {"tfclic", next(top for top in tops if top.endswith(".dist-info"))}
    assert not [name for name in names if "__pycache__" in name or "cca_small/" in name]


def requirements(wheel, python):
    """Names of what a plain installation requires on a Python on Linux."""
    from packaging.requirements import Requirement

    archive = zipfile.ZipFile(wheel)
    (name,) = (each for each in archive.namelist() if each.endswith("/METADATA"))
    message = email.message_from_bytes(archive.read(name))
    here = {"python_version": python, "sys_platform": "linux", "platform_machine": "x86_64"}
    wanted = map(Requirement, message.get_all("Requires-Dist"))
    here["extra"] = ""
    return {each.name for each in wanted if not each.marker or each.marker.evaluate(here)}


@pytest.mark.parametrize("python", ["3.9", "3.10", "3.11", "3.12", "3.13"])
def test_each_python_gets_a_tensorflow_that_exists(wheel, python):
    found = requirements(wheel, python)
    is_newer = python in ("3.12", "3.13")
    older = {"tensorflow", "tensorflow-compression"}
    assert older & found == (set() if is_newer else older)
    assert ("tensorflow-cpu" in found) == is_newer
    assert {"numpy", "Pillow", "absl-py", "tqdm"} <= found
    assert not {"pytest", "matplotlib", "aiohttp", "ml_collections", "jax"} & found


def test_there_and_back_outside_of_the_checkout(installed, make_pixels):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    pixels = np.dstack([make_pixels(60, 80), make_pixels(60, 80, 1)])
    Image.fromarray(pixels).save(installed.folder / "photo.png", exif=exif)
    done = installed("compress", "photo.png", program=None)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout.startswith("photo.png -> photo.tfclic: 80x60, ")
    done = installed("decompress", "photo.tfclic", "-o", "back.png", program=None)
    assert (done.returncode, done.stderr) == (0, "")
    with Image.open(installed.folder / "back.png") as back:
        back.load()
        assert back.getexif()[0x010F] == "Maker"
        decoded = np.array(back)
    assert np.array_equal(decoded[..., 3], pixels[..., 3])
    assert np.abs(decoded.astype(int) - pixels)[..., :3].mean() < 8
    done = installed("compress", "missing.png", program=None)
    assert done.returncode == 3 and done.stderr.startswith("compress: missing.png ")


def test_lines_of_the_readme_run(installed, make_pixels):
    Image.fromarray(make_pixels(40, 50)).save(installed.folder / "photo.jpg")
    text = (ROOT / "README.md").read_text()
    (lines,) = re.findall(r"```python\n(import tfclic.pillow\n.*?)```", text, re.DOTALL)
    done = installed(program=("-c", lines.replace("effort=2", "effort=0") + "image.load()"))
    assert done.returncode == 0, done.stderr
    assert Image.open(installed.folder / "photo.jpg").size == (50, 40)


def test_all_modules_are_those_of_the_wheel(installed):
    program = (
        "import json, tfclic, tfclic.configuration as c; from tfclic.runtime import catalog; "
        "print(json.dumps([tfclic.__file__, str(c.FOLDER), str(catalog.find('gmm_attention_small')"
        ".path), sorted(p.stem for p in c.FOLDER.glob('*.py'))]))"
    )
    *places, configurations = json.loads(installed(program=("-c", program)).stdout)
    assert not [place for place in places if pathlib.Path(place).is_relative_to(ROOT)]
    assert configurations == sorted(path.stem for path in (ROOT / "configs").glob("*.py"))


WITHOUT_EXTRAS = """
import sys

for name in ("aiohttp", "apache_beam", "bjontegaard", "flip_evaluator", "grpc", "grpc_health",
             "imagecodecs", "imageio_ffmpeg", "jax", "matplotlib", "ml_collections", "pillow_heif",
             "piq", "plotly", "psnr_hvsm", "sewar", "tensorflow_datasets", "tensorflow_serving"):
    sys.modules[name] = None  # as if it were not installed
from tfclic.cli import programs

programs.main()
"""


@pytest.mark.parametrize("name", programs.PROGRAMS)
def test_every_program_helps_in_a_plain_installation(installed, name):
    done = installed(name, "--help", program=("-c", WITHOUT_EXTRAS))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: tfclic {name} ")


def test_the_command_helps_and_refuses(installed):
    done = installed("--help", program=None)
    assert done.returncode == 0
    assert all(f"\n  {name} " in done.stdout for name in programs.PROGRAMS)
    assert installed("--version").stdout.startswith("tfclic ")
    for words in ([], ["compres"]):
        done = installed(*words)
        assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1


def test_a_missing_extra_is_named(monkeypatch, capsys):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name}", name="ml_collections")

    monkeypatch.setattr(programs.importlib, "import_module", missing)
    monkeypatch.setattr(common, "PREFIX", "")
    with pytest.raises(SystemExit) as caught:
        programs.main(["tfclic", "train", "--help"])
    assert caught.value.code == 1
    told = capsys.readouterr().err
    assert (
        told == "tfclic train: ml_collections is missing; pip install 'tfclic[train]' brings it.\n"
    )


def test_extras_are_those_of_the_launchers():
    launcher = (ROOT / "bin" / "_launch.py").read_text()
    for name, program in programs.PROGRAMS.items():
        assert f'    "{name}": "{program.extra}",\n' in launcher
