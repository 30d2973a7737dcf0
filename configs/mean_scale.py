"""Minnen et al., NeurIPS 2018, without context, at the papers' width for higher rates.

    bin/train --model=mean_scale --data=FOLDER --workdir=DIR

For the lower rates the papers are narrower: `--config.model.latent_channels=192
--config.model.widths='(128, 128, 128)'` and `--config.model.hyper_channels=128`. Meant for a GPU.
"""

from tfclic import configuration


def get_config():
    """The widths and the training of hyperprior, whose side information says less."""
    _, config = configuration.load("hyperprior")
    config.model.name = "mean_scale"
    return config
