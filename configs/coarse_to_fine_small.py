"""A coarse_to_fine that two CPU cores train in an afternoon and run in a second.

    bin/train --model=coarse_to_fine_small --data=FOLDER --workdir=DIR

Widths and recipe are those of gmm_attention_small, crops larger, since hyper latents are few.
"""

from tfclic import configuration


def get_config():
    """Widths 32, 64 and 96 around 512 latent channels."""
    _, config = configuration.load("coarse_to_fine")
    _, small = configuration.load("gmm_attention_small")
    config.model.update(
        latent_channels=small.model.latent_channels,
        lmbdas=small.model.lmbdas,
        widths=small.model.widths,
        fine_widths=(128, 256, 64),
        coarse_widths=(128, 128, 32),
        coarse_features=64,
        prediction_widths=(64, 96, 96),
        block_transform=True,
        synthesis_input="round",
    )
    stages = config.training.stage_shares
    config.training = small.training
    config.training.stage_shares = stages
    config.training.update(crop_size=256, batch_size=2)
    return config
