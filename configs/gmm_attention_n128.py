"""Cheng et al. 2020 at the paper's width for the three lower rates.

bin/train --model=gmm_attention_n128 --data=FOLDER --workdir=DIR
"""

from tfclic import configuration


def get_config():
    """The paper's settings for N = 128 and its three lower lambdas."""
    _, config = configuration.load("gmm_attention")
    n = 128
    config.model.update(
        latent_channels=n, widths=(n, n, n), hyper_channels=n, feature_channels=2 * n
    )
    config.model.lmbdas = (0.0016, 0.0032, 0.0075)
    return config
