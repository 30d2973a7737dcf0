"""Where models that were exported before 25 November 2026 have what is stored elsewhere now."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from tfclic.entropy.coding import EntropyCoder

# of exact networks, by the beginnings of their paths
RENAMED = (
    (r"^features/", "hyper_synthesis/"),
    (r"^network/", "parameter_network/"),
    (r"/blocks/(\d)/layers/", r"/blocks/\1/body/"),
    (r"^(fine_prediction|prediction)/layers/", r"\1/"),
    (r"/dense$", ""),
)
TABLES = {"hyper_table": "hyper_latents", "coarse_table": "coarse"}
# of latents without hyper latents
LEVELS = ("masses", "centres", "spreads")


def assign(
    coding: EntropyCoder, weights: Sequence[tf.Variable], values: Mapping[str, np.ndarray]
) -> None:
    """Gives the variables of a `stored.StoredCodec` those of an earlier export.

    Args:
      coding, weights: as it has them.
      values: dict from path to array.

    Raises:
      KeyError, ValueError: they are not those of such a codec.
    """
    remaining = dict(values)
    for number, weight in enumerate(weights):
        weight.assign(remaining.pop(f"weights/{number}"))
    by_name = {layer.name: layer for layer in coding.layers()}
    for path, value in remaining.items():
        network, _, name = path.removeprefix("coding/").rpartition("/")
        if name in TABLES and not network:
            table: tf.Variable = coding.streams[TABLES[name]].table
            table.assign(value)
        elif name in LEVELS:
            getattr(coding.streams["latents"], name).assign(value)
        elif network:  # else it followed from the tables
            getattr(by_name[_renamed(network)], name).assign(value)


def _renamed(network: str) -> str:
    for before, after in RENAMED:
        network = re.sub(before, after, network)
    return network.replace("/", "_")
