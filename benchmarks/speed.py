"""Seconds to code one 768x512 image, against CompressAI on the same machine in the same run.

    python benchmarks/speed.py [--families NAME,...] [--small NAME|PATH,...] [--rounds 5]

All programs take turns, one encoding and one decoding each, arrays in and out; medians count, after
one round to warm up. Weights are random, but latents and their probabilities are like those of
trained models, so that every model but gmm_attention_small comes to about 0.5 bpp. Last, the parts
of tfclic's seconds. A small model may be compared with several widths. CompressAI gets an
environment of its own on the first run, which needs the network.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import peers
import speed_statistics as made

HERE = pathlib.Path(__file__).resolve().parent
OURS = "tfclic"
# what each system is compared with: of the same width first
PEERS = {
    "gmm_attention": ("cheng2020-attn", "bmshj2018-hyperprior"),
    "coarse_to_fine": ("mbt2018-mean",),
    "cca": ("han2024-cca",),  # see `speed_cca`
}
CONFIGURATIONS = {
    "gmm_attention": "gmm_attention",
    "coarse_to_fine": "coarse_to_fine_n192",
    "cca": "cca",
}
# widths of the peer for the trained small models, where its N of 192 is far wider
NARROW = {"coarse_to_fine": (64, 128)}
# the function that a model has of these
PARTS = {
    "analysis": ("analyse",),
    "hyper analysis, rounding": ("quantise", "choose"),
    "networks and writing": ("write", "write_chosen"),
    "reading and networks": ("read",),
    "synthesis": ("synthesise",),
}


class Side:
    """A process that codes the image once per line."""

    def __init__(self, python, script, verbose, **options):
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._process = subprocess.Popen(
            [str(python), str(HERE / script), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if verbose else subprocess.DEVNULL,
            env=environment,
            text=True,
        )

    def answer(self):
        """The process' next line, from JSON.

        Raises:
          RuntimeError: it has ended.
        """
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self._process.args)} failed; --verbose tells more.")
        return json.loads(line)

    def turn(self):
        """Codes once; returns what the process tells."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.answer()

    def close(self):
        self._process.communicate()


def start(args, folder):
    """Starts all sides: a dict from (model, N, program) to `Side`."""
    sides, python = {}, None if args.no_peer else peers.compressai_python(args.peer_env)

    def theirs(name, width):
        return Side(python, "speed_compressai.py", args.verbose, name=name, width=width)

    def ours(name, width, transforms):
        options = dict(name=name, width=width, folder=folder, transforms=transforms)
        maker = Side(sys.executable, "speed_ours.py", args.verbose, **options)
        path = maker.answer()
        maker.close()
        return Side(sys.executable, "speed_ours.py", args.verbose, model=path)

    for family in args.families:
        for width in args.widths:
            for transforms in args.transforms:
                program = OURS if len(args.transforms) == 1 else f"{OURS}, {transforms}"
                sides[family, width, program] = ours(CONFIGURATIONS[family], width, transforms)
            for name in PEERS[family] if python else ():
                sides[name, width, "CompressAI"] = theirs(name, width)
        for width in NARROW.get(family, ()) if python else ():
            name = PEERS[family][0]
            sides[name, width, "CompressAI"] = theirs(name, width)
    for name in args.small:
        sides[name, "", OURS] = Side(sys.executable, "speed_ours.py", args.verbose, model=name)
    return sides


def measure(sides, rounds):
    """Lets all sides take turns; a dict from their keys to a list of answers.

    Raises:
      RuntimeError: a process fails, or a made model's files have another size than wanted.
    """
    found = {key: [] for key in sides}
    for number in range(rounds + 1):
        for key, side in sides.items():
            result = side.turn()
            if not made.BPP[0] <= result["bpp"] <= made.BPP[1]:
                raise RuntimeError(f"{key} comes to {result['bpp']:.2f} bpp.")
            if number:
                found[key].append(result)
        print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
    return found


def medians(results, name):
    """Median seconds, on the clock and the processor's, of one figure of the answers."""
    return [statistics.median(result[name][i] for result in results) for i in (0, 1)]


def _peers(model, width):
    """The keys of what a model is compared with."""
    family = next((f for f in PEERS if model.startswith(f) or model in PEERS[f]), None)
    widths = [width] if width else NARROW.get(family, (192,))
    return [(name, n, "CompressAI") for name in PEERS.get(family, ())[:1] for n in widths]


def show(found):
    """Prints the table of totals, and that of parts."""
    print("| model | N | program | bpp | encode s | decode s | CPU s | times as fast |")
    print("|---|---|---|---|---|---|---|---|")
    for (model, width, program), results in found.items():
        encode, decode = medians(results, "encode"), medians(results, "decode")
        figures = f"{encode[0]:.2f} | {decode[0]:.2f} | {encode[1]:.2f}, {decode[1]:.2f}"
        ratios = []
        for peer in filter(found.get, _peers(model, width)):
            times = [medians(found[peer], name) for name in ("encode", "decode")]
            times = zip(times, (encode, decode))
            ratios.append(", ".join(f"{theirs[0] / own[0]:.1f}" for theirs, own in times))
        ratio = "; ".join(ratios)
        bpp = results[0]["bpp"]
        print(f"| {model} | {width} | {program} | {bpp:.2f} | {figures} | {ratio} |")
    ours = {key: results for key, results in found.items() if key[2].startswith(OURS)}
    titles = [" ".join(map(str, (*key[:2], key[2][len(OURS) + 2 :]))).strip() for key in ours]
    print("\n| part | " + " | ".join(titles) + " |")
    print("|---" * (len(ours) + 1) + "|")
    for title, functions in PARTS.items():
        cells = []
        for results in ours.values():
            (function,) = (each for each in functions if each in results[0]["parts"])
            wall, cpu = medians([result["parts"] for result in results], function)
            cells.append(f"{wall:.2f} ({cpu:.2f})")
        print(f"| {title} | " + " | ".join(cells) + " |")


def make_parser():
    """The program's argparse parser."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--rounds", type=int, default=5, help="turns that count")
    parser.add_argument(
        "--widths", type=lambda text: [int(n) for n in text.split(",")], default=[128, 192]
    )
    parser.add_argument(
        "--families",
        type=lambda text: list(filter(None, text.split(","))),
        default=["gmm_attention"],
        help="with commas, or none (''); there are: " + ", ".join(PEERS),
    )
    parser.add_argument(
        "--small",
        type=lambda text: list(filter(None, text.split(","))),
        default=["gmm_attention_small"],
        help="names or paths of trained small models, with commas",
    )
    parser.add_argument(
        "--transforms",
        type=lambda text: text.split(","),
        default=["float32"],
        help="of the made models, as for bin/export, with commas (default: float32)",
    )
    parser.add_argument("--no-peer", action="store_true", help="leave CompressAI out")
    parser.add_argument("--peer-env", metavar="DIR", help="where its environment is kept")
    parser.add_argument("--json", metavar="FILE", help="write all answers there too")
    parser.add_argument("--verbose", action="store_true", help="show what the processes say")
    return parser


def main():
    """Runs the benchmark."""
    args = make_parser().parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sides = start(args, folder)
        try:
            found = measure(sides, args.rounds)
        finally:
            for side in sides.values():
                side.close()
    show(found)
    if args.json:
        content = [{"key": key, "results": results} for key, results in found.items()]
        pathlib.Path(args.json).write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
