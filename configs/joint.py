"""Minnen et al., NeurIPS 2018, with hyperprior and context, at the papers' width for higher rates.

    bin/train --model=joint --data=FOLDER --workdir=DIR

For the lower rates the papers are narrower: `--config.model.latent_channels=192
--config.model.widths='(128, 128, 128)'` and `--config.model.hyper_channels=128`. Meant for a GPU.
"""

from tfclic import configuration


def get_config():
    """mean_scale with the paper's parameter network."""
    _, config = configuration.load("mean_scale")
    config.model.name = "joint"
    config.model.parameter_channels = (640, 512)
    config.model.context_input = "noise"
    return config
