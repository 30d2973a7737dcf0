"""A model in TensorFlow's own operations, as TensorFlow Serving's official server would run it.

    python benchmarks/serving_stock.py MODEL [--pythons PYTHON ...] [--files FILE ...]

That server is TensorFlow's C++ library with interfaces around it; release X.Y of it has TensorFlow
X.Y. So the graph is held against the operations, kernels and versions that such a library says it
has, and is then run by the library alone, in a process of its own (`library_alone.py`), as the
server would: by the tag `serve` and the options of its sessions; first the model's warm-up
requests, then each signature for servers with batches of one and several, good and bad, in JSON by
rows and by columns, and all other signatures; and it decodes the latents of files of the
interleaved coder, which are to be those that tfclic decodes. Each python is that of an environment
with TensorFlow, of any version; its packages are not imported.

Exit status: 0 if there are no faults, 1 otherwise.
"""

import argparse
import base64
import hashlib
import pathlib
import sys
import time

import numpy as np
import stock_graph
from stock_server import Alone, b64

from tfclic import images, runtime
from tfclic.format import header, interface, model, served
from tfclic.runtime import catalog, tiles
from tfclic.serving import protos, servable, tensors

SIDES = (64, 48), (70, 130), (33, 20)  # of the images that are sent
TILE = 64


class Trial:
    """Requests to a model, and what is wrong with the answers.

    Attributes:
      requests: their number.
      faults: list of sentences.
      signatures: set of names that were called.
    """

    def __init__(self, alone):
        self.alone, self.requests, self.faults, self.signatures = alone, 0, [], set()

    def expect(self, truth, sentence):
        if not truth:
            self.faults.append(sentence)

    def call(self, function, *arguments):
        """Calls an `interface.Function`."""
        self._note(function.name)
        given = function.takes(*arguments)._asdict()
        return function.results(self.alone.run(function.name, given))

    def rest(self, function, rows, *columns):
        """Calls a signature for servers with lists, in JSON; its outputs are lists by name."""
        self._note(function.name)
        names = function.takes._fields
        if not rows:
            body = {"inputs": dict(zip(names, columns))}
            return self.alone.rest({"signature_name": function.name, **body})["outputs"]
        body = {"instances": [dict(zip(names, row)) for row in zip(*columns)]}
        answers = self.alone.rest({"signature_name": function.name, **body})["predictions"]
        return {name: [each[name] for each in answers] for name in answers[0]}

    def _note(self, name):
        self.requests += 1
        self.signatures.add(name)

    def warm_up(self, path):
        """Replays the warm-up requests; returns the file that one of them made when recorded."""
        made = None
        records = list(servable._records(path / model.WARM_UP))
        self.expect(len(records) == len(served.SERVED), "there are no warm-up requests for each")
        for record in records:
            log = protos.prediction_log_pb2.PredictionLog.FromString(record).predict_log
            name = log.request.model_spec.signature_name
            given = {key: tensors.to_array(each) for key, each in log.request.inputs.items()}
            self._note(name)
            outputs = self.alone.run(name, given, list(log.request.output_filter))
            said = log.response.outputs["statuses"].string_val
            self.expect(outputs["statuses"].tolist() == list(said), f"warm-up of {name}")
            if name == served.COMPRESS.name:
                made = log.response.outputs["files_bytes"].string_val[0]
        return made

    def batches(self):
        """The signatures for servers, with good and bad elements; returns a file."""
        pictures = [made_image(*sides) for sides in SIDES]
        sent = [b64(images.encode(picture, "x.png")) for picture in pictures]
        for rows in (True, False):
            alone = self.rest(served.COMPRESS, rows, sent[:1], [50])
            # the last two are no image, and no quality
            both = [*sent, b64(b"GIF"), sent[0]], [50, 0, 100, 50, 101]
            several = self.rest(served.COMPRESS, rows, *both)
            files, statuses = several["files_bytes"], several["statuses"]
            self.expect(alone["files_bytes"][0] == files[0], "compress: a batch of one")
            self.expect(statuses[:3] == [served.GOOD] * 3, f"compress: {statuses[:3]}")
            self.expect(served.GOOD not in statuses[3:], f"compress: bad ones are {statuses[3:]}")
            self._files(rows, files[:3], pictures)
        return base64.b64decode(files[1]["b64"])

    def _files(self, rows, files, pictures):
        whole = base64.b64decode(files[0]["b64"])
        damaged = b64(whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:])
        wrong = [damaged, b64(range_coded(whole)), b64(whole[:-1])]
        for function in (served.DECOMPRESS, served.INFO, served.HEAT_MAP):
            found = self.rest(function, rows, [*files, *wrong])
            statuses, name = found["statuses"], function.name
            self.expect(statuses[:3] == [served.GOOD] * 3, f"{name}: {statuses[:3]}")
            is_info = function is served.INFO
            told = [header.SENTENCES[header.CORRUPTED], header.RANGE_CODED]
            told.append(header.SENTENCES[header.TRUNCATED])
            told[1] = served.GOOD if is_info else told[1]
            self.expect(statuses[3:] == told, f"{name}: bad ones are {statuses[3:]}")
            one = self.rest(function, rows, files[:1])
            same = all(one[key][0] == found[key][0] for key in found)
            self.expect(same, f"{name}: a batch of one")
            if function is served.DECOMPRESS:
                shown = [decoded(each) for each in found["images_bytes"][:3]]
                alike = [s.shape == p.shape for s, p in zip(shown, pictures)]
                self.expect(all(alike), "decompress: sizes")
            if is_info:
                sizes = list(zip(found["height"], found["width"]))[:3]
                self.expect(sizes == [each.shape[:2] for each in pictures], f"info: {sizes}")

    def parts(self):
        """All other functions, one by one, as `tfclic.runtime` calls them."""
        pixels = made_image(*SIDES[1])
        sides = [np.int32(side) for side in pixels.shape[:2]]
        plan = self.call(interface.PLAN, *sides, np.int32(TILE))
        latents = self.call(interface.ANALYSE, pixels).latents
        quality, strings_, coded, bits = np.float32(60), [], [], 0.0
        for box in plan.coded:
            coded.append(self.call(interface.QUANTISE, latents, quality, box))
            strings_.append(self.call(interface.WRITE, *coded[-1]).payload.item())
            bits += float(self.call(interface.ESTIMATE, *coded[-1]).bits)
            self.call(interface.STATISTICS, *coded[-1])
        payload, lengths = b"".join(strings_), np.array([*map(len, strings_)], np.int32)
        tile = plan.tile_width, plan.tile_height
        how = quality, np.bool_(False)
        packed = self.call(interface.PACK, payload, lengths, *sides[::-1], *tile, *how)
        data = packed.file.item()
        self.expect(abs(8 * len(payload) - bits) < 0.05 * bits + 8 * 24 * len(coded), "estimate")
        opened = self.call(interface.OPEN, data)
        self.expect(self.call(interface.HEADER, data).tiles == len(coded), "header")
        for i, wanted in enumerate(coded):
            found = self.latents(data, opened, i)
            self.expect(_equal(found, wanted), "read_interleaved: other latents")
            box = np.array([0, 0, 16, 16], np.int32)
            shown = self.call(interface.SYNTHESISE, *found, *how, box).image
            self.expect(shown.shape == (16, 16, 3), "synthesise")
            if interface.SYNTHESISE_BY_MAP.name in self.alone.graph.signature_def:
                codes = np.array([[header.quality_code(float(quality))]], np.int32)
                again = self.call(interface.QUANTISE_BY_MAP, latents, codes, plan.coded[i])
                self.expect(_equal(again, wanted), "quantise_by_map: other latents")
                again = self.call(interface.SYNTHESISE_BY_MAP, *found, codes, how[1], box).image
                self.expect(np.array_equal(again, shown), "synthesise_by_map: other pixels")
            if interface.CHOOSE.name in self.alone.graph.signature_def:
                self.choosing(latents, (quality, codes), plan.coded[i], (wanted, strings_[i]))

    def choosing(self, latents, qualities, box, written):
        """What rounds latents and tells what writing follows from, and what writes these."""
        wanted, string = written
        for function, how in zip((interface.CHOOSE, interface.CHOOSE_BY_MAP), qualities):
            found = self.call(function, latents, how, box)
            self.expect(_equal(found[:2], wanted), f"{function.name}: other latents")
            again = self.call(interface.WRITE_CHOSEN, *found[1:]).payload.item()
            self.expect(again == string, f"{function.name}, write_chosen: another string")

    def latents(self, data, opened=None, tile=0):
        """The `interface.Coded` of a tile of a file."""
        opened = opened or self.call(interface.OPEN, data)
        start, size = int(opened.starts[tile]), int(opened.lengths[tile])
        sides = opened.coded[tile][2:]
        return self.call(interface.READ_INTERLEAVED, data[start : start + size], *sides)


def _equal(found, wanted):
    return all(np.array_equal(a, b) for a, b in zip(found, wanted))


def made_image(height, width):
    """A smooth image."""
    rows, columns = np.mgrid[:height, :width] / 16
    waves = [np.sin(rows + shift) + np.cos(columns - shift) for shift in range(3)]
    return (127.5 + 15 * np.stack(waves, -1)).astype(np.uint8)


def decoded(told):
    """The pixels of a PNG in JSON."""
    import io

    from PIL import Image

    return np.array(Image.open(io.BytesIO(base64.b64decode(told["b64"]))))


def range_coded(data):
    """A sound file that says of its strings that they are the range coder's."""
    import tensorflow as tf

    known = header.parse(data)._replace(interleaved=False)
    return header.pack(known, lambda body: tf.fingerprint([body]).numpy()[0].tobytes())


def measure(python, path, known=None):
    """What a library makes of a model.

    Args:
      python: of the environment that has the library.
      path: pathlib.Path of the model.
      known: dict from files, bytes, to their latents.

    Returns:
      A dict; `faults` is a list of sentences.
    """
    from tensorflow.core.framework import kernel_def_pb2, op_def_pb2, versions_pb2

    with Alone(python, path) as alone:
        versions = alone.message("versions", versions_pb2.VersionDef)
        faults = stock_graph.faults(
            alone.graph,
            alone.message("operations", op_def_pb2.OpList),
            alone.message("kernels", kernel_def_pb2.KernelList),
            versions,
        )
        nodes = [node.op for node in stock_graph.all_nodes(alone.graph)]
        trial, began = Trial(alone), time.perf_counter()
        recorded = trial.warm_up(path)
        seconds = alone.seconds, time.perf_counter() - began
        trial.batches()
        trial.parts()
        latents = [array.tobytes() for array in trial.latents(recorded)] if recorded else []
        for data, wanted in (known or {}).items():
            found = tiles.decode_latents(trial.call, data)
            trial.expect(np.array_equal(found, wanted), "a file has other latents")
        left = sorted(set(alone.graph.signature_def) - trial.signatures)
        faults += [f"{name} was not called" for name in left if not name.startswith("__")]
        packages = {"tensorflow", "tensorflow_compression", "tfclic", "numpy"}
        faults += [f"{name} is imported" for name in packages & set(alone.told["packages"])]
    library = {each.signature.name for each in alone.graph.graph_def.library.function}
    return {
        "version": alone.told["version"],
        "consumer": versions.producer,
        "producer": alone.graph.graph_def.versions.producer,
        "least": alone.graph.graph_def.versions.min_consumer,
        "nodes": len(nodes),
        "operations": sorted(set(nodes) - library),
        "functions": len(library),
        "signatures": len(trial.signatures),
        "requests": trial.requests,
        "seconds": seconds,
        "latents": hashlib.sha256(b"".join(latents)).hexdigest()[:8],
        "faults": faults + trial.faults,
    }


def main():
    """Prints the table; returns the exit status."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("model", help="name or path of a model")
    parser.add_argument("--pythons", nargs="+", default=[sys.executable])
    parser.add_argument("--files", nargs="+", default=[])
    parser.add_argument("--operations", action="store_true", help="list the operations, too")
    args = parser.parse_args()
    found, files = (
        catalog.find(args.model),
        [pathlib.Path(path).read_bytes() for path in args.files],
    )
    codec = runtime.Codec(found, header.INTERLEAVED)
    known = {data: codec.decode_latents(data) for data in files}
    results = [measure(python, found.path, known) for python in args.pythons]
    first = results[0]
    print(
        f"{found}: {first['nodes']} nodes of {len(first['operations'])} operations, "
        f"{first['functions']} functions; graph version {first['producer']}, least {first['least']}"
    )
    if args.operations:
        print(" ".join(first["operations"]))
    print(
        "\n| TensorFlow's library | its graphs | signatures | requests | load, warm-up s | "
        "latents of the recorded file | faults |\n|---|---|---|---|---|---|---|"
    )
    for result in results:
        seconds = ", ".join(f"{each:.1f}" for each in result["seconds"])
        print(
            "| {version} | {consumer} | {signatures} | {requests} | {} | {latents} | {} |".format(
                seconds, len(result["faults"]), **result
            )
        )
    for result in results:
        for fault in result["faults"]:
            print(f"FAULT, {result['version']}: {fault}")
    differ = len({result["latents"] for result in results}) > 1
    return 1 if differ or any(result["faults"] for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
