"""cca as its paper describes it, for `speed.py`: in torch, on CompressAI's entropy models.

Source: Han et al., "Causal Context Adjustment Loss for Learned Image Compression", NeurIPS 2024,
figures 1 to 4 and table 3. Symbols and the indexes of their distributions go to the coder as lists,
slice by slice, and come from it as lists, which is how such systems code.
"""

import torch
from compressai.ans import BufferedRansEncoder, RansDecoder
from compressai.entropy_models import EntropyBottleneck, GaussianConditional
from compressai.models import CompressionModel
from torch import nn

WIDTHS = 192, 224, 256
BOTTLENECKS, NAF_BLOCKS = 3, 4
HYPER_WIDTH, HYPER_LATENTS = 256, 192
SLICES, POWER = 5, 1.7
SUPPORT, STACK = 224, (224, 128)


def down(taken, made):
    return nn.Conv2d(taken, made, 5, 2, 2)


def up(taken, made):
    return nn.ConvTranspose2d(taken, made, 5, 2, 2, 1)


class Plus(nn.Sequential):
    """What layers make, and what they were given."""

    def forward(self, x):
        return x + super().forward(x)


def bottleneck(width):
    half = width // 2
    return Plus(
        *(nn.Conv2d(width, half, 1), nn.ReLU(), nn.Conv2d(half, half, 3, 1, 1), nn.ReLU()),
        nn.Conv2d(half, width, 1),
    )


class ChannelNorm(nn.LayerNorm):
    """Over the channels of `[B, C, H, W]`."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Gate(nn.Module):
    def forward(self, x):
        first, second = x.chunk(2, 1)
        return first * second


class ChannelAttention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.project = nn.Conv2d(width, width, 1)

    def forward(self, x):
        return x * self.project(x.mean((2, 3), keepdim=True))


class Weighted(nn.Sequential):
    """What layers make, each channel times its weight, and what they were given."""

    def __init__(self, width, *layers):
        super().__init__(*layers)
        self.weight = nn.Parameter(torch.full([width, 1, 1], 0.1))

    def forward(self, x):
        return x + self.weight * super().forward(x)


def naf(width):
    return nn.Sequential(
        Weighted(
            width,
            *(ChannelNorm(width), nn.Conv2d(width, 2 * width, 1)),
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1, groups=2 * width),
            *(Gate(), ChannelAttention(width), nn.Conv2d(width, width, 1)),
        ),
        Weighted(
            width,
            *(ChannelNorm(width), nn.Conv2d(width, 2 * width, 1)),
            *(Gate(), nn.Conv2d(width, width, 1)),
        ),
    )


def repeated(block, count, width):
    return [block(width) for _ in range(count)]


def hyper_synthesis(latents):
    return nn.Sequential(
        *(up(HYPER_LATENTS, HYPER_WIDTH), nn.GELU(), up(HYPER_WIDTH, HYPER_WIDTH), nn.GELU()),
        nn.Conv2d(HYPER_WIDTH, latents, 3, 1, 1),
    )


def support(channels):
    blocks = Plus(*repeated(naf, NAF_BLOCKS, SUPPORT))
    return nn.Sequential(nn.Conv2d(channels, SUPPORT, 1), blocks, nn.Conv2d(SUPPORT, channels, 1))


def stack(channels, made):
    first, second = STACK
    return nn.Sequential(
        *(nn.Conv2d(channels, first, 3, 1, 1), nn.GELU()),
        *(nn.Conv2d(first, second, 3, 1, 1), nn.GELU()),
        nn.Conv2d(second, made, 3, 1, 1),
    )


class Slice(nn.Module):
    """The networks of a slice of `size` channels after `known` others, of M latents."""

    def __init__(self, latents, known, size):
        super().__init__()
        channels = latents + known
        self.mean_support, self.scale_support = support(channels), support(channels)
        self.mean, self.scale = stack(channels, size), stack(channels, size)
        self.residual = stack(channels + size, size)

    def parameters_of(self, features, known):
        supports = [
            network(torch.cat([feature, *known], 1))
            for network, feature in zip((self.mean_support, self.scale_support), features)
        ]
        return self.mean(supports[0]), self.scale(supports[1]), supports[0]

    def refined(self, decoded, means):
        return decoded + 0.5 * torch.tanh(self.residual(torch.cat([means, decoded], 1)))


class Cca(CompressionModel):
    """The system of the paper's figure 1, for one rate.

    Args:
      latents: M.
    """

    def __init__(self, latents):
        super().__init__()
        w1, w2, w3 = WIDTHS
        analysis, synthesis = [], []
        for taken, made in zip((3, w1, w2), WIDTHS):
            analysis += [down(taken, made), *repeated(bottleneck, BOTTLENECKS, made)]
            analysis += repeated(naf, NAF_BLOCKS, made)
        for taken, made in zip((latents, w3, w2), (w3, w2, w1)):
            synthesis += [up(taken, made), *repeated(naf, NAF_BLOCKS, made)]
            synthesis += repeated(bottleneck, BOTTLENECKS, made)
        self.g_a = nn.Sequential(*analysis, down(w3, latents))
        self.g_s = nn.Sequential(*synthesis, up(w1, 3))
        self.h_a = nn.Sequential(
            *(nn.Conv2d(latents, HYPER_WIDTH, 3, 1, 1), nn.GELU()),
            *(down(HYPER_WIDTH, HYPER_WIDTH), nn.GELU(), down(HYPER_WIDTH, HYPER_LATENTS)),
        )
        self.h_mean, self.h_scale = hyper_synthesis(latents), hyper_synthesis(latents)
        self.entropy_bottleneck = EntropyBottleneck(HYPER_LATENTS)
        self.gaussian = GaussianConditional(None)
        shares = [n**POWER for n in range(1, SLICES + 1)]
        sizes = [int(latents * share / sum(shares)) for share in shares]
        self.sizes = [*sizes[:-1], latents - sum(sizes[:-1])]
        ends = [sum(self.sizes[:i]) for i in range(SLICES)]
        self.slices = nn.ModuleList(map(Slice, [latents] * SLICES, ends, self.sizes))

    def forward(self, x):
        y = self.g_a(x)
        z_hat, z_likelihoods = self.entropy_bottleneck(self.h_a(y))
        features, known, found = (self.h_mean(z_hat), self.h_scale(z_hat)), [], []
        for part, values in zip(self.slices, y.split(self.sizes, 1)):
            means, scales, given = part.parameters_of(features, known)
            found.append(self.gaussian(values, scales, means)[1])
            known.append(part.refined((values - means).round() + means, given))
        x_hat = self.g_s(torch.cat(known, 1))
        return {"x_hat": x_hat, "likelihoods": {"y": torch.cat(found, 1), "z": z_likelihoods}}

    def compress(self, x):
        y = self.g_a(x)
        z = self.h_a(y)
        z_strings, shape = self.entropy_bottleneck.compress(z), z.shape[-2:]
        features = self._features(z_strings, shape)
        known, symbols, indexes = [], [], []
        for part, values in zip(self.slices, y.split(self.sizes, 1)):
            means, scales, given = part.parameters_of(features, known)
            index = self.gaussian.build_indexes(scales)
            symbol = self.gaussian.quantize(values, "symbols", means)
            symbols += symbol.reshape(-1).tolist()
            indexes += index.reshape(-1).tolist()
            known.append(part.refined(symbol + means, given))
        encoder = BufferedRansEncoder()
        encoder.encode_with_indexes(symbols, indexes, *self._tables())
        return {"strings": [[encoder.flush()], z_strings], "shape": shape}

    def decompress(self, strings, shape):
        features, known, tables = self._features(strings[1], shape), [], self._tables()
        decoder = RansDecoder()
        decoder.set_stream(strings[0][0])
        for part in self.slices:
            means, scales, given = part.parameters_of(features, known)
            index = self.gaussian.build_indexes(scales)
            symbols = decoder.decode_stream(index.reshape(-1).tolist(), *tables)
            decoded = torch.tensor(symbols).reshape(index.shape) + means
            known.append(part.refined(decoded, given))
        return {"x_hat": self.g_s(torch.cat(known, 1)).clamp(0, 1)}

    def _features(self, z_strings, shape):
        z_hat = self.entropy_bottleneck.decompress(z_strings, shape)
        return self.h_mean(z_hat), self.h_scale(z_hat)

    def _tables(self):
        gaussian = self.gaussian
        tables = gaussian.quantized_cdf, gaussian.cdf_length, gaussian.offset
        return [each.tolist() for each in tables]
