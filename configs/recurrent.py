"""Toderici et al., CVPR 2017, at the paper's size, with nine iterations.

    bin/train --model=recurrent --data=FOLDER --workdir=DIR

Meant for a GPU.
"""

import ml_collections

from tfclic import configuration


def get_config():
    """The paper's networks, and the training of gmm_attention; an iteration for each lambda."""
    _, config = configuration.load("gmm_attention")
    model = ml_collections.ConfigDict()
    model.name = "recurrent"
    model.lmbdas = (0.0016, 0.0027, 0.0045, 0.0075, 0.0125, 0.03, 0.07, 0.17, 0.4)
    model.code_channels = 32
    model.latent_channels = model.code_channels * len(model.lmbdas)
    model.encoder_widths = (64, 256, 512, 512)
    model.decoder_widths = (512, 512, 256, 128)
    model.decoder_hidden_sizes = (1, 1, 3, 3)
    model.context_channels = 64
    model.parameter_channels = (128,)
    model.synthesis_input = "round"
    model.context_input = "round"
    config.model = model
    return config
