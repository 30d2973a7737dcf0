"""A training run: data in, checkpoints out, ready to be killed and started again."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import tensorflow as tf

from tfclic import errors
from tfclic.training import (
    changes,
    checkpoints,
    checks,
    data,
    history,
    progress,
    quantized,
    record,
    schedule,
    signals,
    step,
    strategies,
    validation,
)
from tfclic.training.state import State

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.models.base import ImageCodec
    from tfclic.training.sources import ImageStore

MOST_SKIPPED_IN_A_ROW = 100


class Interrupted(errors.TfclicError):
    """A signal ended the run; its state is saved."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_status = 128 + signal_number


class Diverged(errors.TfclicError):
    """The loss is no longer a number."""


class Run:
    """A run in its workdir: made new, or resumed at its last checkpoint."""

    def __init__(
        self,
        codec: ImageCodec,
        config: ConfigDict,
        store: ImageStore,
        workdir: str | os.PathLike[str],
        extra: Mapping[str, Any] | None = None,
        replicas: strategies.Replicas | None = None,
        changed: Sequence[changes.Change] = (),
    ) -> None:
        """Prepares the run.

        Args:
          codec: the model to train, made in the strategy's scope; see `tfclic.models.base`.
          config: ConfigDict with `training`.
          store: `sources.ImageStore` of the images.
          workdir: folder for everything that the run writes.
          extra: JSON content to add to the training record.
          replicas: `strategies.Replicas` who share the work; a single one if None.
          changed: what is new in the configuration of a resumed run, from `changes.check_config`.
        """
        checks.check(config)
        checks.check_stages(codec, config.training)
        self._codec, self._training = codec, config.training
        self._workdir, self._store = pathlib.Path(workdir), store
        self._replicas = replicas or strategies.Replicas()
        self._rows = self._replicas.rows(self._training.batch_size)
        with self._replicas.strategy.scope():
            self.state = State(codec, self._training)
        before = self._restored(changed) if self._replicas.is_chief else {}
        self._replicas.share(self.state.variables)
        self._record = record.Record(before, self._training, store, extra)
        self._saved_step = self.step if before else None
        self._validation = before.get("validation")
        self._kernels: quantized.Kernels | None = None  # in the last phase
        self._progress: progress.Silent | progress.Progress = progress.Silent()  # until it trains
        self.data_changed = self._record.is_of_other_images()

    def _restored(self, changed: Sequence[changes.Change]) -> dict[str, Any]:
        checkpoints.clean(self._workdir)
        before = checkpoints.restore(self._workdir, self.state) or {}
        # What is new is kept at once: a run that is killed before its next checkpoint had it too.
        new = changes.dated(changed, self.step) if before else []
        new = [change for change in new if change not in before.get("changes", [])]
        if new:
            before["changes"] = [*before.get("changes", []), *new]
            checkpoints.write_record(self._workdir, self.step, before)
        return before

    @property
    def step(self) -> int:
        """Steps done, an int."""
        return int(self.state.step.numpy())

    def train(self, stream: TextIO | None = None) -> None:
        """Trains until the configured number of steps is done.

        Args:
          stream: where the live line goes; standard error if None.

        Raises:
          Interrupted: SIGINT or SIGTERM came; everything is saved.
          Diverged: the loss became NaN or infinite; the message names the last good checkpoint.
        """
        training = self._training
        lacks = self._replicas.gather([self._lacks_validation()])[0][0]
        if self.step >= training.steps and not lacks:
            return
        chosen, held_out = data.split_validation(self._store, training.validation_images)
        crops = data.RandomCrops(
            self._store,
            chosen,
            training.crop_size,
            training.downscale_min,
            training.seed,
            self._crops_ahead(),
            training.drawn_share,
        )
        self._prepare(held_out, stream)
        batches = crops.dataset(training.batch_size, self.step, training.steps, self._rows)
        try:
            with signals.caught(self._progress.say) as caught:
                if self.step >= training.steps:
                    self._make_up(caught)
                else:
                    self._loop(batches, caught)
        finally:
            self._progress.close()

    def _lacks_validation(self) -> bool:
        """Whether a done run has no last validation: a signal ended it, or it was adopted."""
        measured = (self._validation or {}).get("step")
        lacks = bool(self._training.validation_images) and measured != self.step
        return self._replicas.is_chief and lacks

    def _make_up(self, caught: Sequence[int]) -> None:
        """Validates a done run."""
        if schedule.rounded_from(self._training) < self._training.steps:
            self._kernels = quantized.Kernels(self._codec)
        self._validate(self.step, caught)
        if not self._lacks_validation():
            self._saved_step = None  # the checkpoint has what validation measures
            self.save()
        self._part(caught)

    def _crops_ahead(self) -> int:
        """As the record has them, which only the chief goes on from."""
        return int(self._replicas.gather([self._record.crops_ahead()])[0][0])

    def _prepare(self, held_out: Sequence[int], stream: TextIO | None) -> None:
        training = self._training
        if not self._replicas.is_chief:
            self._progress = progress.Silent(stream)
            return
        self._images = data.validation_images(self._store, held_out)
        anchor = history.reference(
            self.record(), self._store.fingerprint(), int(training.validation_images)
        )
        self._history = history.History(self._workdir, self._record.before, anchor)
        self._evaluate = validation.make_evaluate(self._codec, training, self.state)
        self._progress = progress.Progress(
            training.steps,
            self.step,
            training.batch_size,
            training.log_every,
            self._workdir / "tensorboard",
            stream,
        )

    def _loop(self, batches: Iterable[tf.Tensor], caught: Sequence[int]) -> None:
        training = self._training
        train_step, in_a_row = None, 0
        self._progress.begin()
        for images in data.readable(batches):
            if train_step is None or self.step == schedule.rounded_from(training):
                train_step = self._make_step()
            parts, seed = self._replicas.parts(images), step.seed_of(training.seed, self.step)
            metrics = {k: float(v) for k, v in train_step(parts, seed).items()}
            in_a_row = in_a_row + 1 if metrics["skipped"] else 0
            if not np.isfinite(metrics["loss"]) or in_a_row >= MOST_SKIPPED_IN_A_ROW:
                raise Diverged(self._divergence(metrics["loss"]))
            done = self.step
            self._progress.add(done, metrics)
            last = done == training.steps
            if done % training.validate_every == 0 or last:
                self._validate(done, caught)
            # A signal to one process stops all of them, at the same step.
            signal_number = int(self._replicas.gather([*caught[:1], 0][:1]).max())
            if done % training.checkpoint_every == 0 or last or signal_number:
                self.save()
            if signal_number or last:
                self._part([signal_number] if signal_number else [])
            self._progress.begin()

    def _part(self, caught: Sequence[int]) -> None:
        """Ends the run, which is saved; raises Interrupted if a signal does."""
        self._replicas.part()
        if caught and (self.step < self._training.steps or self._lacks_validation()):
            raise Interrupted(
                f"Stopped at step {self.step} of {self._training.steps}; saved in {self._workdir}. "
                "The same command goes on from there.",
                caught[0],
            )

    def _make_step(self) -> Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]:
        if self.step >= schedule.rounded_from(self._training):
            step.begin_rounded(self._codec, self.state)
            self._kernels = quantized.Kernels(self._codec)
            self._progress.say(
                "Latents and kernels are rounded from now on; the decoder alone learns."
            )
        with self._replicas.strategy.scope():
            return step.make_step(self._codec, self.state, self._training, self._kernels)

    def _divergence(self, loss: float) -> str:
        what = f"the loss is {loss}" if not np.isfinite(loss) else "no gradient is finite any more"
        kept = checkpoints.available(self._workdir)
        good = (
            f"the last good checkpoint is {kept[-1][1]}" if kept else "there is no checkpoint yet"
        )
        return f"Stopped at step {self.step}: {what}; {good}."

    def _validate(self, done: int, caught: Sequence[int]) -> None:
        if not self._replicas.is_chief:
            return
        outcome = validation.validate(
            self._evaluate,
            self.state,
            self._images,
            self._codec.lmbdas,
            stopped=lambda: bool(caught),
            kernels=self._kernels,
        )
        if outcome:
            result, pictures = outcome
            self._validation = {"step": done, **result}
            change = self._history.add(self._validation, int(self._training.steps))
            self._progress.validated(done, result, pictures, change)

    def save(self) -> None:
        """Writes a checkpoint, unless this step has one or this is not the chief."""
        if self._replicas.is_chief and self._saved_step != self.step:
            checkpoints.save(self._workdir, self.state, self.record())
            self._saved_step = self.step

    def record(self) -> dict[str, Any]:
        """Returns what the weights were trained on so far, as JSON content."""
        shown = self._progress
        return self._record.content(self.step, self._validation, shown.seconds, shown.skipped)
