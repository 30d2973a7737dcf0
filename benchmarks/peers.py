"""Virtual environments in which benchmarks run other projects, made on first use.

    python benchmarks/peers.py [FOLDER]

makes the one with CompressAI and prints its python.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import venv

TORCH = "torch==2.13.0"
COMPRESSAI = "compressai==1.2.8"
# what CompressAI imports, less torchvision and pandas: its own list asks for gigabytes
REQUIREMENTS = (
    "numpy>=1.21,<2",
    "scipy",
    "einops",
    "matplotlib",
    "pytorch-msssim",
    "requests",
    "torch-geometric>=2.3",
    "tqdm",
    "Pillow",
    "setuptools",
)
# CompressAI's registry lists the functions of both modules; models use none of them.
STUBS = {
    "torchvision/__init__.py": "",
    "torchvision/transforms.py": "",
    "pandas/__init__.py": "",
}
TENSORFLOW = ("tensorflow-cpu==2.17.1", "tensorflow-compression-ops==2.17.0", "numpy<2", "Pillow")


def default_folder():
    """The folder for peers' environments: `tfclic/peers` in the user's cache directory."""
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(cache) / "tfclic" / "peers"


def compressai_python(folder=None):
    """Makes an environment with CompressAI and torch for the CPU, unless it is there.

    The first call takes minutes and the network; later ones a few seconds and neither.

    Args:
      folder: where environments are kept; `default_folder()` if None.

    Returns:
      pathlib.Path of a python that imports `compressai` and `torch`.

    Raises:
      RuntimeError: it cannot be made; the message ends with what the installer said.
    """

    def fill(target, install):
        _run([*install, TORCH, *REQUIREMENTS])
        _run([*install, "--no-deps", COMPRESSAI])
        packages = next(target.glob("lib/python*/site-packages"))
        for name, content in STUBS.items():
            path = packages / name
            if not path.exists():
                path.parent.mkdir(exist_ok=True)
                path.write_text(content)

    return _python(folder, "compressai", "import torch, compressai.zoo", fill)


def newer_tensorflow_python(folder=None):
    """As `compressai_python`, with TensorFlow 2.17 and the ops of TensorFlow Compression alone."""
    check = "import importlib.util as u; assert u.find_spec('tensorflow_compression_ops')"

    def fill(_, install):
        _run([*install, *TENSORFLOW])

    return _python(folder, "tensorflow-2.17", check, fill)


def _python(folder, name, check, fill):
    target = pathlib.Path(folder or default_folder()) / name
    python = target / "bin" / "python"
    if _complaint(python, check) is None:
        return python
    shutil.rmtree(target, ignore_errors=True)
    venv.create(target, with_pip=True)
    fill(target, [str(python), "-m", "pip", "install", "--quiet"])
    complaint = _complaint(python, check)
    if complaint is not None:
        raise RuntimeError(f"The environment {target} does not work: {complaint}")
    return python


def _complaint(python, check):
    """None if `python` is there and passes `check`, else what it says."""
    if not python.exists():
        return "there is no python"
    done = subprocess.run([python, "-c", check], capture_output=True, text=True)
    return done.stderr[-1000:] if done.returncode else None


def _run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-1000:]}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", metavar="FOLDER", nargs="?", help=f"default: {default_folder()}")
    print(compressai_python(parser.parse_args().folder))


if __name__ == "__main__":
    main()
