"""What bin/train does for training elsewhere: --portable and --adopt."""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from tfclic import errors
from tfclic.places import CALLED

if TYPE_CHECKING:
    import os

    from ml_collections import ConfigDict

    from tfclic.models.base import ImageCodec


def export(
    name: str,
    config: ConfigDict,
    args: argparse.Namespace,
    new_codec: Callable[[ConfigDict, str], ImageCodec],
) -> None:
    """Writes the portable folder `args.portable` of configuration `name` (`config`).

    new_codec: function of a configuration and a number format that makes the codec.
    """
    from tfclic.portable import folder, packs
    from tfclic.portable.runner import files
    from tfclic.training import checks, precision, sources

    checks.check(config)
    checks.warn_of_crops(config)
    # The device is not known here; bfloat16 is a choice that changes results.
    wanted = config.training.precision
    compute_dtype = "float32" if wanted == "auto" else precision.resolve(wanted)
    side = args.pack_crop or max(256, config.training.crop_size)
    if side < config.training.crop_size:
        raise errors.UsageError("--pack-crop must be at least training.crop_size.")
    if args.steps_per_call < 1 or args.pack_first < 0:
        raise errors.UsageError("--steps-per-call must be at least 1, --pack-first at least 0.")
    options = packs.Options(
        side=side,
        first=args.pack_first,
        image_format=args.pack_format,
        pack_bytes=int(args.pack_size * 2**20),
        file_bytes=int(args.file_size * 2**20),
        steps_per_call=args.steps_per_call,
        compact_state=args.compact_state,
    )
    store = sources.open_source(args.data, config.training.crop_size)
    codec = new_codec(config, compute_dtype)
    start, images = folder.export_folder(
        args.portable, name, config, codec, compute_dtype, store, options, args.workdir
    )
    sizes = [p.stat().st_size for p in pathlib.Path(args.portable).rglob("*") if p.is_file()]
    size, largest = (f(sizes) / 2**20 for f in (sum, max))
    print(
        f"{args.portable}: step {start} of {config.training.steps}, {compute_dtype}, {images} crops"
        f" of {side}x{side}; {len(sizes)} files, {size:.1f} MiB, the largest {largest:.1f} MiB.\n"
        f"Next: python {pathlib.Path(args.portable) / files.PROGRAM} --minutes 9\n"
        f"A next set of crops would be made with --pack-first={args.pack_first + images}."
    )


def adopt(
    source: str, workdir: str | os.PathLike[str], new_codec: Callable[[ConfigDict, str], ImageCodec]
) -> None:
    """Makes `workdir` of what a portable run brought back in `source`; `new_codec` as `export`."""
    from tfclic.portable import folder
    from tfclic.training import checkpoints

    workdir = pathlib.Path(workdir)
    with checkpoints.locked(workdir):
        record = folder.adopt(source, workdir, lambda config: new_codec(config, "float32"))
    print(
        f"{workdir}: step {record['steps']} of {record['planned_steps']}, "
        f"{record['seconds']:.0f} seconds on {record['hardware']}; ready for "
        f"{CALLED}train and {CALLED}export."
    )
