"""What requests take of a server's memory, which `tfclic.serving.admission` estimates.

    python benchmarks/serving_memory.py MODEL ... [--kinds compress,decompress,...]
        [--sides 512x512,1024x1024,...]

MODELs are folders of exported models' versions. For each kind of request a server of its own is
asked one at a time, the smallest image first, and its memory is read each millisecond (Linux).
Columns: how much more of the address space, and of memory, it had at most than before the first of
them; the estimates of both. The exit status is 1 if one is too low.
"""

import argparse
import contextlib
import pathlib
import resource
import sys
import threading
import time

import numpy as np
from serving_load import NAME, Server, connected

from tfclic import images
from tfclic.format import header
from tfclic.serving import admission, tensors
from tfclic.serving.client import predict_request

SIDES = "512x512,1024x1024,2048x1024"
CELL = 8  # pixels, of one colour
QUALITY = np.float32([50])
# By kind: the signature, and the inputs beside the data.
KINDS = {
    "compress": ("compress", {}),
    "areas": ("compress", {"areas": [b"0,0,64,64:+20"]}),
    "effort": ("compress", {"efforts": np.int32([1])}),
    "decompress": ("decompress", {}),
    "scale": ("decompress", {"scales": np.float32([1 / 8])}),
    "info": ("info", {}),
    "heat_map": ("heat_map", {}),
}


def sizes(process):
    """Bytes of a process's address space, and of its memory."""
    pages = pathlib.Path(f"/proc/{process.pid}/statm").read_text().split()
    return np.array([int(each) for each in pages[:2]]) * resource.getpagesize()


@contextlib.contextmanager
def watched(process):
    """Yields an array that has become the most of `sizes` when the context is left."""
    most, going = sizes(process), threading.Event()

    def watch():
        while not going.wait(0.001):
            np.maximum(most, sizes(process), out=most)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        going.set()
        thread.join()


def noisy(width, height):
    """A PNG file of this size that is quick to make."""
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 255, [-(-height // CELL), -(-width // CELL), 3], np.uint8)
    pixels = cells.repeat(CELL, 0).repeat(CELL, 1)[:height, :width]
    return images.encode(pixels, "x.png")


def asked(stub, signature, inputs):
    """The first output of a good answer; raises RuntimeError if it is none."""
    answer = stub.Predict(predict_request(NAME, signature, inputs), timeout=600)
    outputs = {name: tensors.to_array(each) for name, each in answer.outputs.items()}
    if outputs["statuses"][0] != b"OK":
        raise RuntimeError(outputs["statuses"][0].decode())
    return outputs.get("files_bytes", [b""])[0]


def made_inputs(model, sides):
    """By name of the signature's input: a PNG or tfclic file of each size."""
    pngs = [noisy(*each) for each in sides]
    server = Server(model)
    try:
        with connected(server.port) as stub:
            files = [asked(stub, "compress", compression(png)) for png in pngs]
    finally:
        server.end()
    return {"images": pngs, "files": files}


def compression(png):
    return {"images": [png], "qualities": QUALITY}


def measured(model, kind, data, sides):
    """Prints the rows of a kind of request; returns how many estimates are too low."""
    signature, more = KINDS[kind]
    low = 0
    server = Server(model, "--max_effort", "9")
    try:
        with connected(server.port) as stub:
            before = sizes(server.process)
            for side, png, file in zip(sides, data["images"], data["files"]):
                own = compression(png) if signature == "compress" else {"files": [file]}
                inputs = {**own, **more}
                began = time.perf_counter()
                with watched(server.process) as most:
                    asked(stub, signature, inputs)
                seconds = time.perf_counter() - began
                taken, estimate = most - before, estimated(signature, inputs)
                low += bool((estimate < taken).any())
                cells = " | ".join(f"{each / (1 << 20):.0f}" for each in (*taken, *estimate))
                print(f"| {kind} | {side[0]}x{side[1]} | {cells} | {seconds:.1f} |", flush=True)
    finally:
        server.end()
    return low


def estimated(signature, inputs):
    """Bytes, as `sizes`, that the server would say."""
    request = predict_request(NAME, signature, inputs)
    arrays = {name: tensors.to_array(each) for name, each in request.inputs.items()}
    return np.array(admission.estimate(signature, arrays, header.DEFAULT_MAX_PIXELS))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", metavar="MODEL", nargs="+")
    parser.add_argument("--kinds", default=",".join(KINDS), help="default: %(default)s")
    parser.add_argument("--sides", default=SIDES, help="default: %(default)s")
    args = parser.parse_args()
    sides = [tuple(map(int, each.split("x"))) for each in args.sides.split(",")]
    low = 0
    for model in args.models:
        data = made_inputs(model, sides)
        print(f"\n{pathlib.Path(model).resolve().parent.name}, MiB:\n")
        print("| request | pixels | space | memory | space, estimated | memory, estimated | s |")
        print("|---|---|---|---|---|---|---|")
        low += sum(measured(model, kind, data, sides) for kind in args.kinds.split(","))
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
