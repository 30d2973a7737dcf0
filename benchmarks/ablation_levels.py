"""What each part of coarse_to_fine is worth: trained alike for a small budget, one left out.

    python benchmarks/ablation_levels.py --data FOLDER --workdir DIR [--steps N] [--only NAME,...]

coarse_to_fine_small is trained as it is configured, and again without its coarse level, without
information aggregation, without auxiliary losses, and with noise in the place of rounding into all
syntheses, on the same crops in the same order. The rate-distortion cost (bits per pixel + lambda *
MSE, the mean over all lambdas) on held-out images of FOLDER says what the part is worth; lower is
better. Each training has a folder of its own in DIR and goes on where it was stopped. `--table`
prints what there is.
"""

import sys

import trainings

CONFIGURATION = "coarse_to_fine_small"
WHOLE = "whole"
# name -> what is overridden, by field
RUNGS = {
    WHOLE: {},
    "without coarse level": {"model.coarse": False},
    "without aggregation": {"model.aggregation": False},
    "without auxiliary losses": {"model.helping_weight": 0.0},
    "without rounding": {"model.synthesis_input": "noise"},
}


def train(name, data, folder, steps, everywhere):
    """Trains one rung, as `trainings.train`; `everywhere` is changed in all rungs."""
    trainings.train(CONFIGURATION, {**everywhere, **RUNGS[name]}, data, folder, steps)


def print_table(workdir, steps):
    """Prints what is complete."""
    trainings.print_costs(RUNGS, WHOLE, workdir, steps)


if __name__ == "__main__":
    sys.exit(trainings.run(__doc__, RUNGS, train, print_table))
