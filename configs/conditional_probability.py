"""Mentzer et al., CVPR 2018, with as many latents as its widest model.

    bin/train --model=conditional_probability --data=FOLDER --workdir=DIR

Meant for a GPU. A single rate, as the paper has it, is `--config.model.lmbdas='(0.015,)'`.
"""

import ml_collections

from tfclic import configuration


def get_config():
    """The paper's transforms and context, and the training of gmm_attention."""
    _, config = configuration.load("gmm_attention")
    model = ml_collections.ConfigDict()
    model.name = "conditional_probability"
    model.latent_channels = 256
    model.widths = (64, 128, 128)
    model.kernel_size = 5
    model.residual_groups = 5
    model.centres = 3
    model.context_size = 3
    model.context_channels = 24
    model.probability_channels = (24, 24)
    model.mixtures = 3
    model.block_transform = False
    model.synthesis_input = "round"
    model.context_input = "round"
    model.lmbdas = config.model.lmbdas
    config.model = model
    return config
