"""He et al., CVPR 2022, at the paper's size, one model for all lambdas.

    bin/train --model=elic --data=FOLDER --workdir=DIR

Meant for a GPU. A single rate, as the paper has it, is `--config.model.lmbdas='(0.015,)'`.
"""

import ml_collections

from tfclic import configuration


def get_config():
    """The paper's transforms and groups, and the training of gmm_attention."""
    _, config = configuration.load("gmm_attention")
    model = ml_collections.ConfigDict()
    model.name = "elic"
    model.latent_channels = 320
    model.widths = (192, 192, 192)
    model.bottleneck_blocks = 3
    model.attention = True
    model.latent_attention = True
    model.kernel_size = 5
    model.hyper_channels = 192
    model.hyper_prior_scale = config.model.hyper_prior_scale
    model.feature_channels = 640
    model.group_sizes = (16, 16, 32, 64, 192)
    model.channel_widths = (224, 128)
    model.context_channels = 0
    model.parameter_channels = (640, 512)
    model.block_transform = False
    model.synthesis_input = "round"
    model.context_input = "round"
    model.lmbdas = config.model.lmbdas
    config.model = model
    return config
