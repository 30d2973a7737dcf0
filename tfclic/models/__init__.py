"""The systems, one file each, and the way to build one from its configuration."""

import importlib

from tfclic.errors import ModelError

NAMES = (
    "factorized",
    "hyperprior",
    "mean_scale",
    "joint",
    "gmm_attention",
    "coarse_to_fine",
    "cca",
)


def build(config):
    """Builds the codec that a configuration describes.

    Args:
      config: ConfigDict with the field `name`, one of `NAMES`, and that system's own fields.

    Returns:
      A `tfclic.models.base.ImageCodec`.

    Raises:
      ModelError: if there is no such system.
    """
    if config.name not in NAMES:
        raise ModelError(f"There is no model {config.name!r}; there are: {', '.join(NAMES)}.")
    return importlib.import_module(f"tfclic.models.{config.name}").build(config)
