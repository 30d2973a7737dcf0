"""Han et al., NeurIPS 2024, at the paper's size, one model for all lambdas.

    bin/train --model=cca --data=FOLDER --workdir=DIR

Meant for a GPU. Trained in two phases, as in the paper: one rate first, then what is wanted. A
single rate, as the paper has it, is `--config.model.lmbdas='(0.0067,)'`; a first phase that several
of them share is a run of its own:

    bin/train --model=cca --data=FOLDER --workdir=FIRST --config.model.lmbdas='(0.015,)' \\
        --config.training.first_share=0
    bin/train --model=cca --data=FOLDER --workdir=DIR --config.model.lmbdas='(0.0067,)' \\
        --config.training.first_share=0 --start-from=FIRST
"""

import ml_collections

from tfclic import configuration


def get_config():
    """The paper's transforms and slices, and the training of gmm_attention."""
    _, config = configuration.load("gmm_attention")
    model = ml_collections.ConfigDict()
    model.name = "cca"
    model.latent_channels = 320
    model.widths = (192, 224, 256)
    model.bottleneck_blocks = 3
    model.naf_blocks = 4
    model.kernel_size = 5
    model.hyper_channels = 192
    model.hyper_width = 256
    model.hyper_prior_scale = config.model.hyper_prior_scale
    model.slices = 5
    model.slice_power = 1.7
    model.slice_sizes = ()
    model.support_channels = 224
    model.support_blocks = 4
    model.support_block = "bottleneck"
    model.slice_widths = (224, 128)
    model.gap_weight = 1.0
    model.block_transform = False
    model.lmbdas = config.model.lmbdas
    config.model = model
    config.training.first_share = 0.5  # of the steps, in which all images have one lambda:
    config.training.first_lmbda = 0.015
    return config
