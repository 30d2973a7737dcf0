"""A cca that two CPU cores train in an afternoon.

    bin/train --model=cca_small --data=FOLDER --workdir=DIR

Narrow where the feature maps are large, with a linear block transform beside the nonlinear path, so
that a short training starts from a good codec. Its channels are in the order of their strength, so
that the small first slices have the strongest. Otherwise the recipe of gmm_attention_small, with
larger crops: channel attention learns averages from them, which whole images have to have, too.
"""

from tfclic import configuration


def get_config():
    """Widths 32, 64 and 96 around 512 latent channels in five slices, few blocks."""
    _, config = configuration.load("cca")
    _, small = configuration.load("gmm_attention_small")
    config.model.update(
        latent_channels=small.model.latent_channels,
        lmbdas=small.model.lmbdas,
        widths=(32, 64, 96),
        bottleneck_blocks=1,
        naf_blocks=1,
        hyper_channels=96,
        hyper_width=96,
        support_channels=64,
        support_blocks=1,
        slice_widths=(64, 48),
        block_transform=True,
    )
    config.training = small.training
    config.training.update(crop_size=256, batch_size=2)
    return config
