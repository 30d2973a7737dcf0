"""Virtual environments in which benchmarks run other projects, made on first use.

    python benchmarks/peers.py [FOLDER]

makes the one with CompressAI and prints its python.
"""

import os
import pathlib
import shutil
import subprocess
import sys
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
CHECK = "import torch, compressai.zoo"


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
    target = pathlib.Path(folder or default_folder()) / "compressai"
    python = target / "bin" / "python"
    if _works(python):
        return python
    shutil.rmtree(target, ignore_errors=True)
    venv.create(target, with_pip=True)
    install = [str(python), "-m", "pip", "install", "--quiet"]
    _run([*install, TORCH, *REQUIREMENTS])
    _run([*install, "--no-deps", COMPRESSAI])
    packages = next(target.glob("lib/python*/site-packages"))
    for name, content in STUBS.items():
        path = packages / name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
    if not _works(python):
        raise RuntimeError(f"CompressAI does not work in {target}: {_complaint(python)}")
    return python


def _works(python):
    if not python.exists():
        return False
    return subprocess.run([python, "-c", CHECK], capture_output=True).returncode == 0


def _complaint(python):
    return subprocess.run([python, "-c", CHECK], capture_output=True, text=True).stderr[-1000:]


def _run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-1000:]}")


if __name__ == "__main__":
    print(compressai_python(*sys.argv[1:2]))
