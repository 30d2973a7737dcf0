"""The checks of a configuration before a run: what cannot work is told before anything is made."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from absl import logging

from tfclic import errors
from tfclic.training import objectives
from tfclic.training.levels import LEVEL_SAMPLINGS

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.models.base import ImageCodec

SLACK = 1e-9  # of shares that are to make 1, which decimals in binary may miss
# Least and most of fields of `training`, None: any finite number.
_RANGES: dict[str, tuple[int, int | None]] = {
    "steps": (1, None),
    "batch_size": (1, None),
    "log_every": (1, None),
    "checkpoint_every": (1, None),
    "validate_every": (1, None),
    "seed": (0, 2**32 - 1),
    "validation_images": (0, None),
    "learning_rate": (0, None),
    "final_learning_rate": (0, None),
    "warmup_steps": (0, None),
    "decay_share": (0, 1),
    "ema_decay": (0, 1),
    "first_share": (0, 1),
    "rounded_share": (0, 1),
    "drawn_share": (0, 1),
}


def check(config: ConfigDict) -> None:
    """Checks a configuration, as far as that takes no codec.

    Args:
      config: ConfigDict with `model` and `training`, whose fields are complete.

    Raises:
      errors.UsageError: it cannot work.
    """
    training = config.training
    objectives.get(training.objective)
    if training.crop_size % 64 or training.crop_size <= 0:
        raise errors.UsageError("training.crop_size must be a multiple of 64.")
    of_structure = training.objective in objectives.WITH_MS_SSIM
    if of_structure and training.crop_size < objectives.MS_SSIM_SHORTEST:
        raise errors.UsageError("MS-SSIM needs a training.crop_size of at least 192.")
    for field, (least, most) in _RANGES.items():
        if most is None and not least <= training[field] < math.inf:
            raise errors.UsageError(f"training.{field} must be at least {least}.")
        if most is not None and not least <= training[field] <= most:
            raise errors.UsageError(f"training.{field} must be from {least} to {most}.")
    if training.level_sampling not in LEVEL_SAMPLINGS:
        known = ", ".join(LEVEL_SAMPLINGS)
        raise errors.UsageError(f"training.level_sampling must be one of {known}.")
    if not 0 < training.downscale_min <= 1:
        raise errors.UsageError("training.downscale_min must be above 0 and at most 1.")
    if training.first_share and training.first_lmbda <= 0:
        raise errors.UsageError("training.first_lmbda must be above 0.")
    _check_rounded(training)
    _check_model(config.model)


def check_stages(codec: ImageCodec, training: ConfigDict) -> None:
    """Checks that training has a share for each stage of a codec but the last.

    Args:
      codec: the model to train.
      training: configuration with stage_shares, see `schedule.stage`.

    Raises:
      errors.UsageError: there are others, or they are no shares.
    """
    shares = training.stage_shares
    if len(shares) != codec.stages - 1:
        raise errors.UsageError(
            f"training.stage_shares has to have {codec.stages - 1} shares, all but the last "
            f"stage's, not {len(shares)}."
        )
    if any(share < 0 for share in shares) or sum(shares) > 1 + SLACK:
        raise errors.UsageError("training.stage_shares must not be negative, nor exceed 1 in all.")


def warn_of_crops(config: ConfigDict) -> None:
    """Warns of crops that teach the hyper networks nothing of neighbours.

    Args:
      config: as `check` has it.
    """
    training = config.training
    deep = config.model.get("hyper_channels") or config.model.get("coarse")
    if training.crop_size < 128 and deep:
        logging.warning(
            "Crops of %d pixels have a single hyper latent each; models so trained fail on larger "
            "images. training.crop_size should be 128 or more.",
            training.crop_size,
        )


def _check_model(model: ConfigDict) -> None:
    """Of all systems: levels that rise, and words that would silently mean something else."""
    lmbdas = [0.0, *model.lmbdas]
    rises = all(below < above < math.inf for below, above in zip(lmbdas, lmbdas[1:]))
    if not model.lmbdas or not rises:
        raise errors.UsageError("model.lmbdas must be above 0 and ascending, at least one.")
    for field in ("synthesis_input", "context_input"):
        if model.get(field, "noise") not in ("noise", "round"):
            raise errors.UsageError(f"model.{field} must be noise or round.")


def _check_rounded(training: ConfigDict) -> None:
    share = training.rounded_share
    before = max(training.first_share, sum(training.stage_shares))
    if share and before + share > 1 + SLACK:
        raise errors.UsageError(
            "training.rounded_share must leave the other phases and stages their shares."
        )
    if share and training.rounded_learning_rate <= 0:
        raise errors.UsageError("training.rounded_learning_rate must be above 0.")
