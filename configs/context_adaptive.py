"""Lee et al., ICLR 2019, at the width for higher rates.

    bin/train --model=context_adaptive --data=FOLDER --workdir=DIR

For the lower rates the paper is narrower: `--config.model.latent_channels=192
--config.model.widths='(128, 128, 128)'` and `--config.model.hyper_channels=128`. Meant for a GPU.
"""

from tfclic import configuration


def get_config():
    """The widths and the training of mean_scale, with the parameter network of joint."""
    _, config = configuration.load("mean_scale")
    config.model.name = "context_adaptive"
    config.model.context_channels = 384
    config.model.parameter_channels = (640, 512)
    config.model.context_input = "noise"
    del config.model.hyper_prior_scale
    return config
