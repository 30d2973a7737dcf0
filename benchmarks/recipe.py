"""What each part of the training recipe is worth: short trainings that differ in one thing.

    python benchmarks/recipe.py --data FOLDER --workdir DIR [--steps 1000] [--only NAME,...]

gmm_attention_small is trained as it is configured, and again with one thing changed, each time on
as many pixels. The rate-distortion cost (bits per pixel + lambda * MSE, the mean over all lambdas)
on held-out images of FOLDER says what the change did; lower is better. Each training has a folder
of its own in DIR and goes on where it was stopped; what is complete is not trained again, so that
the table can grow over days. `--table` prints what there is.
"""

import argparse
import json
import pathlib
import subprocess
import sys

# name -> what is overridden, by field; "steps" is a factor
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
    "noise into the synthesis": {"model.synthesis_input": "noise"},
    "no linear block transform": {"model.block_transform": False},
    "crops of 256, a quarter as many": {"training.crop_size": 256, "training.batch_size": 2},
    "crops of 64, four times as many": {"training.crop_size": 64, "training.batch_size": 32},
    "batch of 4, twice the steps": {"training.batch_size": 4, "steps": 2},
    "batch of 16, half the steps": {"training.batch_size": 16, "steps": 0.5},
    "widths 64, 64, 64": {"model.widths": (64, 64, 64)},
    "widths 48, 96, 128": {"model.widths": (48, 96, 128)},
    "no attention": {"model.attention": "none"},
    "one Gaussian": {"model.mixtures": 1},
}


def folder_of(workdir, name, steps):
    """Where the training called `name` lives."""
    plain = "".join(c if c.isalnum() else "-" for c in name)
    return pathlib.Path(workdir) / f"{plain}-{steps}"


def result_of(folder):
    """The record of a complete training; None if it is not complete."""
    try:
        record = json.loads((folder / "record.json").read_text())
    except FileNotFoundError:
        return None
    validation = record["validation"] or {}
    complete = record["steps"] == record["planned_steps"] == validation.get("step")
    return record if complete else None


def train(name, data, folder, steps):
    """Trains in a process of its own; its live line is shown.

    Raises:
      subprocess.CalledProcessError: it failed, or diverged.
    """
    changes = dict(CHANGES[name])
    steps = round(steps * changes.pop("steps", 1))
    words = [f"--config.{field}={value}" for field, value in changes.items()]
    every = [f"--config.training.{kind}_every={steps}" for kind in ("validate", "checkpoint")]
    command = [sys.executable, "-m", "tfclic.cli.train", "--model=gmm_attention_small"]
    where = [f"--data={data}", f"--workdir={folder}", f"--config.training.steps={steps}"]
    subprocess.run([*command, *where, *every, *words], check=True)


def print_table(workdir, steps):
    """Prints what is complete."""
    rows = {name: result_of(folder_of(workdir, name, steps)) for name in CHANGES}
    rows = {name: record for name, record in rows.items() if record}
    if not rows:
        print("Nothing is complete yet.")
        return
    usual = rows.get("as configured", {}).get("validation", {}).get("mean_loss")
    print("| change | cost | against as configured | minutes |\n|---|---|---|---|")
    for name, record in rows.items():
        cost = record["validation"]["mean_loss"]
        difference = f"{100 * (cost / usual - 1):+.1f} %" if usual else ""
        print(f"| {name} | {cost:.4f} | {difference} | {record['seconds'] / 60:.1f} |")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder of training images")
    parser.add_argument("--workdir", required=True, help="where the trainings live")
    parser.add_argument("--steps", type=int, default=1000, help="of 8 crops; default: %(default)s")
    parser.add_argument("--only", metavar="NAME,...", help="beginnings of names; default: all")
    parser.add_argument("--table", action="store_true", help="train nothing")
    args = parser.parse_args()
    if not args.table and not args.data:
        parser.error("--data is needed to train")
    wanted = tuple((args.only or "").split(","))
    for name in CHANGES if not args.table else ():
        folder = folder_of(args.workdir, name, args.steps)
        if name.startswith(wanted) and not result_of(folder):
            print(f"{name}:", file=sys.stderr)
            try:
                train(name, args.data, folder, args.steps)
            except subprocess.CalledProcessError as error:
                print(f"{name} ended with exit status {error.returncode}.", file=sys.stderr)
    print_table(args.workdir, args.steps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
