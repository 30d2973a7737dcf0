"""What a run shows while it goes: a live line, plain lines in a log, TensorBoard."""

from __future__ import annotations

import pathlib
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

import numpy as np
import tensorflow as tf
import tqdm


class Silent:
    """Shows and writes nothing but `say`: for the processes of a run that are not the chief."""

    seconds, skipped = 0.0, 0

    def __init__(self, stream: TextIO | None = None) -> None:
        """stream: where `say` goes; standard error if None."""
        self._stream = stream or sys.stderr

    def say(self, text: str) -> None:
        """Prints a line."""
        print(text, file=self._stream, flush=True)

    def begin(self) -> None:
        """Does nothing."""

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""

    def validated(
        self,
        step: int,
        result: Mapping[str, Any],
        pictures: Iterable[np.ndarray],
        change: float | None = None,
    ) -> None:
        """Does nothing."""


class Progress:
    """Collects the metrics of steps and shows their means.

    On a terminal they are a live line, else a line per interval. Time spent outside `begin` ..
    `add` (validation, checkpoints) does not count as training time.
    """

    def __init__(
        self,
        steps: int,
        done: int,
        batch_size: int,
        log_every: int,
        folder: pathlib.Path,
        stream: TextIO | None = None,
    ) -> None:
        """Starts to show.

        Args:
          steps: steps of the whole run.
          done: steps done before.
          batch_size: images per step.
          log_every: steps per interval.
          folder: for the TensorBoard files.
          stream: where lines go; standard error if None.
        """
        self._stream = stream or sys.stderr
        self._steps, self._batch, self._log_every = steps, batch_size, log_every
        self._writers = {
            name: tf.summary.create_file_writer(str(folder / name))
            for name in ("train", "validation")
        }
        self._live: tqdm.tqdm | None = None
        if self._stream.isatty():
            self._live = tqdm.tqdm(
                total=steps,
                initial=done,
                file=self._stream,
                dynamic_ncols=True,
                bar_format="step {n_fmt}/{total_fmt} |{bar:16}| {desc}",
            )
        self._sums: dict[str, tuple[float, int]] = {}
        self._count, self._busy = 0, 0.0
        self._pace: float | None = None
        self.seconds = 0.0
        self.skipped = 0

    def say(self, text: str) -> None:
        """Prints a line of its own."""
        if self._live is not None:
            self._live.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def begin(self) -> None:
        """Marks the start of a step."""
        self._began = time.perf_counter()

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Takes the metrics of a step (dict of floats) when it is done; `step` counts from 1."""
        took = time.perf_counter() - self._began
        self.seconds += took
        self._busy += took
        # The first step also traces the graph: it says nothing about the pace.
        if self._pace is None:
            self._pace = 0.0
        else:
            self._pace = took if not self._pace else 0.95 * self._pace + 0.05 * took
        self.skipped += int(metrics["skipped"])
        for name, value in metrics.items():
            if name == "skipped" or not metrics["skipped"]:
                total, count = self._sums.get(name, (0.0, 0))
                self._sums[name] = total + value, count + 1
        self._count += 1
        if self._live is not None:
            self._live.set_description_str(self._text(step), refresh=False)
            self._live.update(step - self._live.n)
        if step % self._log_every == 0 or step == self._steps:
            self._flush(step)

    def _means(self) -> dict[str, float]:
        return {name: total / count for name, (total, count) in self._sums.items()}

    def _text(self, step: int) -> str:
        means = self._means()
        parts = [f"{n} {means[n]:{f}}{u}" for n, f, u in _SHOWN if n in means]
        if self._pace:
            left = tqdm.tqdm.format_interval((self._steps - step) * self._pace)
            parts += [f"{self._batch / self._pace:.1f} images/s", f"{left} left"]
        if self.skipped:
            parts.append(f"{self.skipped} steps skipped")
        return "  ".join(parts)

    def _flush(self, step: int) -> None:
        if self._live is None:
            self.say(f"step {step}/{self._steps}  {self._text(step)}")
        with self._writers["train"].as_default(step=step):
            for name, value in self._means().items():
                tf.summary.scalar(name, value)
            tf.summary.scalar("images_per_second", self._batch * self._count / self._busy)
        self._writers["train"].flush()
        self._sums, self._count, self._busy = {}, 0, 0.0

    def validated(
        self,
        step: int,
        result: Mapping[str, Any],
        pictures: Iterable[np.ndarray],
        change: float | None = None,
    ) -> None:
        """Shows the result of a validation (see `validation.validate`).

        change: BD-rate against the model that the run started from, in percent, if there is one.
        """
        parts = [f"step {step}", f"validation loss {result['mean_loss']:.4f}"]
        if change is not None:
            parts.append(f"{change:+.1f} % against its start")
        self.say("  ".join([*parts, _per_lambda(result)]))
        with self._writers["validation"].as_default(step=step):
            tf.summary.scalar("loss", result["mean_loss"])
            if change is not None:
                tf.summary.scalar("bd_rate", change)
            for name in ("loss", "bpp", "psnr"):
                for lmbda, value in zip(result["lmbda"], result[name]):
                    tf.summary.scalar(f"{name}/lambda_{lmbda:g}", value)
            for number, picture in enumerate(pictures):
                tf.summary.image(f"image_{number}", picture[None])
        self._writers["validation"].flush()

    def close(self) -> None:
        """Ends the live line and the TensorBoard files."""
        if self._live is not None:
            self._live.refresh()
            self._live.close()
        for writer in self._writers.values():
            writer.close()


_SHOWN = (
    ("stage", ".0f", ""),
    ("phase", ".0f", ""),
    ("loss", ".4f", ""),
    ("auxiliary", ".4f", ""),
    ("bpp", ".3f", ""),
    ("psnr", ".2f", " dB"),
)


def _per_lambda(result: Mapping[str, Any]) -> str:
    pairs = (f"{b:.3f} bpp {p:.2f} dB" for b, p in zip(result["bpp"], result["psnr"]))
    return " | ".join(pairs)
