"""A wheel of the package, installed outside of the checkout, does what the programs in bin/ do."""

import email
import io
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
import zipfile

import numpy as np
import pytest
from PIL import Image, ImageCms

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


def requirements(wheel, python, extra="", system="linux", machine="x86_64"):
    """Names of what an installation, a plain one or with an extra, requires."""
    from packaging.requirements import Requirement

    archive = zipfile.ZipFile(wheel)
    (name,) = (each for each in archive.namelist() if each.endswith("/METADATA"))
    message = email.message_from_bytes(archive.read(name))
    here = {"python_version": python, "sys_platform": system, "platform_machine": machine}
    wanted = map(Requirement, message.get_all("Requires-Dist"))
    here["extra"] = extra
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


@pytest.mark.parametrize("system, machine", [("linux", "aarch64"), ("darwin", "arm64")])
@pytest.mark.parametrize("python", ["3.9", "3.11", "3.13"])
def test_processors_without_tensorflow_compression_go_without(wheel, python, system, machine):
    found = requirements(wheel, python, system=system, machine=machine)
    assert "tensorflow" in found and not {"tensorflow-compression", "tensorflow-cpu"} & found


@pytest.mark.parametrize("extra", ["eval", "corpus", "corpus-dask", "serve", "tracing", "metrics"])
def test_extras_but_for_training_are_for_all_pythons(wheel, extra):
    pythons = ("3.9", "3.10", "3.11", "3.12", "3.13")
    plain, found = ([requirements(wheel, each, e) for each in pythons] for e in ("", extra))
    added = [names - beside for names, beside in zip(found, plain)]
    assert added[0] and all(names == added[0] for names in added)


def display_p3():
    """An ICC profile of Display P3: its primaries, its white as D50 has it, the curve of sRGB."""
    chromaticities = np.array([[0.680, 0.320], [0.265, 0.690], [0.150, 0.060], [0.3127, 0.3290]])
    points = np.column_stack([chromaticities, 1 - chromaticities.sum(1)]) / chromaticities[:, 1:]
    primaries, white, d50 = points[:3].T, points[3], np.array([0.9642, 1.0, 0.8249])
    cones = np.array(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
    )
    adapted = np.linalg.solve(cones, np.diag(cones @ d50 / (cones @ white)) @ cones)
    red, green, blue = (adapted @ (primaries * np.linalg.solve(primaries, white))).T

    def fixed(numbers):
        return np.round(65536 * np.asarray(numbers)).astype(">i4").tobytes()

    def text(words):
        record = struct.pack(">II4sII", 1, 12, b"enUS", 2 * len(words), 28)
        return b"mluc" + bytes(4) + record + words.encode("utf-16-be")

    curve = b"para" + struct.pack(">4xHH", 3, 0)
    curve += fixed([2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045])
    tags = {b"desc": text("Display P3"), b"cprt": text("Nobody's")}
    tags[b"chad"] = b"sf32" + bytes(4) + fixed(adapted.ravel())
    for name, colour in zip((b"wtpt", b"rXYZ", b"gXYZ", b"bXYZ"), (d50, red, green, blue)):
        tags[name] = b"XYZ " + bytes(4) + fixed(colour)
    tags.update(dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))
    place, table, data = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", place + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    kind = b"mntrRGB XYZ ", 2026, 1, 1, 0, 0, 0, b"acsp"
    size = place + len(data)
    start = struct.pack(">I4xI12s6H4s28x12s48x", size, 0x04200000, *kind, fixed(d50))
    return start + table + data


def test_the_profile_of_phones_is_that_of_display_p3():
    wide = ImageCms.ImageCmsProfile(io.BytesIO(display_p3()))
    red = Image.new("RGB", (1, 1), (255, 0, 0))
    found = ImageCms.profileToProfile(red, ImageCms.createProfile("sRGB"), wide)
    np.testing.assert_allclose(found.getpixel((0, 0)), (234, 51, 35), atol=1)


@pytest.fixture(scope="module")
def phone(installed, make_pixels):
    """What phone.jpg shows, uint8 [80, 60, 3]; it lies on its side and is in Display P3."""
    upright, exif = make_pixels(80, 60), Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    image = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))
    assert image.size == (80, 60)
    image.save(installed.folder / "phone.jpg", quality=95, exif=exif, icc_profile=display_p3())
    return upright


def assert_shows(path, upright):
    """An image file is upright, in Display P3 and by the maker, whoever looks at it."""
    with Image.open(path) as image:
        image.load()
        assert image.info["icc_profile"] == display_p3()
        assert image.getexif()[0x010F] == "Maker" and image.getexif().get(0x0112, 1) == 1
        found = np.array(image).astype(int)
    assert found.shape == upright.shape
    assert np.abs(found - upright).mean() < 8
    assert np.abs(found[::-1, ::-1] - upright).mean() > 20


def test_messages_name_programs_as_they_are_called_there(installed):
    code = "from tfclic.format import header; print(header.RANGE_CODED, *header.SENTENCES.values())"
    told = installed(code, program=("-c",)).stdout
    assert "`tfclic recode FILE --coder=interleaved`" in told
    assert "; tfclic serve and tfclic decompress do" in told and "bin/" not in told


def test_there_and_back_outside_of_the_checkout(installed, make_pixels, phone):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    pixels = np.dstack([make_pixels(60, 80), make_pixels(60, 80, 1)])
    Image.fromarray(pixels).save(installed.folder / "photo.png", exif=exif)
    done = installed("compress", "photo.png", "missing.png", "phone.jpg", program=None)
    assert done.returncode == 3 and done.stderr.startswith("tfclic compress: missing.png ")
    told = done.stdout.splitlines()
    assert told[0].startswith("photo.png -> photo.tfclic: 80x60, ")
    assert told[1].startswith("phone.jpg -> phone.tfclic: 60x80, ")
    words = "photo.tfclic", "phone.tfclic", "-o", "back"
    done = installed("decompress", *words, program=None)
    assert (done.returncode, done.stderr) == (0, "")
    with Image.open(installed.folder / "back" / "photo.png") as back:
        back.load()
        assert back.getexif()[0x010F] == "Maker"
        decoded = np.array(back)
    assert np.array_equal(decoded[..., 3], pixels[..., 3])
    assert np.abs(decoded.astype(int) - pixels)[..., :3].mean() < 8
    assert_shows(installed.folder / "back" / "phone.png", phone)
    done = installed("decompress", "phone.tfclic", "-o", "phone-back.jpg", program=None)
    assert (done.returncode, done.stderr) == (0, "")
    assert_shows(installed.folder / "phone-back.jpg", phone)


PILLOW = """
from PIL import ImageOps

with Image.open("phone.jpg") as phone:
    phone.save("on-its-side.tfclic", exif=phone.getexif())
    ImageOps.exif_transpose(phone, in_place=True)
    phone.save("upright.tfclic", exif=phone.getexif())
for name in ("on-its-side", "upright"):
    with Image.open(f"{name}.tfclic") as found:
        assert found.size == ((80, 60) if name == "on-its-side" else (60, 80))
        ImageOps.exif_transpose(found, in_place=True)
        kept = {"exif": found.getexif(), "icc_profile": found.info["icc_profile"]}
        for kind in ("png", "jpg"):
            found.save(f"{name}.{kind}", **kept)
"""


def test_lines_of_the_readme_run_and_phones_photos_go_through_pillow(installed, make_pixels, phone):
    Image.fromarray(make_pixels(40, 50)).save(installed.folder / "photo.jpg")
    text = (ROOT / "README.md").read_text()
    (lines,) = re.findall(r"```python\n(import tfclic.pillow\n.*?)```", text, re.DOTALL)
    program = lines.replace("effort=2", "effort=0") + "image.load()\n" + PILLOW
    done = installed(program=("-c", program))
    assert done.returncode == 0, done.stderr
    assert Image.open(installed.folder / "photo.jpg").size == (50, 40)
    for name in ("on-its-side.png", "on-its-side.jpg", "upright.png", "upright.jpg"):
        assert_shows(installed.folder / name, phone)


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
