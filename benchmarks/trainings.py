"""Trainings that a benchmark compares: each in a folder of its own, resumable, read from records.

`recipe.py` and the ablations share it.
"""

import argparse
import json
import pathlib
import subprocess
import sys


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


def results(workdir, names, steps):
    """The records of those of `names` that are complete, by name."""
    rows = {name: result_of(folder_of(workdir, name, steps)) for name in names}
    return {name: record for name, record in rows.items() if record}


def print_costs(names, anchor, workdir, steps, columns=None):
    """Prints the validation cost of each complete training, and how far it is from one's.

    Args:
      names: of the trainings.
      anchor: the one that the others are compared with.
      workdir, steps: as `folder_of`.
      columns: more of them, a dict from headings to functions of a validation's record to a cell.
    """
    rows, columns = results(workdir, names, steps), columns or {}
    if not rows:
        print("Nothing is complete yet.")
        return
    usual = rows.get(anchor, {}).get("validation", {}).get("mean_loss")
    headings = ["trained", "cost", f"against {anchor}", *columns, "images seen", "minutes"]
    print("| " + " | ".join(headings) + " |\n" + "|---" * len(headings) + "|")
    for name, record in rows.items():
        found = record["validation"]
        cost = found["mean_loss"]
        cells = [name, f"{cost:.4f}", f"{100 * (cost / usual - 1):+.1f} %" if usual else ""]
        cells += [cell(found) for cell in columns.values()]
        seen, seconds = (total(record, field) for field in ("images_seen", "seconds"))
        cells += [f"{seen:,}", f"{seconds / 60:.1f}"]
        print("| " + " | ".join(cells) + " |")


def total(record, field):
    """The sum of a field over a training and the one it began with, if there is one."""
    return record[field] + (total(record["start"], field) if record.get("start") else 0)


def train(config, changes, data, folder, steps, source=None):
    """Trains in a process of its own; its live line is shown.

    Args:
      config: name of the configuration.
      changes: dict of what is overridden in it, by field.
      data: folder of images.
      folder: the training's own.
      steps: number of steps.
      source: what it begins with, another training's folder; new weights if None.

    Raises:
      subprocess.CalledProcessError: it failed, or diverged.
    """
    # One format for all that is compared: what "auto" finds may differ from one to the next.
    changes = {"training.precision": "float32", **changes}
    words = [f"--config.{field}={value}" for field, value in changes.items()]
    every = [f"--config.training.{kind}_every={steps}" for kind in ("validate", "checkpoint")]
    command = [sys.executable, "-m", "tfclic.cli.train", f"--model={config}"]
    where = [f"--data={data}", f"--workdir={folder}", f"--config.training.steps={steps}"]
    start = [f"--start-from={source}"] if source else []
    subprocess.run([*command, *where, *start, *every, *words], check=True)


def run(description, names, train_one, print_table):
    """The program: trains what is not complete, then prints the table.

    Args:
      description: for `--help`.
      names: of the trainings.
      train_one: function of (name, data, folder, steps, everywhere), as `train`; the last is a dict
        of what is overridden in all trainings.
      print_table: function of (workdir, steps).

    Returns:
      The exit status.
    """
    args = _arguments(description)
    wanted = tuple((args.only or "").split(","))
    for name in names if not args.table else ():
        folder = folder_of(args.workdir, name, args.steps)
        if name.startswith(wanted) and not result_of(folder):
            print(f"{name}:", file=sys.stderr)
            try:
                train_one(name, args.data, folder, args.steps, dict(args.set))
            except subprocess.CalledProcessError as error:
                print(f"{name} ended with exit status {error.returncode}.", file=sys.stderr)
    print_table(args.workdir, args.steps)
    return 0


def _pair(text):
    field, found, value = text.partition("=")
    if not found:
        raise argparse.ArgumentTypeError(f"{text} is not FIELD=VALUE")
    return field, value


def _arguments(description):
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder of training images")
    parser.add_argument("--workdir", required=True, help="where the trainings live")
    parser.add_argument("--steps", type=int, default=1000, help="of 8 crops; default: %(default)s")
    parser.add_argument("--only", metavar="NAME,...", help="beginnings of names; default: all")
    parser.add_argument(
        "--set", metavar="FIELD=VALUE", type=_pair, action="append", default=[],
        help="override a field of the configuration in all trainings",
    )  # fmt: skip
    parser.add_argument("--table", action="store_true", help="train nothing")
    args = parser.parse_args()
    if not args.table and not args.data:
        parser.error("--data is needed to train")
    return args
