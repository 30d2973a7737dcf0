"""Every environment decodes what every other one encoded: the same latents, bit for bit.

    python benchmarks/portability.py --images FOLDER [--models NAME ...] [--coder NAME]

Each environment is a process of its own that encodes all images at all qualities, and another one
that decodes everybody's files. The table has a row per encoding environment and a column per
decoding one: files whose latents are not their encoder's, of all. Environments often make the same
file, byte for byte; then each decodes it once, and it counts for every pairing that it is part of.

Two more rows show that environments do differ: how many of an environment's files are not the
default environment's, and how many images have other pixels, of the default environment's files at
the middle quality. Of a model whose synthesis computes in integers all files are decoded to pixels,
and other ones are failures, too.

Exit status: 0 if nothing failed, 1 otherwise.
"""

import argparse
import concurrent.futures
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
BFLOAT16 = "bfloat16"  # transforms in bfloat16; in float32 everywhere else
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
    BFLOAT16: {},
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


def decode(codec, files, shown):
    """Decodes files: a dict from path to the digest of latents, or an error; of pixels in `shown`.

    Pixels cost more than latents, and prove nothing if they are made in floating point.
    """
    found = {}
    for path in files:
        data = pathlib.Path(path).read_bytes()
        try:
            found[path] = {"latents": digest(codec.decode_latents(data))}
            if path in shown:
                found[path]["pixels"] = digest(codec.decompress(data))
        except Exception as error:
            found[path] = {"error": str(error)}
    return found


def digest(array):
    return hashlib.sha256(array.tobytes()).hexdigest()


def work(task):
    """What a process does: `task` is a dict with the model and either jobs or files."""
    import tfclic

    codec = tfclic.load(task["model"], task["coder"])
    if "jobs" in task:
        return encode(codec, task["jobs"], task["folder"])
    return decode(codec, task["files"], task["shown"])


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


def measure(
    model,
    images,
    qualities,
    environments,
    pythons,
    report=lambda *_: None,
    at_once=1,
    coder=None,
    all_pixels=False,
):
    """All pairings of `environments` for one model.

    Args:
      model: path of an exported model.
      images: paths.
      qualities: numbers 0..100.
      environments: names; others are compared with the first one.
      pythons: dict of pythons for environments that need another than this one.
      report: called with a sentence now and then.
      at_once: how many environments run at the same time.
      coder: the name of that of the files; None: the model's.
      all_pixels: whether all files are decoded to pixels, not some of the first environment's.

    Returns:
      A dict: `failures[encoder][decoder]`, counts; `files`, per encoder, and `different_files`, of
      all; `other_files[encoder]` and, of `images`, which are files, `other_pixels[decoder]`.
    """
    jobs = [(str(image), quality) for image in images for quality in qualities]
    with tempfile.TemporaryDirectory() as folder:
        models = dict.fromkeys(environments, str(model))
        if BFLOAT16 in models:
            models[BFLOAT16] = in_bfloat16(model, pathlib.Path(folder, "model"))

        def encoded_by(name):
            target = pathlib.Path(folder, name)
            target.mkdir()
            report(f"{name} encodes {len(jobs)} files ...")
            task = {"model": models[name], "coder": coder, "jobs": jobs, "folder": str(target)}
            return in_environment(name, task, pythons)

        def decoded_by(name):
            report(f"{name} decodes {len(files)} different files ...")
            task = {"model": models[name], "coder": coder, "files": files, "shown": shown}
            results = in_environment(name, task, pythons)
            for message in {result["error"] for result in results.values() if "error" in result}:
                report(f"{name} fails: {message}")
            return results

        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            encoded = dict(zip(environments, pool.map(encoded_by, environments)))
            files = share_equal_files(encoded)
            reference = encoded[environments[0]]
            middle = qualities[len(qualities) // 2]
            shown = [reference[f"{image} {middle}"]["file"] for image in images]
            shown = files if all_pixels else shown
            decoded = dict(zip(environments, pool.map(decoded_by, environments)))
    return {
        "files": len(jobs),
        "different_files": len(files),
        "images": len(shown),
        **count_differences(encoded, decoded, environments, shown),
    }


def is_exact(model):
    """Whether the pixels of a `catalog.Model` are made in integers."""
    return model.card.pixels is not None


def in_bfloat16(model, folder):
    """The path of a copy of a model whose transforms compute in bfloat16."""
    import bfloat16_model

    if not bfloat16_model.convert(model, folder):
        raise RuntimeError(f"The model {model} has no convolutions to compute in bfloat16.")
    return str(folder)


def share_equal_files(encoded):
    """Makes environments that agree on a file name one path; returns the paths."""
    first = {}
    for made in encoded.values():
        for entry in made.values():
            content = pathlib.Path(entry["file"]).read_bytes()
            entry["file"] = first.setdefault(content, entry["file"])
    return sorted(first.values())


def count_differences(encoded, decoded, environments, shown):
    """What `measure` counts, of what processes found."""

    def failures(encoder, decoder):
        results = decoded[decoder]
        made = encoded[encoder].values()
        return sum(results[entry["file"]].get("latents") != entry["latents"] for entry in made)

    def other_files(name):
        return sum(
            entry["file"] != encoded[environments[0]][job]["file"]
            for job, entry in encoded[name].items()
        )

    def other_pixels(name):
        reference, results = decoded[environments[0]], decoded[name]
        return sum(results[path].get("pixels") != reference[path].get("pixels") for path in shown)

    return {
        "failures": {a: {b: failures(a, b) for b in environments} for a in environments},
        "other_files": {name: other_files(name) for name in environments},
        "other_pixels": {name: other_pixels(name) for name in environments},
    }


def table(found):
    """The result of `measure` as a Markdown table."""
    names = list(found["failures"])
    rows = [(name, found["failures"][name], found["files"]) for name in names]
    rows.append(("*other files*", found["other_files"], found["files"]))
    rows.append(("*other pixels*", found["other_pixels"], found["images"]))
    lines = [["encoded by \\ decoded by", *names], ["---"] * (len(names) + 1)]
    lines += [[title, *(f"{counts[name]}/{of}" for name in names)] for title, counts, of in rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


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
    parser.add_argument("--coder", help="of the files; default: the model's")
    parser.add_argument("--quick", action="store_true", help="three environments, two images")
    parser.add_argument("--without", nargs="*", default=[], help="environments to leave out")
    parser.add_argument("--at-once", type=int, default=1, help="environments at the same time")
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

    from tfclic.runtime import catalog

    names = [n for n in (QUICK if args.quick else ENVIRONMENTS) if n not in args.without]
    pythons = {NEWER: str(peers.newer_tensorflow_python(args.peers))} if NEWER in names else {}
    images = chosen_images(args.images, 1 if args.quick else args.each)
    results, other_pixels = {}, 0
    for model in [catalog.find(name) for name in args.models or []] or catalog.models():
        print(f"{model}: {len(images)} images, qualities {', '.join(map(str, QUALITIES))}")
        found = measure(
            model.path, images, QUALITIES, names, pythons,
            lambda line: print(line, file=sys.stderr, flush=True), args.at_once, args.coder,
            is_exact(model),
        )  # fmt: skip
        results[str(model)] = found
        other_pixels += sum(found["other_pixels"].values()) if is_exact(model) else 0
        print(table(found))
        print(f"Different files: {found['different_files']}", flush=True)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1) + "\n")
    failures = sum(sum(row.values()) for r in results.values() for row in r["failures"].values())
    return 1 if failures + other_pixels else 0


if __name__ == "__main__":
    sys.exit(main())
