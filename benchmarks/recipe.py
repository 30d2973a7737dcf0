"""What each part of the training recipe is worth: short trainings that differ in one thing.

    python benchmarks/recipe.py --data FOLDER --workdir DIR [--steps 1000] [--only NAME,...]

gmm_attention_small is trained as it is configured, and again with one thing changed, each time on
as many pixels. The rate-distortion cost (bits per pixel + lambda * MSE, the mean over all lambdas)
on held-out images of FOLDER says what the change did; lower is better. Each training has a folder
of its own in DIR and goes on where it was stopped; what is complete is not trained again, so that
the table can grow over days. `--table` prints what there is.
"""

import sys

import trainings

from tfclic import configuration

CONFIGURATION = "gmm_attention_small"
# name -> what is overridden, by field; "steps" and "batch" are factors; "first" is the change of a
# training that goes before, and whose weights this one begins with
CHANGES = {
    "as configured": {},
    "again, with another seed": {"training.seed": 2},
    "learning rate 2e-4": {"training.learning_rate": 2e-4},
    "learning rate 1e-3": {"training.learning_rate": 1e-3},
    "no warm-up": {"training.warmup_steps": 0},
    "no decay of the learning rate": {"training.decay_share": 0.0},
    "no moving average of the weights": {"training.ema_decay": 0.0},
    "gradients not clipped": {"training.clip_norm": 0.0},
    "gradients clipped at 0.3": {"training.clip_norm": 0.3},
    "rounded latents in the last tenth": {"training.rounded_share": 0.1},
    "noise into the synthesis": {"model.synthesis_input": "noise"},
    "noise into the context": {"model.context_input": "noise"},
    "noise into both": {"model.synthesis_input": "noise", "model.context_input": "noise"},
    "no linear block transform": {"model.block_transform": False},
    "crops of 256, a quarter as many": {"training.crop_size": 256, "batch": 0.25},
    "crops of 64, four times as many": {"training.crop_size": 64, "batch": 4},
    "crops of 128, then of 256": {
        "first": {"steps": 0.5, "training.decay_share": 0.0},
        "steps": 0.5,
        "batch": 0.25,
        "training.crop_size": 256,
        "training.warmup_steps": 0,
        "training.decay_share": 0.8,
    },
    "a twentieth of the crops drawn": {"training.drawn_share": 0.05},
    "levels stratified over a batch": {"training.level_sampling": "stratified"},
    "half the batch, twice the steps": {"batch": 0.5, "steps": 2},
    "twice the batch, half the steps": {"batch": 2, "steps": 0.5},
    "192 latents": {"model.latent_channels": 192},
    "320 latents": {"model.latent_channels": 320},
    "384 latents": {"model.latent_channels": 384},
    "attention at the latents": {"model.latent_attention": True},
    "widths 64, 64, 64": {"model.widths": (64, 64, 64)},
    "widths 48, 96, 128": {"model.widths": (48, 96, 128)},
    "widths 32, 96, 192": {"model.widths": (32, 96, 192)},
    "hyper prior ten times as wide, as TFC's": {"model.hyper_prior_scale": 10.0},
    "no attention": {"model.attention": "none"},
    "one Gaussian": {"model.mixtures": 1},
}


def train(name, data, folder, steps, everywhere):
    """Trains one change, as `trainings.train`; `everywhere` is changed in all trainings."""
    change, source = CHANGES[name], None
    if "first" in change:
        source = folder.with_name(f"{folder.name}-first")
        if not trainings.result_of(source):
            _train(change["first"], data, source, steps, everywhere)
    _train(change, data, folder, steps, everywhere, source)


def _train(change, data, folder, steps, everywhere, source=None):
    steps = round(steps * change.get("steps", 1))
    trainings.train(CONFIGURATION, overrides(change, everywhere), data, folder, steps, source)


def overrides(change, everywhere):
    """What a change overrides, by field, where `everywhere` is overridden in all trainings."""
    changes = {**everywhere, **{k: v for k, v in change.items() if "." in k}}
    if "batch" in change:
        _, config = configuration.load(CONFIGURATION)
        usual = int(everywhere.get("training.batch_size", config.training.batch_size))
        changes["training.batch_size"] = round(usual * change["batch"])
    return changes


def print_table(workdir, steps):
    """Prints what is complete."""
    trainings.print_costs(CHANGES, "as configured", workdir, steps)


if __name__ == "__main__":
    sys.exit(trainings.run(__doc__, CHANGES, train, print_table))
