"""Every environment decodes what every other one encoded: the same latents, bit for bit.

    python benchmarks/portability.py --images FOLDER [--models NAME ...] [--json FILE]

Each environment is a process of its own that encodes all images at all qualities, and another one
that decodes everybody's files. The table has a row per encoding environment and a column per
decoding one: files that failed, of all. The last column shows that environments do differ: how many
of the decoded images have other pixels than the default environment's, from the same latents.

Exit status: 0 if nothing failed, 1 otherwise.
"""

import argparse
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

QUALITIES = (0, 50, 100)
NEWER = "TF 2.17"
ENVIRONMENTS = {
    "default": {},
    "no oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    "1 thread": dict.fromkeys(
        ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), "1"
    ),
    "2 threads": dict.fromkeys(
        ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), "2"
    ),
    "SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "AVX-512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "BF16 maths": {"ONEDNN_DEFAULT_FPMATH_MODE": "BF16"},
    "XLA": {"TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit"},
    NEWER: {},
}
QUICK = ("default", "no oneDNN", "SSE4.1")


def encode(codec, jobs, folder):
    """Encodes images: a dict from job to the file's path and its encoder's latents' digest."""
    import numpy as np
    from PIL import Image

    found = {}
    for number, (image, quality) in enumerate(jobs):
        known = codec.evaluate(np.array(Image.open(image).convert("RGB")), quality)
        path = pathlib.Path(folder) / f"{number}.tfclic"
        path.write_bytes(known["file"])
        found[f"{image} {quality}"] = {"file": str(path), "latents": digest(known["latents"])}
    return found


def decode(codec, files):
    """Decodes files: a dict from path to the digests of latents and pixels, or an error."""
    found = {}
    for path in files:
        data = pathlib.Path(path).read_bytes()
        try:
            latents, pixels = codec.decode_latents(data), codec.decompress(data)
            found[path] = {"latents": digest(latents), "pixels": digest(pixels)}
        except Exception as error:
            found[path] = {"error": str(error)}
    return found


def digest(array):
    return hashlib.sha256(array.tobytes()).hexdigest()


def work(task):
    """What a process does: `task` is a dict with the model and either jobs or files."""
    import tfclic

    codec = tfclic.load(task["model"])
    if "jobs" in task:
        return encode(codec, task["jobs"], task["folder"])
    return decode(codec, task["files"])


def in_environment(name, task, pythons):
    """Runs `work(task)` in a process of the environment `name`."""
    settings = {"TF_CPP_MIN_LOG_LEVEL": "3", **ENVIRONMENTS[name]}
    inherited = {key: value for key, value in os.environ.items() if not _sets(key)}
    done = subprocess.run(
        [pythons.get(name, sys.executable), __file__, "--work"],
        input=json.dumps(task),
        env={**inherited, **settings},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"The environment {name} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def _sets(key):
    return any(key in settings for settings in ENVIRONMENTS.values()) or key == "PYTHONPATH"


def measure(model, images, qualities, environments, pythons, report=lambda *_: None):
    """All pairings of `environments` for one model.

    Args:
      model: path or name of an exported model.
      images: paths.
      qualities: numbers 0..100.
      environments: names.
      pythons: dict of pythons for environments that need another than this one.
      report: called with a sentence now and then.

    Returns:
      A dict: `failures[encoder][decoder]`, counts; `files`, per encoder; `other_pixels[decoder]`.
    """
    jobs = [(str(image), quality) for image in images for quality in qualities]
    with tempfile.TemporaryDirectory() as folder:
        encoded = {}
        for number, name in enumerate(environments):
            report(f"{name} encodes {len(jobs)} files ...")
            target = pathlib.Path(folder, str(number))
            target.mkdir()
            task = {"model": str(model), "jobs": jobs, "folder": str(target)}
            encoded[name] = in_environment(name, task, pythons)
        # environments that agree on a file share it
        first = {}
        for made in encoded.values():
            for entry in made.values():
                content = pathlib.Path(entry["file"]).read_bytes()
                entry["file"] = first.setdefault(content, entry["file"])
        files = sorted(first.values())
        decoded = {}
        for name in environments:
            report(f"{name} decodes {len(files)} different files ...")
            decoded[name] = in_environment(name, {"model": str(model), "files": files}, pythons)

    def failed(entry, result):
        return result.get("latents") != entry["latents"]

    reference = decoded[environments[0]]
    return {
        "files": len(jobs),
        "different_files": len(files),
        "failures": {
            encoder: {
                decoder: sum(
                    failed(entry, decoded[decoder][entry["file"]])
                    for entry in encoded[encoder].values()
                )
                for decoder in environments
            }
            for encoder in environments
        },
        "other_pixels": {
            name: sum(decoded[name][f].get("pixels") != reference[f].get("pixels") for f in files)
            for name in environments
        },
    }


def table(found):
    """The result of `measure` as a Markdown table."""
    names = list(found["failures"])
    lines = [
        "| encoded by \\ decoded by | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for encoder in names:
        cells = [f"{found['failures'][encoder][name]}/{found['files']}" for name in names]
        lines.append(f"| {encoder} | " + " | ".join(cells) + " |")
    pixels = [f"{found['other_pixels'][name]}/{found['different_files']}" for name in names]
    lines.append("| *images with other pixels* | " + " | ".join(pixels) + " |")
    return "\n".join(lines)


def chosen_images(folder, each):
    """Up to `each` landscape and `each` portrait images of a folder, by name."""
    from PIL import Image

    known = Image.registered_extensions()
    found = {True: [], False: []}
    for path in sorted(pathlib.Path(folder).iterdir()):
        if path.suffix.lower() in known:
            with Image.open(path) as image:
                found[image.width >= image.height].append(path)
    return found[True][:each] + found[False][:each]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", help="folder; some landscape and portrait ones are taken")
    parser.add_argument("--each", type=int, default=4, help="of each kind (default: %(default)s)")
    parser.add_argument("--models", nargs="*", help="default: all in saved_models/")
    parser.add_argument("--quick", action="store_true", help="three environments, two images")
    parser.add_argument("--without", nargs="*", default=[], help="environments to leave out")
    parser.add_argument("--peers", help="folder for the environment with TensorFlow 2.17")
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        print(json.dumps(work(json.load(sys.stdin))))
        return 0
    if not args.images:
        parser.error("--images is needed")

    import peers

    from tfclic.codec import catalog

    names = [n for n in (QUICK if args.quick else ENVIRONMENTS) if n not in args.without]
    pythons = {NEWER: str(peers.newer_tensorflow_python(args.peers))} if NEWER in names else {}
    images = chosen_images(args.images, 1 if args.quick else args.each)
    results = {}
    for model in [catalog.find(name) for name in args.models or []] or catalog.models():
        print(f"{model}: {len(images)} images, qualities {', '.join(map(str, QUALITIES))}")
        found = measure(
            model.path, images, QUALITIES, names, pythons,
            lambda line: print(line, file=sys.stderr, flush=True),
        )  # fmt: skip
        results[str(model)] = found
        print(table(found), flush=True)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1) + "\n")
    failures = sum(sum(row.values()) for r in results.values() for row in r["failures"].values())
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
