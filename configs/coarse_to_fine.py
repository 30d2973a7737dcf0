"""Hu et al. 2020 and 2021 at the papers' width for higher rates, one model for all lambdas.

    bin/train --model=coarse_to_fine --data=FOLDER --workdir=DIR

For the lower rates the papers are narrower: coarse_to_fine_n192. Meant for a GPU; what CPUs can
train is coarse_to_fine_small.
"""

import ml_collections

from tfclic import configuration


def get_config():
    """N = 384, and the training of gmm_attention in the papers' four stages."""
    _, config = configuration.load("gmm_attention")
    channels = 384
    model = ml_collections.ConfigDict()
    model.name = "coarse_to_fine"
    model.latent_channels = channels
    model.widths = (channels, channels, channels)
    model.kernel_size = 5
    model.fine_widths = (2 * channels, 4 * channels, 256)
    model.coarse_widths = (512, 256, 128)
    model.coarse_features = 256
    model.prediction_widths = (64, 128, 128)
    model.coarse = True
    model.aggregation = True
    model.helping_weight = 0.1
    model.block_transform = False
    model.synthesis_input = "round"
    model.lmbdas = config.model.lmbdas
    config.model = model
    config.training.stage_shares = (0.1, 0.2, 0.3)
    return config
