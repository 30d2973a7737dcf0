"""Convolutions trained by their frequencies, GDN with its squares, and a factorized prior.

Source: Ballé, "Efficient Nonlinear Transforms for Lossy Image Compression", PCS 2018: Sadam,
and GDN, whose exponents are simplified to 2 and 1/2. Unlike there, one model serves all rates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfclic.layers import GDN, Sequential, SpectralConv2D
from tfclic.models import transforms
from tfclic.models.factorized import Factorized

if TYPE_CHECKING:
    from ml_collections import ConfigDict


class Analysis(Sequential):
    """Images to latents y, `[B, H, W, 3] -> [B, H/16, W/16, N]`."""

    def __init__(self, config: ConfigDict) -> None:
        layers: transforms.Layers = []
        k = config.kernel_size
        for width in config.widths:
            layers += [SpectralConv2D(width, k, 2), GDN(squares=True)]
        last, n = transforms.last_initializer(config), config.latent_channels
        layers.append(SpectralConv2D(n, k, 2, use_bias=False, kernel_initializer=last))
        super().__init__(layers, name="analysis")


class Synthesis(Sequential):
    """Latents to images, `[B, H/16, W/16, N] -> [B, H, W, 3]`: the mirror of `Analysis`."""

    def __init__(self, config: ConfigDict) -> None:
        layers: transforms.Layers = []
        k = config.kernel_size
        for width in reversed(config.widths):
            layers.append(SpectralConv2D(width, k, 2, transposed=True))
            layers.append(GDN(inverse=True, squares=True))
        last = transforms.last_initializer(config)
        layers.append(SpectralConv2D(3, k, 2, transposed=True, kernel_initializer=last))
        super().__init__(layers, name="synthesis")


class NonlinearTransforms(Factorized):
    """The codec of the paper: these transforms, and a learned distribution for each channel.

    Args:
      config: as `Factorized`.
    """

    def __init__(self, config: ConfigDict) -> None:
        super().__init__(config, analysis=Analysis, synthesis=Synthesis)


def build(config: ConfigDict) -> NonlinearTransforms:
    """Builds the codec from `config` (see `NonlinearTransforms`)."""
    return NonlinearTransforms(config)
