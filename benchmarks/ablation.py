"""The ablation ladder: the systems that the papers compare, trained alike for a small budget.

    python benchmarks/ablation.py --data FOLDER --workdir DIR [--steps 1000] [--only NAME,...]

Every rung sees the same crops of the same images in the same order, with the recipe, the widths and
the linear block transform of gmm_attention_small, but for recurrent, which has no block transform;
what differs is the entropy model and, in nonlinear_transforms, conditional_probability, recurrent,
elic and gmm_attention, the transforms. The table has the rate-distortion cost (bits per pixel +
lambda * MSE, the mean over all lambdas) on held-out images of FOLDER, and the BD-rate against joint
over these lambdas there, from probabilities and not from files; lower is better. Each training has
a folder of its own in DIR and goes on where it was stopped; what is complete is not trained again.
`--table` prints what there is. `--set` changes all rungs, such as
`--set "model.widths=(64, 96, 128)"`.
"""

import sys

import trainings

from tfclic import configuration
from tfclic.evaluation import curves

RECIPE = "gmm_attention_small"
ANCHOR = "joint"
# what the baselines take over from the recipe's model, as far as they have it
SHARED = (
    "latent_channels",
    "lmbdas",
    "widths",
    "hyper_channels",
    "hyper_prior_scale",
    "block_transform",
    "synthesis_input",
    "context_input",
)
# `trainings.train` sets these
LENGTHS = ("steps", "checkpoint_every", "validate_every")
# name -> configuration, what is overridden in it
RUNGS = {
    "factorized": ("factorized", {}),
    "nonlinear_transforms": ("nonlinear_transforms", {}),
    "hyperprior": ("hyperprior", {}),
    "mean_scale": ("mean_scale", {}),
    "joint": ("joint", {"model.parameter_channels": (384, 384)}),
    "context_adaptive": (
        "context_adaptive",
        {"model.context_channels": 192, "model.parameter_channels": (384, 384)},
    ),
    "conditional_probability": ("conditional_probability", {"model.residual_groups": 1}),
    "recurrent": (
        "recurrent",
        {
            "model.latent_channels": 288,
            "model.encoder_widths": (32, 64, 96, 96),
            "model.decoder_widths": (96, 96, 64, 64),
        },
    ),
    "elic": ("elic_small", {}),
    "gmm_attention without both": (RECIPE, {"model.mixtures": 1, "model.attention": "none"}),
    "gmm_attention without GMM": (RECIPE, {"model.mixtures": 1}),
    "gmm_attention without attention": (RECIPE, {"model.attention": "none"}),
    "gmm_attention with both": (RECIPE, {}),
}


def changes_of(name):
    """What is overridden in the configuration of a rung, by field."""
    base, own = RUNGS[name]
    (_, recipe), (_, config) = (configuration.load(stem) for stem in (RECIPE, base))
    fields = {f"model.{key}": recipe.model[key] for key in SHARED if key in config.model}
    training = {key: value for key, value in recipe.training.items() if key not in LENGTHS}
    fields.update({f"training.{key}": value for key, value in training.items()})
    flat = {f"{part}.{key}": value for part in config for key, value in config[part].items()}
    return {**{key: value for key, value in fields.items() if flat[key] != value}, **own}


def train(name, data, folder, steps, everywhere):
    """Trains one rung, as `trainings.train`; `everywhere` is changed in all rungs."""
    changes = {**changes_of(name), **everywhere}
    trainings.train(RUNGS[name][0], changes, data, folder, steps)


def print_table(workdir, steps):
    """Prints what is complete."""
    anchor = trainings.results(workdir, [ANCHOR], steps).get(ANCHOR)

    def against(found):
        return _bd_rate(anchor["validation"], found) if anchor else "no anchor"

    trainings.print_costs(RUNGS, ANCHOR, workdir, steps, {"BD-rate": against})


def _bd_rate(anchor, curve):
    both = ({"results": {"bpp": each["bpp"], "psnr-rgb": each["psnr"]}} for each in (anchor, curve))
    found = curves.difference(*both)
    if found.rate is None:
        return "too little overlap"
    return f"{found.rate:+.1f} % ({found.lowest:.2f} to {found.highest:.2f} dB)"


if __name__ == "__main__":
    sys.exit(trainings.run(__doc__, RUNGS, train, print_table))
