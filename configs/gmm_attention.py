"""Cheng et al. 2020 at the paper's width for higher rates, one model for all six lambdas.

    bin/train --model=gmm_attention --data=FOLDER --workdir=DIR

A single rate, as the paper trains it: `--config.model.lmbdas='(0.015,)'`. Meant for a GPU: the
paper's million steps are out of reach of a few CPU cores (see gmm_attention_small).
"""

import ml_collections


def get_config():
    """The settings of the paper (sections 3 and 4) for N = 192."""
    channels = 192
    model = ml_collections.ConfigDict()
    model.name = "gmm_attention"
    model.latent_channels = channels
    model.widths = (channels, channels, channels)
    model.hyper_channels = channels
    model.hyper_prior_scale = 1.0
    model.feature_channels = 2 * channels
    model.parameter_channels = 640
    model.mixtures = 3
    model.attention = "simplified"
    model.latent_attention = True
    model.residual = True
    model.kernel_size = 5
    model.block_transform = False
    model.synthesis_input = "noise"
    model.context_input = "noise"
    model.lmbdas = (0.0016, 0.0032, 0.0075, 0.015, 0.03, 0.045)

    training = ml_collections.ConfigDict()
    training.objective = "mse"
    training.steps = 1_000_000
    training.batch_size = 8
    training.crop_size = 256
    training.learning_rate = 1e-4
    training.final_learning_rate = 1e-5
    training.warmup_steps = 0
    training.decay_share = 0.08
    training.rounded_share = 0.0
    training.rounded_learning_rate = 1e-4
    training.clip_norm = 1.0
    training.ema_decay = 0.9999
    training.downscale_min = 0.5
    training.level_sampling = "independent"
    training.seed = 1
    training.validation_images = 32
    training.checkpoint_every = 1000
    training.validate_every = 10_000
    training.log_every = 20
    training.precision = "auto"
    return ml_collections.ConfigDict({"model": model, "training": training})
