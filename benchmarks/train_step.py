"""Speed of a training step, against CompressAI on the same machine in the same run.

    python benchmarks/train_step.py [--widths 64,128,192] [--json FILE]

For each width N, gmm_attention and CompressAI's cheng2020-attn take turns, one step each, and the
medians count. Operations are counted on gmm_attention's graph, and the same count stands for both:
two for each multiplication of convolutions and matrix products, forward and backward. (CompressAI's
network has a single Gaussian and computes the context's masked taps too.) Last comes
gmm_attention_small as it is shipped, against nothing. CompressAI gets an environment of its own on
the first run, which needs the network.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

import peers

HERE = pathlib.Path(__file__).resolve().parent
OURS = "float32", "bfloat16"
THEIRS = "float32", "float32 channels_last", "bfloat16", "bfloat16 channels_last"


class Side:
    """A process that trains; `step(variant)` does one step and returns its seconds."""

    def __init__(self, python, script, **options):
        self.variants = options["variants"]
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._process = subprocess.Popen(
            [str(python), str(HERE / script), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if options.get("verbose") else subprocess.DEVNULL,
            env=environment,
            text=True,
        )
        self.facts = self.answer()

    def answer(self):
        """The next line of the process, from JSON."""
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self._process.args[1]} ended early; --verbose shows what it said.")
        return json.loads(line)

    def step(self, variant):
        self._process.stdin.write(variant + "\n")
        self._process.stdin.flush()
        return self.answer()

    def close(self):
        self._process.stdin.close()
        self._process.wait()


def measure(sides, rounds, patience):
    """Lets all variants of all sides take turns.

    Returns:
      Dict from (side, variant) to a list of seconds: `rounds` steps after one to warm up, or that
      one alone if it took longer than `patience` seconds.
    """
    turns = [(name, variant) for name, side in sides.items() for variant in side.variants]
    first = {turn: sides[turn[0]].step(turn[1]) for turn in turns}
    seconds = {turn: [first[turn]] if first[turn] > patience else [] for turn in turns}
    for _ in range(rounds):
        for name, variant in turns:
            if first[name, variant] <= patience:
                seconds[name, variant].append(sides[name].step(variant))
    return seconds


def compare(model, width, args, peer):
    """Measures one model, against CompressAI's if `peer` is its python; returns (rows, facts)."""
    size = args.size if width else 128
    options = dict(width=width, batch=args.batch, size=size, verbose=args.verbose)
    sides = {
        "tfclic": Side(
            sys.executable,
            "train_step_ours.py",
            name=model,
            variants=args.precisions,
            profile=False,
            **options,
        )
    }
    if peer:
        variants = [v for v in THEIRS if v.split()[0] in args.precisions]
        sides["CompressAI"] = Side(peer, "train_step_compressai.py", variants=variants, **options)
    facts = sides["tfclic"].facts
    seconds = measure(sides, args.rounds, args.patience)
    for side in sides.values():
        side.close()
    rows = []
    for (side, variant), times in seconds.items():
        median = statistics.median(times)
        rows.append(
            {
                "model": f"N = {width}" if width else model,
                "size": size,
                "side": side,
                "variant": variant,
                "seconds": [round(t, 4) for t in times],
                "images_per_second": round(args.batch / median, 3),
                "tflops": round(facts["flops"] / median / 1e12, 4),
            }
        )
    return rows, facts


def show(rows, batch):
    """Prints a table of rows, and how the best of both sides compare."""
    for row in rows:
        median = statistics.median(row["seconds"])
        print(
            f"| {row['model']} | {batch} x {row['size']} | {row['side']} | {row['variant']} | "
            f"{median:.2f} | {row['images_per_second']:.2f} | {row['tflops']:.3f} |",
            flush=True,
        )
    best = {}
    for row in rows:
        best[row["side"]] = max(best.get(row["side"], 0), row["images_per_second"])
    if len(best) == 2:
        ratio = best["tfclic"] / best["CompressAI"]
        print(f"| | | best against best | | | {ratio:.2f} times | |", flush=True)


def print_profile(args):
    """Prints where the time of one step goes, by kind of operation."""
    width = 0 if args.small_only else args.widths[0]
    side = Side(
        sys.executable,
        "train_step_ours.py",
        name="gmm_attention" if width else "gmm_attention_small",
        width=width,
        batch=args.batch,
        size=args.size if width else 128,
        variants=args.precisions[:1],
        profile=True,
        verbose=args.verbose,
    )
    table = side.answer()
    side.close()
    total = sum(milliseconds for _, _, milliseconds in table)
    print(f"{side.facts['hardware']}, {args.precisions[0]}, {side.facts['flops'] / 1e9:.1f} GFLOP")
    print("| operation | calls | ms | share |\n|---|---|---|---|")
    for kind, calls, milliseconds in table[:25]:
        print(f"| {kind} | {calls} | {milliseconds:.1f} | {milliseconds / total:.1%} |")


def _words(text):
    return text.split(",")


def _numbers(text):
    return [int(n) for n in text.split(",") if n]


def make_parser():
    """The program's argparse parser."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--widths", type=_numbers, default=[64, 128, 192], metavar="N,...")
    parser.add_argument("--size", type=int, default=256, help="side of the crops, in pixels")
    parser.add_argument("--batch", type=int, default=8, help="images per step")
    parser.add_argument("--rounds", type=int, default=5, help="steps that count")
    parser.add_argument("--precisions", type=_words, default=list(OURS), metavar="NAME,...")
    parser.add_argument(
        "--patience",
        type=float,
        default=60,
        metavar="SECONDS",
        help="a variant whose first step takes longer is measured by that step alone",
    )
    parser.add_argument("--small-only", action="store_true", help="gmm_attention_small alone")
    parser.add_argument("--no-peer", action="store_true", help="leave CompressAI out")
    parser.add_argument("--peer-env", metavar="DIR", help="where its environment is kept")
    parser.add_argument("--quick", action="store_true", help="N = 64, small crops, two rounds")
    parser.add_argument("--profile", action="store_true", help="where a step's time goes; no race")
    parser.add_argument("--json", metavar="FILE", help="write the result there too")
    parser.add_argument("--verbose", action="store_true", help="show what the processes say")
    return parser


def main():
    """Runs the benchmark."""
    args = make_parser().parse_args()
    if args.quick:
        args.widths, args.size, args.batch, args.rounds = [64], 64, 2, 2
    if args.profile:
        return print_profile(args)
    peer = None if args.no_peer or args.small_only else peers.compressai_python(args.peer_env)
    jobs = [] if args.small_only else [("gmm_attention", width) for width in args.widths]
    rows, facts = [], {}
    for i, (model, width) in enumerate([*jobs, ("gmm_attention_small", 0)]):
        found, facts = compare(model, width, args, peer if width else None)
        if i == 0:
            print(f"{facts['hardware']}, {'with' if facts['amx'] else 'without'} AMX")
            print("| model | batch | trained by | | seconds | images/s | TFLOP/s |")
            print("|---|---|---|---|---|---|---|")
        show(found, args.batch)
        rows += found
    if args.json:
        content = {"hardware": facts["hardware"], "amx": facts["amx"], "rows": rows}
        pathlib.Path(args.json).write_text(json.dumps(content, indent=1) + "\n")
    return None


if __name__ == "__main__":
    main()
