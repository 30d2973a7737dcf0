"""Hu et al. 2020 and 2021 at the papers' width for lower rates, one model for all lambdas.

bin/train --model=coarse_to_fine_n192 --data=FOLDER --workdir=DIR
"""

from tfclic import configuration


def get_config():
    """coarse_to_fine with N = 192."""
    _, config = configuration.load("coarse_to_fine")
    channels = 192
    config.model.latent_channels = channels
    config.model.widths = (channels, channels, channels)
    config.model.fine_widths = (2 * channels, 4 * channels, 256)
    return config
