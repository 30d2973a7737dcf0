"""Minnen et al., NeurIPS 2018, without context, at the papers' width for higher rates.

    bin/train --model=mean_scale --data=FOLDER --workdir=DIR

For the lower rates the papers are narrower: `--config.model.latent_channels=192
--config.model.widths='(128, 128, 128)'` and `--config.model.hyper_channels=128`. Meant for a GPU.
"""

import ml_collections

from tfclic import configuration


def get_config():
    """N = 192, M = 320, and the training of gmm_attention."""
    _, config = configuration.load("gmm_attention")
    channels = 192
    model = ml_collections.ConfigDict()
    model.name = "mean_scale"
    model.latent_channels = 320
    model.widths = (channels, channels, channels)
    model.hyper_channels = channels
    model.hyper_prior_scale = config.model.hyper_prior_scale
    model.kernel_size = 5
    model.block_transform = False
    model.synthesis_input = "noise"
    model.lmbdas = config.model.lmbdas
    config.model = model
    return config
