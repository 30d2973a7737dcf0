"""Ballé, PCS 2018, at the width for higher rates.

    bin/train --model=nonlinear_transforms --data=FOLDER --workdir=DIR

For the lower rates narrower ones do: `--config.model.latent_channels=192
--config.model.widths='(128, 128, 128)'`. Meant for a GPU.
"""

from tfclic import configuration


def get_config():
    """The widths and the training of factorized, whose entropy model it has."""
    _, config = configuration.load("factorized")
    config.model.name = "nonlinear_transforms"
    return config
