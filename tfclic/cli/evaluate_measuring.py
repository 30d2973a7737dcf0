"""The measuring of bin/evaluate: pieces of work, with a bar and complaints, for a campaign."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tfclic import errors
from tfclic.cli import common
from tfclic.machine import cores

if TYPE_CHECKING:
    from tfclic.evaluation.campaign import ByImage, Record, Store, Work
    from tfclic.evaluation.codecs import Codec


class Machine(NamedTuple):
    """How a machine is shared.

    Attributes:
      jobs: processes at a time.
      threads: of each.
    """

    jobs: int
    threads: int


def machine_for(jobs: int | None) -> Machine:
    """Returns the `Machine` for so many processes; for one per core if `jobs` is None."""
    there = cores()
    jobs = jobs or there
    return Machine(jobs, max(1, there // jobs))


def measure(
    loaded: Sequence[Codec],
    paths: Sequence[str],
    store: Store,
    is_verifying: bool,
    more: tuple[str, ...],
    machine: Machine,
    max_pixels: int,
) -> tuple[dict[str, ByImage], int]:
    """Measures codecs on images, and complains of what could not be measured.

    Args:
      loaded: the codecs.
      paths: of the images.
      store: where files and records are, and go.
      is_verifying: whether files are checked against the encoder.
      more: names of metrics beyond the usual ones, of `perceptual.KNOWN`.
      machine: as `do` has it.
      max_pixels: of an image; one with more is complained of.

    Returns:
      (records, status): a dict from the codec's name to one from the image's name to records by
      rising setting, of the images that all codecs could be measured on; and an exit status.
    """
    from tfclic.evaluation import campaign

    status, works = 0, []
    for path in paths:
        try:
            digest = campaign.digest(path)
        except errors.ImageError as error:
            common.complain("evaluate", error)
            status = error.exit_status
            continue
        for codec in loaded:
            options = codec.source, codec.options, path, digest
            works += [
                campaign.Work(
                    *options, setting, is_verifying=is_verifying, more=more, max_pixels=max_pixels
                )
                for setting in codec.settings
            ]
    records, failed = do(works, loaded, store, machine, "measuring")
    complete: dict[str, ByImage] = {
        codec.name: {
            os.path.basename(path): found
            for path in paths
            if len(found := [r for w, r in records if w.path == path and w.source == codec.source])
            == len(codec.settings)
        }
        for codec in loaded
    }
    # averages over other images could not be compared
    everywhere = [set(by_image) for by_image in complete.values() if by_image]
    common_to_all = set.intersection(*everywhere) if everywhere else set()
    shared: dict[str, ByImage] = {
        name: {image: found for image, found in by_image.items() if image in common_to_all}
        for name, by_image in complete.items()
    }
    return shared, max(status, failed)


def do(
    works: Sequence[Work], loaded: Sequence[Codec], store: Store, machine: Machine, verb: str
) -> tuple[list[tuple[Work, Record]], int]:
    """Does pieces of work, with a bar, and complains of each failure once.

    Args:
      works: the pieces.
      loaded: the codecs that they are of.
      store: where files and records are, and go.
      machine: what `campaign.run` may take of it.
      verb: what is done, for the bar.

    Returns:
      (done, status): a list of (work, record), in order, without those that failed; and an exit
      status.
    """
    from tqdm import tqdm

    from tfclic.evaluation import campaign

    status, done, complaints = 0, {}, set()
    total = len(works)
    with tqdm(total=total, desc=verb, unit="file", leave=False, disable=None) as bar:
        for work, record in campaign.run(works, loaded, store, *machine):
            bar.update()
            if not isinstance(record, errors.TfclicError):
                done[work] = record
                continue
            status = max(status, record.exit_status)
            if str(record) not in complaints:
                complaints.add(str(record))
                with tqdm.external_write_mode():
                    common.complain("evaluate", record)
    return [(work, done[work]) for work in works if work in done], status
