"""A model with the interleaved coder in environments that have nothing but TensorFlow.

    python benchmarks/matrix.py MODEL --pythons PYTHON [...] --images FOLDER [--longest 768]

Each python is that of an environment of its own, with TensorFlow, numpy and Pillow, of whatever
versions. All encode the images at three qualities, all decode everybody's files, and refuse damaged
ones, through the package's runtime. The table says for each what it is, whether TensorFlow
Compression is there, how many of its files have other latents anywhere than those it encoded, how
many have other pixels, and how many damaged files it took. Other pixels are failures where the
model's synthesis computes in integers.

Exit status: 0 if nothing failed, 1 otherwise.
"""

import argparse
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
QUALITIES = 0, 50, 100
DAMAGED = 8  # copies of each file


def environment():
    """What this process has."""
    names = {each.metadata["Name"].replace("_", "-") for each in importlib.metadata.distributions()}
    installed = next(name for name in ("tensorflow", "tensorflow-cpu") if name in names)
    return {
        "python": platform.python_version(),
        "tensorflow": importlib.metadata.version(installed),
        "compression": any(
            importlib.util.find_spec(name) is not None
            for name in ("tensorflow_compression", "tensorflow_compression_ops")
        ),
    }


def encode(codec, images, folder, longest):
    """Encodes images; the digests of their latents and of their pixels by the files' paths."""
    import numpy as np
    from PIL import Image

    found = {}
    for number, image in enumerate(images):
        pixels = np.array(Image.open(image).convert("RGB"))[:longest, :longest]
        for quality in QUALITIES:
            known = codec.evaluate(pixels, quality)
            path = pathlib.Path(folder) / f"{number}-{quality}.tfclic"
            path.write_bytes(known["file"])
            found[str(path)] = digests(known["latents"], known["reconstruction"])
    return found


def decode(codec, files):
    """As `encode` of files that are there, and how many damaged copies were taken for files."""
    from tfclic import errors

    found, taken = {}, 0
    for path in files:
        data = pathlib.Path(path).read_bytes()
        found[path] = digests(codec.decode_latents(data), codec.decompress(data))
        for i in range(DAMAGED):
            place = len(data) * i // DAMAGED
            damaged = data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :]
            try:
                codec.decode_latents(damaged)
                taken += 1
            except errors.TfclicError:
                pass
    return found, taken


def digests(*arrays):
    return [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays]


def work(task):
    """What a process does: `task` is a dict with the model and either images or files."""
    sys.path.insert(0, str(ROOT))
    import tfclic
    from tfclic.format import header

    codec = tfclic.load(task["model"], header.INTERLEAVED)
    if "images" in task:
        return environment(), encode(codec, task["images"], task["folder"], task["longest"])
    return decode(codec, task["files"])


def run(python, task):
    """Runs `work(task)` with a python."""
    settings = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [python, __file__, "--task", json.dumps(task)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{python}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main():
    """Prints the table; returns the exit status."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("model", help="its name or folder")
    parser.add_argument("--pythons", nargs="+", required=True)
    parser.add_argument("--images", required=True)
    parser.add_argument("--number", type=int, default=3, help="of images (default: %(default)s)")
    parser.add_argument("--longest", type=int, default=768, help="side that is coded of each")
    args = parser.parse_args()
    images = sorted(map(str, pathlib.Path(args.images).iterdir()))
    images = images[:: max(1, len(images) // args.number)][: args.number]
    sys.path.insert(0, str(ROOT))
    from tfclic.runtime import catalog

    chosen = catalog.find(args.model)
    model = str(chosen.path.resolve())
    with tempfile.TemporaryDirectory() as folder:
        found, encoded = {}, {}
        for number, python in enumerate(args.pythons):
            own = pathlib.Path(folder) / str(number)
            own.mkdir()
            task = {"model": model, "images": images, "folder": str(own), "longest": args.longest}
            found[python], encoded[python] = run(python, task)
        known = {path: latents for each in encoded.values() for path, latents in each.items()}
        decoded = {each: run(each, {"model": model, "files": list(known)}) for each in args.pythons}
    is_exact = chosen.card.pixels is not None
    titles = "Python|TensorFlow|its compression|files|wrong elsewhere|other pixels|damage taken"
    print(f"| {titles.replace('|', ' | ')} |\n{'|---' * 7}|")
    failed = 0
    for python, what in found.items():
        wrong, pixels = (
            sum(
                each[path][which] != known[path][which]
                for path in encoded[python]
                for each, _ in decoded.values()
            )
            for which in (0, 1)
        )
        failed += wrong + decoded[python][1] + (pixels if is_exact else 0)
        has = "yes" if what["compression"] else "no"
        all_ = len(encoded[python]) * len(found)
        files = f"{len(encoded[python])} | {wrong} of {all_} | {pixels} of {all_}"
        taken = f"{decoded[python][1]} of {DAMAGED * len(known)}"
        print(f"| {what['python']} | {what['tensorflow']} | {has} | {files} | {taken} |")
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--task"]:
        print(json.dumps(work(json.loads(sys.argv[2]))))
    else:
        sys.exit(main())
