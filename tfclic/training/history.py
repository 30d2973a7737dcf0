"""A run's validations so far: a file of them, a picture, and what they are against the start.

WORKDIR/validation.jsonl   {"step", "mean_loss", "lmbda": [...], ...} of each, a line
WORKDIR/curve.png          drawn anew after each
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from absl import logging

from tfclic import bd_rate
from tfclic.training.validation import ROUNDING

Validation = Mapping[str, Any]
Result = TypeVar("Result")

# Held-out images in every configuration, from when records did not say yet.
UNRECORDED_IMAGES = 32


def reference(record: Mapping[str, Any], fingerprint: str, images: int) -> Validation | None:
    """The validation that a run is to be compared with: that of the model that it started from.

    Args:
      record: the run's, a dict.
      fingerprint: of the images that the run uses.
      images: how many of them it holds out.

    Returns:
      A result as `validation.validate` gives it, or None: the run began from nothing, or its start
      was not measured on the same images, or not as today.
    """
    start = record.get("start") or {}
    measured = start.get("data_fingerprint"), start.get("validation_images", UNRECORDED_IMAGES)
    found = start.get("validation") or {}
    return found if measured == (fingerprint, images) and _is_of_today(found) else None


def _is_of_today(result: Validation) -> bool:
    return result.get("rounding") == ROUNDING


def points(result: Validation) -> list[bd_rate.Point]:
    """The rate-distortion points of a validation: list of (bits per pixel, PSNR in dB)."""
    return list(zip(result["bpp"], result["psnr"]))


def against(anchor: Validation, result: Validation) -> float | None:
    """BD-rate of a validation against another in percent; None if they overlap too little."""
    return bd_rate.difference(points(anchor), points(result)).rate


class History:
    """The validations of a run in its folder, for the chief of the run alone.

    Nothing here ends a run: what goes wrong is one warning.
    """

    def __init__(
        self, workdir: pathlib.Path, record: Mapping[str, Any], anchor: Validation | None = None
    ) -> None:
        """Goes on from the run's checkpoint: validations of later steps are dropped.

        Args:
          workdir: the run's folder.
          record: of the checkpoint that the run goes on from; {} for a new run.
          anchor: from `reference`.
        """
        self._workdir, self._anchor = workdir, anchor
        self._entries: list[Validation] = []
        self._warned = False
        self._file = workdir / "validation.jsonl"
        self._guarded(self._begin, record)

    def add(self, result: Validation, planned: int) -> float | None:
        """Files a validation, `result` with its "step", and draws the picture.

        planned: int, steps of the whole run.

        Returns:
          Its BD-rate against the start, in percent, or None.
        """
        self._entries.append(result)
        self._guarded(self._append, result)
        change = self._guarded(against, self._anchor, result) if self._anchor else None
        self._guarded(self._draw, planned)
        return change

    def _guarded(self, function: Callable[..., Result], *arguments: Any) -> Result | None:
        try:
            return function(*arguments)
        except Exception as error:  # of any library that draws: the training matters more
            if not self._warned:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                logging.warning("The run's curve is incomplete (%s).", reason)
            self._warned = True
            return None

    def _begin(self, record: Mapping[str, Any]) -> None:
        step, last = record.get("steps", 0), record.get("validation")
        read = list(_entries(self._file))
        self._entries = [entry for entry in read if entry["step"] <= step]
        if last and all(entry["step"] != last["step"] for entry in self._entries):
            self._entries.append(last)
        if not self._entries and not self._file.exists():
            return
        temporary = self._file.with_name(f"{self._file.name}.new")
        temporary.write_text("".join(map(_line, self._entries)), encoding="utf-8")
        os.replace(temporary, self._file)

    def _append(self, result: Validation) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(_line(result))

    def _draw(self, planned: int) -> None:
        from tfclic.training import curve

        changes = []
        if self._anchor:
            of_today = filter(_is_of_today, self._entries)
            found = ((entry["step"], against(self._anchor, entry)) for entry in of_today)
            changes = [(step, change) for step, change in found if change is not None]
        figure = curve.draw(self._workdir.name, self._entries, planned, self._anchor, changes)
        temporary = self._workdir / ".curve.new.png"
        figure.savefig(temporary)
        os.replace(temporary, self._workdir / "curve.png")


def _line(entry: Validation) -> str:
    return json.dumps(entry) + "\n"


def _entries(file: pathlib.Path) -> Iterator[Validation]:
    """Yields the entries of a file, without a last line that was cut short."""
    if not file.exists():
        return
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and "step" in entry:
            yield entry
