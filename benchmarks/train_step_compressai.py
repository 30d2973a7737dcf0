"""The side of `train_step.py` that trains with CompressAI, in its own environment.

The step is that of CompressAI's examples/train.py: cheng2020-attn, Adam, gradients clipped at 1,
and the second optimizer for the prior's quantiles.
"""

import contextlib
import json
import sys

import torch
import turns
from compressai.losses import RateDistortionLoss
from compressai.models import Cheng2020Attention
from compressai.optimizers import net_aux_optimizer

OPTIMIZERS = {"net": {"type": "Adam", "lr": 1e-4}, "aux": {"type": "Adam", "lr": 1e-3}}


def make_step(width, variant, batch, size):
    """Makes a function without arguments that does one step on a fixed random batch.

    Args:
      width: N.
      variant: words of "float32" or "bfloat16" (autocast), and "channels_last".
      batch, size: images per step, and their side in pixels.
    """
    torch.manual_seed(0)
    model = Cheng2020Attention(width).train()
    images = torch.rand(batch, 3, size, size)
    if "channels_last" in variant:
        model = model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    criterion = RateDistortionLoss(lmbda=0.01)
    optimizers = net_aux_optimizer(model, OPTIMIZERS)

    def precision():
        if "bfloat16" in variant:
            return torch.autocast("cpu", torch.bfloat16)
        return contextlib.nullcontext()

    def run():
        for optimizer in optimizers.values():
            optimizer.zero_grad()
        with precision():
            loss = criterion(model(images), images)["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers["net"].step()
        model.aux_loss().backward()
        optimizers["aux"].step()
        return loss.item()

    return run


def main():
    """Arguments as JSON: width, variant, batch, size. Answers are JSON lines."""
    options = json.loads(sys.argv[1])
    run = make_step(*(options[key] for key in ("width", "variant", "batch", "size")))
    print(json.dumps({"torch": torch.__version__}), flush=True)
    turns.answer(run)


if __name__ == "__main__":
    main()
