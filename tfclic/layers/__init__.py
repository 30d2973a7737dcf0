"""Building blocks that the models share."""

from tfclic.layers.attention import Attention, NonLocal
from tfclic.layers.block_transform import BlockAnalysis, BlockSynthesis
from tfclic.layers.centres import LearnedCentres
from tfclic.layers.composite import FLOATS, Composite, Floats, Operations, layers_of
from tfclic.layers.gain import QualityGain
from tfclic.layers.gdn import GDN
from tfclic.layers.masked import MaskedConv2D, MaskedConv3D
from tfclic.layers.nafblock import EPSILON, ChannelNorm, NAFBlock
from tfclic.layers.neighbourhood import NeighbourhoodNetwork
from tfclic.layers.noise import drawn_for_batch, uniform_noise
from tfclic.layers.pointwise import PointwiseConv2D
from tfclic.layers.residual import ResidualBlock, ResidualDown, ResidualUnit, ResidualUp
from tfclic.layers.sequential import Sequential, in_turn
from tfclic.layers.spectral import SpectralConv2D
from tfclic.layers.subpixel import SubpixelConv2D

__all__ = [
    "EPSILON",
    "FLOATS",
    "GDN",
    "Attention",
    "BlockAnalysis",
    "BlockSynthesis",
    "ChannelNorm",
    "Composite",
    "Floats",
    "LearnedCentres",
    "MaskedConv2D",
    "MaskedConv3D",
    "NAFBlock",
    "NeighbourhoodNetwork",
    "NonLocal",
    "Operations",
    "PointwiseConv2D",
    "QualityGain",
    "ResidualBlock",
    "ResidualDown",
    "ResidualUnit",
    "ResidualUp",
    "Sequential",
    "SpectralConv2D",
    "SubpixelConv2D",
    "drawn_for_batch",
    "in_turn",
    "layers_of",
    "uniform_noise",
]
