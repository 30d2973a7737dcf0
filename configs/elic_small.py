"""An elic that two CPU cores train in an afternoon.

    bin/train --model=elic_small --data=FOLDER --workdir=DIR

Narrow where the feature maps are large, with a linear block transform beside the nonlinear path, so
that a short training starts from a good codec. Its channels are in the order of their strength, so
that the small first groups have the strongest. Latents, levels and recipe as gmm_attention_small.
"""

from tfclic import configuration


def get_config():
    """Widths 32, 64 and 96 around 512 latent channels in five groups, few blocks."""
    _, config = configuration.load("elic")
    _, small = configuration.load("gmm_attention_small")
    config.model.update(
        latent_channels=small.model.latent_channels,
        lmbdas=small.model.lmbdas,
        widths=small.model.widths,
        bottleneck_blocks=1,
        latent_attention=False,
        hyper_channels=96,
        feature_channels=256,
        group_sizes=(16, 16, 32, 64, 384),
        channel_widths=(64, 48),
        context_channels=64,
        parameter_channels=(256, 192),
        block_transform=True,
    )
    config.training = small.training
    return config
