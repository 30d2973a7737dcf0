"""The side of `speed.py` that runs CompressAI, or its coder, in an environment of its own.

Weights are random.
"""

import json
import sys

import speed_cca
import speed_statistics as made
import torch
import turns
from compressai.entropy_models import EntropyBottleneck
from compressai.models import Cheng2020Attention, MeanScaleHyperprior, ScaleHyperprior

# M, the latents of the hyperpriors; but for N = 64, which is narrower, as in the zoo
LATENTS = {64: 192, 128: 192, 192: 320}


class Scale(torch.nn.Module):
    """A gain per channel."""

    def __init__(self, gain):
        super().__init__()
        self.gain = gain[:, None, None]

    def forward(self, x):
        return x * self.gain


def _attention(width):
    model = Cheng2020Attention(width)
    last = model.entropy_parameters[-1]
    last.weight.data *= 0.1

    def set_scales(wanted):
        last.bias.data = torch.cat([wanted, torch.zeros_like(wanted)])

    return model, set_scales


def _hyperprior(width):
    model = ScaleHyperprior(width, LATENTS[width])
    last = model.h_s[-2]
    last.weight.data *= 0.1

    def set_scales(wanted):
        last.bias.data = wanted

    return model, set_scales


def _mean_scale(width):
    model = MeanScaleHyperprior(width, LATENTS[width])
    last = model.h_s[-1]
    last.weight.data *= 0.1

    def set_scales(wanted):
        last.bias.data = torch.cat([wanted, torch.zeros_like(wanted)])

    return model, set_scales


def _cca(latents):
    model = speed_cca.Cca(latents)
    for part in model.slices:
        for each in (part.mean, part.scale, part.residual):
            each[-1].weight.data *= 0.1

    def set_scales(wanted):
        for part, values in zip(model.slices, wanted.split(model.sizes)):
            part.scale[-1].bias.data = values

    return model, set_scales


MODELS = {
    "cheng2020-attn": _attention,
    "bmshj2018-hyperprior": _hyperprior,
    "mbt2018-mean": _mean_scale,
    "han2024-cca": _cca,
}


def make(name, width, image):
    """A model of random weights whose latents, and what it knows of them, are like trained ones.

    Args:
      name: one of `MODELS`.
      width: N; of cca M.
      image: float32 `[1, 3, H, W]`, 0..1.
    """
    torch.manual_seed(0)
    model, set_scales = MODELS[name](width)
    # most hyper latents of a trained model are 0, and its prior knows
    model.entropy_bottleneck = EntropyBottleneck(model.entropy_bottleneck.channels, init_scale=0.3)
    model.h_a[-1].weight.data *= 0.3
    model.eval()
    analysis, synthesis = model.g_a, model.g_s
    latents = analysis(image)
    level = latents.std((0, 2, 3), correction=0)
    model.g_s = torch.nn.Identity()

    def bpp_of(largest):
        wanted = torch.tensor(made.spreads(len(level), largest), dtype=torch.float32)
        model.g_a = Scale(wanted / level)
        set_scales(wanted.clamp(min=0.11))
        likelihoods = model(latents)["likelihoods"].values()
        return float(-sum(x.log2().sum() for x in likelihoods)) / made.HEIGHT / made.WIDTH

    made.fit(bpp_of)
    model.g_a, model.g_s = torch.nn.Sequential(analysis, model.g_a), synthesis
    model.update(force=True)
    return model


@torch.inference_mode()
def main():
    """Arguments as JSON: name, width. Codes once for each line of stdin; answers are JSON lines."""
    options = json.loads(sys.argv[1])
    pixels = made.image()

    def to_tensor():
        return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous() / 255

    def decompress(coded):
        decoded = model.decompress(coded["strings"], coded["shape"])["x_hat"]
        return (decoded[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()

    model = make(options["name"], options["width"], to_tensor())
    for _ in sys.stdin:
        encode, coded = turns.timed(lambda: model.compress(to_tensor()))
        decode, _ = turns.timed(decompress, coded)
        size = sum(len(string) for strings in coded["strings"] for string in strings)
        bpp = 8 * size / made.HEIGHT / made.WIDTH
        print(json.dumps({"encode": encode, "decode": decode, "bpp": bpp}), flush=True)


if __name__ == "__main__":
    main()
