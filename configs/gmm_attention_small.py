"""A gmm_attention that two CPU cores train in an afternoon and run in a second.

    bin/train --model=gmm_attention_small --data=FOLDER --workdir=DIR

Narrow where the feature maps are large, and with a linear block transform beside the nonlinear
path, so that a short training starts from a good codec. Many latents, which cost little: most are
silent in most images, and those that are not take the picture to 40 dB and more. No attention at
the latents, where it would have two fifths of all weights and gain 0.6 %.
"""

from tfclic import configuration


def get_config():
    """Widths 32, 64 and 96 around 512 latent channels, and a recipe for some ten thousand steps."""
    _, config = configuration.load("gmm_attention")
    config.model.update(
        latent_channels=512,
        latent_attention=False,
        lmbdas=(0.0016, 0.0027, 0.0045, 0.0075, 0.0125, 0.03, 0.07, 0.17, 0.4),
        widths=(32, 64, 96),
        hyper_channels=96,
        feature_channels=256,
        parameter_channels=384,
        block_transform=True,
        synthesis_input="round",
        context_input="round",
    )
    config.training.update(
        steps=12_000,
        crop_size=128,
        learning_rate=5e-4,
        final_learning_rate=1e-5,
        warmup_steps=300,
        decay_share=0.4,
        ema_decay=0.998,
        checkpoint_every=250,
        validate_every=1000,
    )
    return config
