"""Speed of a training step, against CompressAI on the same machine in the same run.

    python benchmarks/train_step.py [--widths 64,128,192] [--json FILE]

For each width N, gmm_attention and CompressAI's cheng2020-attn take turns, one step each, and the
medians count; on a machine with other work, the processor's seconds are the steadier measure.
Operations are counted on gmm_attention's graph, and the same count stands for both: two for each
multiplication of convolutions and matrix products, forward and backward. (CompressAI's network has
a single Gaussian and computes the context's masked taps too.) Last comes gmm_attention_small as it
is shipped, against nothing. CompressAI gets an environment of its own on the first run, which needs
the network.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

import peers

SMALL_SIZE = 128  # training.crop_size of gmm_attention_small
HERE = pathlib.Path(__file__).resolve().parent
OURS = "float32", "bfloat16"
THEIRS = "float32", "float32 channels_last", "bfloat16", "bfloat16 channels_last"


class Trainer:
    """A process that trains with one variant of one side."""

    def __init__(self, python, script, verbose, tree=HERE.parent, **options):
        environment = {**os.environ, "PYTHONPATH": str(tree), "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._process = subprocess.Popen(
            [str(python), str(HERE / script), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if verbose else subprocess.DEVNULL,
            env=environment,
            text=True,
        )

    def answer(self):
        """The next line of the process, from JSON; None if it has crashed."""
        line = self._process.stdout.readline()
        return json.loads(line) if line else None

    def step(self):
        """Does one step; returns its seconds and its processor's, None if it has crashed."""
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except OSError:
            return None
        return self.answer()

    def close(self):
        self._process.communicate()


def measure(trainers, rounds, patience):
    """Lets all trainers take turns.

    Returns:
      Lists of (seconds, processor seconds), one for each trainer: `rounds` steps after one to warm
      up, or a single one if that took longer than `patience` seconds; nothing if it crashed.
    """
    first = [trainer.step() for trainer in trainers]
    spent = [[] for _ in trainers]
    for number in range(rounds):
        for trainer, warm, times in zip(trainers, first, spent):
            if warm and (number == 0 or warm[0] <= patience):
                times.append(trainer.step())
    return [[t for t in times if t] for times in spent]


def start_ours(args, width, variant, profile=False, tree=HERE.parent):
    """Starts a trainer of gmm_attention of that width, or of gmm_attention_small if it is 0."""
    return Trainer(
        sys.executable,
        "train_step_ours.py",
        args.verbose,
        tree,
        name="gmm_attention" if width else "gmm_attention_small",
        width=width,
        variant=variant,
        batch=args.batch,
        size=args.size if width else SMALL_SIZE,
        profile=profile,
    )


def start_theirs(args, width, variant, python):
    """Starts a trainer of CompressAI's cheng2020-attn."""
    shape = dict(width=width, batch=args.batch, size=args.size)
    return Trainer(python, "train_step_compressai.py", args.verbose, variant=variant, **shape)


def compare(width, args, peer):
    """Measures one model, against CompressAI's if `peer` is its python; returns (rows, facts)."""
    turns = {("tfclic", v): start_ours(args, width, v) for v in args.precisions}
    for variant in args.precisions if args.before else ():
        tree = pathlib.Path(args.before).resolve()
        turns["tfclic before", variant] = start_ours(args, width, variant, tree=tree)
    for variant in THEIRS if peer else ():
        if variant.split()[0] in args.precisions:
            turns["CompressAI", variant] = start_theirs(args, width, variant, peer)
    facts = [trainer.answer() for trainer in turns.values()][0]
    if facts is None:
        sys.exit("tfclic's side does not start; --verbose shows what it says.")
    spent = measure(list(turns.values()), args.rounds, args.patience)
    for trainer in turns.values():
        trainer.close()
    rows = []
    for (side, variant), times in zip(turns, spent):
        row = {
            "model": f"N = {width}" if width else "gmm_attention_small",
            "size": args.size if width else SMALL_SIZE,
            "side": side,
            "variant": variant,
            "seconds": [round(t, 4) for t, _ in times],
            "processor_seconds": [round(t, 4) for _, t in times],
        }
        if times:
            median = statistics.median(row["seconds"])
            row["images_per_second"] = round(args.batch / median, 3)
            row["tflops"] = round(facts["flops"] / median / 1e12, 4)
        rows.append(row)
    return rows, facts


def show(rows, batch):
    """Prints a table of rows, and how the best of both sides compare."""
    best = {}
    for row in rows:
        figures = "crashed | | |"
        if row["seconds"]:
            rate = row["images_per_second"]
            best[row["side"]] = max(best.get(row["side"], 0), rate)
            wall, cpu = (statistics.median(row[k]) for k in ("seconds", "processor_seconds"))
            figures = f"{wall:.2f} | {cpu:.2f} | {rate:.2f} | {row['tflops']:.3f}"
        head = f"{row['model']} | {batch} x {row['size']} | {row['side']} | {row['variant']}"
        print(f"| {head} | {figures} |", flush=True)
    for other in [side for side in best if side != "tfclic" and "tfclic" in best]:
        ratio = best["tfclic"] / best[other]
        print(f"| | | best against best of {other} | | | | {ratio:.2f} times | |", flush=True)


def print_profile(args):
    """Prints where the time of one step goes, by kind of operation."""
    width = 0 if args.small_only else args.widths[0]
    tree = pathlib.Path(args.before).resolve() if args.before else HERE.parent
    trainer = start_ours(args, width, args.precisions[0], profile=True, tree=tree)
    facts, table = trainer.answer(), trainer.answer()
    trainer.close()
    if table is None:
        sys.exit("The step does not run; --verbose shows what it says.")
    total = sum(milliseconds for _, _, milliseconds in table)
    print(f"{facts['hardware']}, {args.precisions[0]}, {facts['flops'] / 1e9:.1f} GFLOP")
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
        help="a variant whose first step takes longer is measured by one more step only",
    )
    parser.add_argument("--small-only", action="store_true", help="gmm_attention_small alone")
    parser.add_argument("--no-peer", action="store_true", help="leave CompressAI out")
    parser.add_argument("--peer-env", metavar="DIR", help="where its environment is kept")
    parser.add_argument(
        "--before", metavar="DIR", help="another checkout of tfclic to race too, or to profile"
    )
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
    widths = [] if args.small_only else args.widths
    rows, facts = [], {}
    for i, width in enumerate([*widths, 0]):
        found, facts = compare(width, args, peer if width else None)
        if i == 0:
            print(f"{facts['hardware']}, {'with' if facts['amx'] else 'without'} AMX")
            print("| model | batch | trained by | | seconds | CPU seconds | images/s | TFLOP/s |")
            print("|---|---|---|---|---|---|---|---|")
        show(found, args.batch)
        rows += found
    if args.json:
        content = {"hardware": facts["hardware"], "amx": facts["amx"], "rows": rows}
        pathlib.Path(args.json).write_text(json.dumps(content, indent=1) + "\n")
    return None


if __name__ == "__main__":
    main()
