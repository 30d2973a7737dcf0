"""Trains a portable step on whatever device jax finds: CPU, GPU or another.

    python portable_run.py FOLDER --minutes 9

Needs numpy, jax and Pillow, and the folder runner beside portable_run.py; neither TensorFlow nor
the rest of tfclic. FOLDER is what `bin/train --portable=FOLDER` wrote, or a part of it: whichever
packs are there are used. Started again, it goes on where it stopped and gives what an uninterrupted
run would have given: images, crops, flips, quality levels and noise are functions of the step.
"""

from __future__ import annotations

import argparse
import datetime
import math
import pathlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

STARTED = time.monotonic()  # the budget includes imports and compilation

from . import device, files, inputs, progress  # noqa: E402

MOST_SKIPPED_IN_A_ROW = 100
DETAILS = """\
The learning rate follows the configuration's schedule by step. Ctrl-C saves first. What is left in
the folder, state.json and the state-*.bin pieces, is what goes back: bin/train --adopt=FOLDER
--workdir=NEW makes a workdir of it. A --send copy has half the size and serves as well, but a run
that goes on from it is no longer, to the last bit, what it would have been: the averages and second
moments are rounded, and the first moments start again.
JAX_COMPILATION_CACHE_DIR=DIR keeps what was compiled."""


class Diverged(Exception):
    """The loss is no longer a number; one sentence for the user."""


class Run:
    """A run in its folder: `train` goes on from the last checkpoint."""

    def __init__(self, options: argparse.Namespace, line: progress.Line | None = None) -> None:
        """options: what `make_parser` parsed; line: a `progress.Line`, made if None."""
        self._options, self._line = options, line or progress.Line(options.log_seconds)
        self._folder = pathlib.Path(options.folder)
        self._output = pathlib.Path(options.output or options.folder)
        self._meta = files.read_meta(self._folder)
        self._training = {**self._meta["config"]["training"], **self._replaced()}
        resumed = (self._output / files.STATE).is_file()
        arrays, self.progress = files.read_state(self._output if resumed else self._folder)
        self._first = self._saved = self.step = self.progress["step"]
        self._per_call = options.steps_per_call or self._meta["steps_per_call"]
        self._seconds, self._in_a_row, self._skipped = 0.0, 0, 0
        self._save_seconds = 1.0 + sum(a.nbytes for a in arrays.values()) / 50e6
        self._arrays = arrays
        self.caught: list[int] = []

    def _replaced(self) -> dict[str, Any]:
        names = ("steps", "learning_rate", "final_learning_rate", "warmup_steps", "decay_share")
        given = {name: getattr(self._options, name) for name in names}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self._training["steps"]

    def left(self) -> float:
        """Seconds left of the budget; infinite without one."""
        minutes = self._options.minutes
        return minutes * 60 - (time.monotonic() - STARTED) if minutes else math.inf

    def train(self) -> None:
        """Trains until the steps are done, the time is up or a signal comes; then saves.

        Raises:
          files.PortableError: the folder lacks something.
          Diverged: the loss became NaN or infinite; the last checkpoint stays.
        """
        if self.step >= self.steps:
            self._line.say(f"All {self.steps} steps are done.")
            return
        packs = [p for f in self._options.packs or [self._folder] for p in _packs_in(f)]
        images = files.read_packs(packs, self._meta["crop"])
        self._say_start(packs, images)
        self._engine = self._start_engine()
        seed = self._options.data_seed
        seed = self._training["seed"] if seed is None else seed
        calls = inputs.Batches(images, self._meta, seed).calls(
            self.step, self.steps, self._per_call
        )
        try:
            self._loop(calls)
        finally:
            calls.close()
        if self.step == self._first:
            self._line.say("There was no time for a single step.")
            return
        self._line.show(self._text, now=True)
        self._save()

    def _start_engine(self) -> device.Engine:
        platform = self._options.platform
        engine = device.Engine(self._folder, self._meta, self._arrays, platform)
        engine.prepare(min(self._per_call, self.steps - self.step))
        made = engine.record()
        flops = f"{made['flops_per_step'] / 1e9:.2f} GFLOP per step, " if engine.flops else ""
        self._line.say(
            f"jax {made['jax']} on {made['device']}: {flops}{self._per_call} steps per call, "
            f"compiled in {made['compile_seconds']:.0f} s."
        )
        return engine

    def _say_start(self, packs: Sequence[pathlib.Path], images: Sequence[np.ndarray]) -> None:
        print(
            f"{self._meta['name']}: step {self.step} of {self.steps}, {self._meta['batch']} crops "
            f"of {self._meta['crop']}x{self._meta['crop']} per step, {len(images)} images in "
            f"{len(packs)} packs.",
            flush=True,
        )

    def _loop(self, calls: Iterable[inputs.Call]) -> None:
        self._budget = self.left()
        self._began = saved = time.monotonic()
        pending: tuple[range, Mapping[str, Any]] | None = None
        longest = 0.0
        for steps, fed in calls:
            # This call, the one that is under way, and the checkpoint must still fit.
            over = self.left() < 2.0 * longest + 1.5 * self._save_seconds + 1.0
            if self.caught or over:
                break
            call_began = time.monotonic()
            metrics = self._engine.call(fed, [self._rate(s) for s in steps])
            # Waiting for the call before this one keeps the device busy and the loop in step.
            if pending:
                self._take(*pending)
            self.step, pending = steps.stop, (steps, metrics)
            longest = max(longest, time.monotonic() - call_began)
            self._line.show(self._text)
            if time.monotonic() - saved > 60 * self._options.checkpoint_minutes:
                self._take(*pending)
                pending = None
                self._save()
                saved = time.monotonic()
        if pending:
            self._take(*pending)

    def _rate(self, step: int) -> np.float32:
        rate = inputs.learning_rate(step, self._training)
        if self._options.cool_down:
            final = self._training["final_learning_rate"]
            share = max(0.0, min(1.0, self.left() / self._budget))
            rate = np.float32(final + (rate - final) * share)
        return rate

    def _take(self, steps: range, metrics: Mapping[str, Any]) -> None:
        metrics = {name: np.asarray(v) for name, v in metrics.items()}
        for number, step in enumerate(steps):
            skipped = metrics["skipped"][number] > 0.5
            self._in_a_row = self._in_a_row + 1 if skipped else 0
            self._skipped += int(skipped)
            loss = metrics["loss"][number]
            if not np.isfinite(loss) or self._in_a_row >= MOST_SKIPPED_IN_A_ROW:
                what = "no gradient is finite any more" if np.isfinite(loss) else f"loss {loss}"
                raise Diverged(f"Stopped at step {step}: {what}; step {self._saved} is saved.")
        self._line.add(metrics)
        self._seconds += time.monotonic() - self._began
        self._began = time.monotonic()

    def _text(self, means: progress.Means) -> str:
        done = self.step - self._first
        pace = done / self._seconds if self._seconds else 0.0
        parts = [f"step {self.step}/{self.steps}"]
        parts += [f"{name} {value:.4f}" for name, value in means.items() if "/" not in name]
        parts += [f"rate {self._rate(self.step - 1):.2g}"]
        if pace:
            parts.append(f"{pace * self._meta['batch']:.1f} images/s")
            if self._engine.flops:
                parts.append(f"{pace * self._engine.flops / 1e12:.3f} TFLOP/s")
            left = (self.steps - self.step) / pace
            parts.append(f"{datetime.timedelta(seconds=round(left))} left")
        if self._options.minutes:
            budget = datetime.timedelta(seconds=round(max(0.0, self.left())))
            parts.append(f"{budget} of the budget")
        if self._skipped:
            parts.append(f"{self._skipped} skipped")
        return "  ".join(parts)

    def _save(self) -> None:
        if self._saved == self.step:
            return
        began = time.monotonic()
        arrays = self._engine.arrays()
        done = self.step - self._first
        here = {
            **self._engine.record(),
            "date": datetime.date.today().isoformat(),
            "first_step": self._first,
            "steps": done,
            "seconds": round(self._seconds, 1),
            "images": done * self._meta["batch"],
            "skipped_steps": self._skipped,
        }
        before = [run for run in self.progress["runs"] if run["first_step"] < self._first]
        self.progress = {"step": self.step, "runs": [*before, here]}
        limit = int(self._options.file_size * files.MIB)
        files.write_state(self._output, arrays, self.progress, limit)
        if self._options.send:
            files.write_state(self._options.send, arrays, self.progress, limit, compact=True)
        self._saved = self.step
        self._began = time.monotonic()
        self._save_seconds = time.monotonic() - began
        self._line.say(f"Step {self.step} is saved in {self._output}.")


def _packs_in(path: files.Path) -> list[pathlib.Path]:
    path = pathlib.Path(path)
    return sorted(path.glob("pack-*.zip")) if path.is_dir() else [path]


def make_parser() -> argparse.ArgumentParser:
    """The script's argparse parser."""
    parser = argparse.ArgumentParser(
        prog="portable_run.py",
        description=__doc__,
        epilog=DETAILS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    here = str(pathlib.Path(__file__).resolve().parents[1])
    add("folder", nargs="?", default=here, help="the portable folder (default: the script's own)")
    add("--minutes", type=float, help="stop, and be done with saving, this long after the start")
    add("--steps", type=int, help="steps of the whole run (default: the configuration's)")
    add("--output", metavar="DIR", help="where state goes, and is resumed from if it is there")
    add("--send", metavar="DIR", help="write a second, compact copy of each checkpoint in DIR")
    add("--packs", nargs="+", metavar="PATH", help="packs or folders of packs (default: FOLDER)")
    add("--platform", help="cpu, gpu, ... (default: what jax prefers)")
    add("--steps-per-call", type=int, metavar="K", help="steps per launch")
    add("--learning-rate", type=float, help="peak, in place of the configuration's")
    add("--final-learning-rate", type=float, help="at the end of the steps")
    add("--warmup-steps", type=int, help="steps of linear rise")
    add("--decay-share", type=float, help="share of the steps over which the rate falls")
    add(
        "--cool-down",
        action="store_true",
        help="let the rate fall to the final one over --minutes (for the last call of several)",
    )
    add("--data-seed", type=int, help="of crops, flips and levels (default: the configuration's)")
    add("--checkpoint-minutes", type=float, default=2.0, help="between checkpoints (default: 2)")
    add("--file-size", type=float, default=16.0, metavar="MIB", help="of a piece (default: 16)")
    add("--log-seconds", type=float, default=10.0, help="between lines in a log (default: 10)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit status."""
    options = make_parser().parse_args(argv)
    line = progress.Line(options.log_seconds)
    try:
        run = Run(options, line)
        with progress.signals_caught(run.caught, line):
            run.train()
    except (files.PortableError, Diverged, OSError) as error:
        line.say(f"portable_run.py: {error}")
        return 1
    return 128 + run.caught[0] if run.caught else 0
