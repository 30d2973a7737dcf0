"""Even against uneven slices, with and without the causal context adjustment loss.

    python benchmarks/ablation_slices.py --data FOLDER --workdir DIR [--steps N] [--only NAME,...]

The table of the cca paper (its table 1) at a small budget: cca_small is trained four times on the
same crops in the same order, and once with the paper's NAF blocks in the entropy model, where
others have bottleneck blocks, which can be exact. The rate-distortion cost (bits per pixel + lambda
* MSE, the mean over all lambdas) on held-out images of FOLDER is what counts; lower is better. The
latents' bits by slice, there, tell whether information moves into early slices. Each training has a
folder of its own in DIR and goes on where it was stopped. `--table` prints what there is.
"""

import statistics
import sys

import trainings

CONFIGURATION = "cca_small"
ANCHOR = "even"
# name -> what is overridden, by field
RUNGS = {
    ANCHOR: {"model.slice_power": 0.0, "model.gap_weight": 0.0},
    "uneven": {"model.gap_weight": 0.0},
    "even, CCA loss": {"model.slice_power": 0.0},
    "uneven, CCA loss": {},
    "the same with NAF blocks": {"model.support_block": "naf"},
}


def train(name, data, folder, steps, everywhere):
    """Trains one rung, as `trainings.train`; `everywhere` is changed in all rungs."""
    trainings.train(CONFIGURATION, {**everywhere, **RUNGS[name]}, data, folder, steps)


def print_table(workdir, steps):
    """Prints what is complete."""
    columns = {"latents' bits by slice": _shares}
    trainings.print_costs(RUNGS, ANCHOR, workdir, steps, columns)


def _shares(validation):
    """The share of each slice in the bits of latents, in the mean over all lambdas."""
    slices = [values for name, values in validation.items() if name.startswith("bpp/slice_")]
    bits = [statistics.fmean(values) for values in slices]
    return ", ".join(f"{100 * each / sum(bits):.0f} %" for each in bits)


if __name__ == "__main__":
    sys.exit(trainings.run(__doc__, RUNGS, train, print_table))
