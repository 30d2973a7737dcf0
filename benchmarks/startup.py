"""What one image costs as a whole process: wall time and peak memory, start-up included.

    python benchmarks/startup.py IMAGE [--rounds 5] [--peer]

Runs `bin/compress` and `bin/decompress`, and beside them `cwebp` and `dwebp` where they are
installed and, with --peer, CompressAI's cheng2020-attn of N = 128 (random weights: its time counts,
not its file). The commands take turns; medians are printed.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import peers

ROOT = pathlib.Path(__file__).resolve().parents[1]
COMPRESSAI = """
import sys, numpy, torch
from PIL import Image
from compressai.zoo import cheng2020_attn
net = cheng2020_attn(1, pretrained=False).eval()
net.update()
x = torch.tensor(numpy.array(Image.open(sys.argv[1]).convert("RGB")) / 255.0).float()
with torch.no_grad():
    net.compress(x.permute(2, 0, 1)[None])
"""


def timed(command):
    """Runs a command: (seconds, peak memory in MiB).

    Raises:
      RuntimeError: it fails.
    """
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    complaint = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.stderr.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} failed: {complaint.decode()[-1000:]}")
    return seconds, usage.ru_maxrss / (1 << (20 if sys.platform == "darwin" else 10))


def commands(image, folder, peer):
    """The commands that are compared, by name; each can be repeated."""
    coded, decoded = folder / "image.tfclic", folder / "image.png"
    found = {
        "bin/compress": [ROOT / "bin/compress", image, "-o", coded, "--force"],
        "bin/decompress": [ROOT / "bin/decompress", coded, "-o", decoded, "--force"],
    }
    if shutil.which("cwebp") and shutil.which("dwebp"):
        webp = folder / "image.webp"
        found["cwebp"] = ["cwebp", "-quiet", image, "-o", webp]
        found["dwebp"] = ["dwebp", "-quiet", webp, "-o", folder / "webp.png"]
    if peer:
        found["CompressAI compress"] = [peers.compressai_python(), "-c", COMPRESSAI, image]
    return {name: [str(word) for word in words] for name, words in found.items()}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", action="store_true", help="CompressAI too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compared = commands(args.image, pathlib.Path(folder), args.peer)
        measured = {name: [] for name in compared}
        for _ in range(args.rounds):
            for name, command in compared.items():
                measured[name].append(timed(command))
    print("| process | seconds | peak memory (MiB) |\n|---|---|---|")
    for name, runs in measured.items():
        seconds, memory = (statistics.median(values) for values in zip(*runs))
        print(f"| {name} | {seconds:.2f} | {memory:.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
