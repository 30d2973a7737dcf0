"""Files that were made on some machine once, and that every machine has to decode alike.

    python benchmarks/vectors.py            # decodes all of them, with the shipped models
    python benchmarks/vectors.py --write    # adds this machine's

tests/vectors/ holds them, with the digests of their encoders' latents in vectors.json, and of the
pixels, where a model makes these in integers. Images are made here: a smooth one with some texture,
as a whole, in tiles, and large. The table says for each machine and model how many files have the
latents, and the pixels, that they had where they were encoded.

Exit status: 0 if all do, 1 otherwise.
"""

import argparse
import collections
import hashlib
import json
import pathlib
import platform
import re
import sys

import numpy as np

import tfclic
from tfclic import errors, runtime
from tfclic.runtime import catalog

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDER = ROOT / "tests" / "vectors"
LIST = "vectors.json"
# flags of Linux' list, the widest first
VECTORS = {"amx_tile": "AMX", "avx512f": "AVX-512", "avx2": "AVX2", "sse4_1": "SSE4.1"}
SMALL, LARGE = (119, 173), (520, 512)  # the larger one's files say which channels they have
CASES = {
    "whole": (SMALL, dict(quality=80)),
    "tiles": (SMALL, dict(quality=25, tile=64)),
    "large": (LARGE, dict(quality=10)),
}


def image(height, width):
    """uint8 `[height, width, 3]`, the same on every machine: from integers alone."""
    rows, columns = np.mgrid[:height, :width].astype(np.int64)
    wave = (rows * rows // 29 + columns * rows // 17 + columns * columns // 41) % 512
    wave = np.where(wave < 256, wave, 511 - wave)
    smooth = [wave, 255 - wave // 2, (rows + 2 * columns) % 256]
    texture = (rows * 7919 + columns * 104729 + rows * columns * 31) % 37
    return np.clip(np.stack(smooth, -1) * 3 // 4 + texture[..., None], 0, 255).astype(np.uint8)


def digest(latents):
    """Of int16 or uint8 `[h, w, C]`."""
    shaped = f"{latents.shape} ".encode() + latents.astype("<i2").tobytes()
    return hashlib.sha256(shaped).hexdigest()


def machine():
    """The processor, the widest vectors that it has, and the library."""
    import tensorflow as tf

    info = pathlib.Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    name = found[1] if found else platform.processor() or platform.machine()
    widest = [words for flag, words in VECTORS.items() if re.search(rf"\b{flag}\b", text)]
    return ", ".join([name, *widest[:1], f"TensorFlow {tf.__version__}"])


def known(folder=FOLDER):
    """The list: dicts of name and fingerprint of the model, machine, file and latents' digest."""
    path = folder / LIST
    return json.loads(path.read_text()) if path.exists() else []


def shipped():
    """The models in saved_models/, a list of `catalog.Model`."""
    return [model for model in catalog.models() if catalog.SAVED_MODELS in model.path.parents]


def write(models, folder=FOLDER):
    """Adds this machine's files of `models`, a list of `catalog.Model`.

    What it made before of a model of these names is replaced, and so is what belongs to no model.
    """
    here, folder = machine(), pathlib.Path(folder)
    fingerprints, names = ({getattr(m, key) for m in models} for key in ("fingerprint", "name"))
    folder.mkdir(exist_ok=True)
    kept = [
        entry
        for entry in known(folder)
        if entry["fingerprint"] in fingerprints
        and not (entry["machine"] == here and entry["name"] in names)
    ]
    label = hashlib.sha256(here.encode()).hexdigest()[:6]
    for model in models:
        codec = tfclic.load(model.path)
        for case, (size, arguments) in CASES.items():
            found = codec.evaluate(image(*size), **arguments)
            file = f"{model.name}-{case}-{label}.tfclic"
            (folder / file).write_bytes(found["file"])
            entry = dict(name=model.name, fingerprint=model.fingerprint, machine=here, file=file)
            entry["latents"] = digest(found["latents"])
            if model.card.pixels:
                entry["synthesis"] = model.card.pixels
                entry["pixels"] = digest(codec.decompress(found["file"]))
            kept.append(entry)
    for path in set(folder.glob("*.tfclic")) - {folder / entry["file"] for entry in kept}:
        path.unlink()
    (folder / LIST).write_text(json.dumps(kept, indent=1) + "\n")


def check(folder=FOLDER):
    """Decodes everything: a list of pairs, the entry and whether it is as where it was encoded.

    That is said of latents, and of pixels where the model makes them in the same integers as then.
    """
    library, found = runtime.Library(), []
    for entry in known(folder):
        data = (folder / entry["file"]).read_bytes()
        try:
            codec = library.codec_of(data)
            agrees = digest(codec.decode_latents(data)) == entry["latents"]
            if "pixels" in entry and codec.model.card.pixels == entry["synthesis"]:
                agrees &= digest(codec.decompress(data)) == entry["pixels"]
        except errors.TfclicError as error:
            print(f"{entry['file']}: {error}", file=sys.stderr)
            agrees = False
        found.append((entry, agrees))
    return found


def main(argv=None):
    """Runs the program; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="add this machine's files")
    if parser.parse_args(argv).write:
        write(shipped())
    counts = collections.defaultdict(list)
    for entry, agrees in check():
        counts[entry["name"], entry["machine"]].append(agrees)
    print(f"Here: {machine()}\n\n| model | encoded on | the same here |\n|---|---|---|")
    for (name, maker), agreeing in counts.items():
        print(f"| {name} | {maker} | {sum(agreeing)} of {len(agreeing)} |")
    return 0 if counts and all(map(all, counts.values())) else 1


if __name__ == "__main__":
    sys.exit(main())
