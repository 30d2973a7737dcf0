"""gmm_attention_small for structure as well as for a high PSNR: half MS-SSIM, half squared error.

    bin/train --model=gmm_attention_small_mixed --data=FOLDER --workdir=NEW --start-from=RUN

RUN being one of gmm_attention_small, or that model's name. Lambdas are the same.
"""

from tfclic import configuration


def get_config():
    """Crops that five scales fit in, and a schedule that begins with a good codec."""
    _, config = configuration.load("gmm_attention_small")
    config.training.update(
        objective="mixed",
        crop_size=256,
        batch_size=2,
        learning_rate=2e-4,
        decay_share=0.7,
        steps=6_000,
    )
    return config
