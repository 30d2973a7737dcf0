"""gmm_attention_small for a high MS-SSIM instead of a high PSNR.

    bin/train --model=gmm_attention_small_ms_ssim --data=FOLDER --workdir=NEW --start-from=RUN

RUN being one of gmm_attention_small: distortions of 1 - MS-SSIM are a thousandth as large as mean
squared errors, and its gains, one for each of nine lambdas, fit these from the start.
"""

from tfclic import configuration


def get_config():
    """Nine lambdas, over more than the range of the paper's four; otherwise as `mixed`."""
    _, config = configuration.load("gmm_attention_small_mixed")
    config.model.lmbdas = (3.0, 6.0, 12.0, 25.0, 50.0, 120.0, 250.0, 500.0, 1000.0)
    config.training.objective = "ms_ssim"
    return config
