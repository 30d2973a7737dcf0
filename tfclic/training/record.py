"""The training record: what weights were trained on, for how long, and by what.

It is filed with each checkpoint (see `tfclic.training.checkpoints`), and goes into model cards.
"""

from __future__ import annotations

import contextlib
import datetime
import pathlib
import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfclic import machine

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.training.sources import ImageStore


class Record:
    """The record of a run: what the checkpoint says that it goes on from, and what came since.

    Attributes:
      before: the record of that checkpoint; {} for a new run.
    """

    def __init__(
        self,
        before: Mapping[str, Any],
        training: ConfigDict,
        store: ImageStore,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Begins where the checkpoint ended.

        Args:
          before: as the attribute.
          training: configuration.
          store: `sources.ImageStore` of the images.
          extra: JSON content to add.
        """
        self.before = before
        self._training, self._store, self._extra = training, store, extra or {}

    def is_of_other_images(self) -> bool:
        """Whether the checkpoint's weights were trained on other images than the store has."""
        return self.before.get("data_fingerprint") not in (None, self._store.fingerprint())

    def crops_ahead(self) -> int:
        """How many more crops were seen than steps of this batch size would have taken."""
        by_steps = self.before.get("steps", 0) * int(self._training.batch_size)
        return self.before.get("images_seen", by_steps) - by_steps

    def content(
        self,
        step: int,
        validation: Mapping[str, Any] | None,
        seconds: float,
        skipped: int,
    ) -> dict[str, Any]:
        """Returns what the weights were trained on so far, as JSON content.

        Args:
          step: steps done.
          validation: the latest result of `validation.validate`, with its "step"; None if there is
            none.
          seconds: that training took since the checkpoint.
          skipped: steps since it that left the weights alone.
        """
        before, batch_size = self.before, int(self._training.batch_size)
        return {
            **self._extra,
            "steps": step,
            "planned_steps": int(self._training.steps),
            "images_seen": before.get("images_seen", 0)
            + (step - before.get("steps", 0)) * batch_size,
            "seconds": round(before.get("seconds", 0.0) + seconds, 1),
            "skipped_steps": before.get("skipped_steps", 0) + skipped,
            "data": self._store.description,
            "data_fingerprint": self._store.fingerprint(),
            "validation_images": int(self._training.validation_images),
            "hardware": hardware(),
            "tensorflow": tf.__version__,
            "date": datetime.date.today().isoformat(),
            "validation": validation,
            **{k: v for k, v in before.items() if k in ("portable", "start", "changes")},
        }


def hardware() -> str:
    """Returns one line on what this machine computes with."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        return f"{len(gpus)} x {details.get('device_name', 'GPU')}"
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{machine.cores()} cores of {name}"
