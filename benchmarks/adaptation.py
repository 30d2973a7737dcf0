"""What probabilities that adapt to the picture would save: tables that learn while it is coded.

    python benchmarks/adaptation.py MODEL|RUN --images FOLDER [--held-out N] [--first N]
                                    [--qualities Q,Q,...] [--learn-from FOLDER] [--learn N]
                                    [--json FILE]

MODEL is the name or the folder of an exported model, RUN the folder of a training run. Half of a
file's bits or more are decisions whether a latent is at the centre of its distribution. They are
taken as a file has them. A stage behind the model's probability, as PAQ and CABAC have it, maps its
logit by tables that learn what became of the decisions before: after each wavefront, or, where no
position depends on another one, every four rows, for a decoder could do no better. The table says
how many percent of all bits each stage would save; the stages are

- `one`: one table for all latents,
- `channels`: a table for each channel,
- `neighbours`: one for each magnitude of the latents around that are coded before,
- `mixed`: these three, mixed in the domain of logits with weights that learn,
- `shifts`: no tables; to the logits of each channel a number is added that learns.

With --learn-from come three more: `one` and `mixed` as they are after coding other images at all of
the qualities, and no longer learning (`one, fixed`, `mixed, fixed`), and `mixed` learning on from
there (`mixed, continued`). What fixed ones save is no property of a picture: the model might as
well have learned it.
"""

import argparse
import copy
import itertools
import os
import statistics
import sys
from typing import NamedTuple

import ceiling
import numpy as np
import rate_cost
import tensorflow as tf

from tfclic import images
from tfclic.cli import common, evaluate
from tfclic.entropy import active, coders, decisions, exact_runners, lazy, lowering, wavefront
from tfclic.entropy import integer_mixture as im
from tfclic.entropy.program import LATENTS
from tfclic.export import stored
from tfclic.models import base

QUALITIES = [0.0, 20.0, 50.0, 80.0]
NODES, SPACING = 24, 0.75  # of a table, and of their logits
LEAST = 2.0**-16  # of probabilities
LIMIT = np.log(1 / LEAST - 1)  # of logits
FIRST_COUNT, LAST_COUNT = 12, 255  # decisions that a table's entry is worth, before and at most
FIRST_WEIGHT = 1000.0  # likewise, of weights and shifts: what they have seen of squared logits
FIRST_SHIFT = 20.0
MAGNITUDES = 8  # kinds of neighbours
AROUND = [(-2, 0), (-1, -1), (-1, 0), (-1, 1), (0, -2), (0, -1)]  # rows and columns
ROWS = 4  # that are coded together where no position depends on another one
SIDE = 1024  # pixels, of a tile
STAGES = "one", "channels", "neighbours", "mixed", "shifts"
# those that begin as other images left them, and whether they learn
LEARNED = {
    "one, fixed": ("one", False),
    "mixed, fixed": ("mixed", False),
    "mixed, continued": ("mixed", True),
}


class Decisions(NamedTuple):
    """First decisions of latents, each whether one is at its centre, in the order of a file.

    Attributes:
      logits: float `[n]`, what the model makes of them.
      truth: bool `[n]`.
      starts: int `[T + 1]`, where those begin that are coded together.
      channel, magnitude: int `[n]`, from 0.
      channels: how many there are.
    """

    logits: np.ndarray
    truth: np.ndarray
    starts: np.ndarray
    channel: np.ndarray
    magnitude: np.ndarray
    channels: int


class Recorder(coders.BitCounter):
    """Counts bits, and keeps the first decisions that it is given."""

    first = None

    def decide(self, state, probability, truth, element=None):
        """As `coders.Coder` has it."""
        if self.first is None:
            self.first = probability.numpy(), truth.numpy()
        return super().decide(state, probability, truth, element)


class Recording(exact_runners.ExactRunner):
    """Takes the decisions of streams that follow from networks.

    Attributes:
      found: list of `Decisions`, one for each stream.
      bits: of all that is coded, these decisions and whatever else.

    Args:
      coding, size, sources: as for `exact_runners.ExactRunner`.
    """

    def __init__(self, coding, size, sources):
        super().__init__(coding, size, sources)
        self.found, self.bits = [], 0.0

    def _independent(self, stream, name, shape):
        values = self._source(name, shape[2])
        self.bits += float(tf.reduce_sum(stream.bits(values)))
        return values

    def _conditional(self, stream, name):
        values = self._source(name, stream.channels)
        self._latest = lazy.Known(values, lowering.ACTIVATIONS, stream.grid)
        symbols = stream.symbols_of(values)
        numbers = tf.range(stream.channels)
        if not self.coding.layout.is_side(name):
            numbers = active.worth_saying(symbols)
            self.bits += float(self.coding.names[name].bits(numbers))
        known = tf.gather(symbols, numbers, axis=-1)
        rows = stream.all_rows(known, lowering.Used(numbers, stream.channels))
        dist = im.distribution_of_rows(rows, stream.mixtures, stream.table)
        raster = stream.order.raster.numpy()
        truth = tf.reshape(tf.gather(tf.reshape(known, [len(raster), -1]), raster), [-1])
        recorder = Recorder()
        truth = tf.cast(truth, tf.int32) - im.mixture.LATENT_MIN
        bits, _ = decisions.code(recorder, recorder.start(), dist, truth)
        self.bits += float(bits)
        self.found.append(_decisions(recorder.first, stream, known.numpy(), numbers.numpy()))
        return symbols


def _decisions(first, stream, symbols, numbers):
    """`Decisions` of recorded ones and of symbols `[h, w, n]` of the channels `numbers`."""
    height, width, count = symbols.shape
    raster, rank = stream.order.raster.numpy(), stream.order.rank.numpy()
    starts = _starts(stream.order, width)
    step = np.searchsorted(starts, rank.reshape(height, width), side="right")
    around = _around(np.abs(symbols), step).reshape(-1, count)[raster].ravel()
    probability, truth = first
    share = probability / (1 << coders.DECISION_BITS)
    return Decisions(
        logits=np.log(share / (1 - share)),
        truth=truth,
        starts=starts * count,
        channel=np.tile(numbers, len(raster)),
        magnitude=np.minimum(1.5 * np.log2(1 + around), MAGNITUDES - 1).astype(int),
        channels=stream.channels,
    )


def _starts(order, width):
    """Where positions begin that are coded together, int `[T + 1]`, in the order of coding."""
    starts = order.starts.numpy()
    parts = [np.arange(*ends, ROWS * width) for ends in zip(starts, starts[1:])]
    return np.append(np.concatenate(parts), starts[-1])


def _around(magnitudes, step):
    """The sums `[h, w, n]` of those magnitudes around each position that are coded before it."""
    height, width = step.shape
    rows, columns = (x.numpy().reshape(height, width) for x in wavefront.grid(height, width))
    total = np.zeros_like(magnitudes)
    for down, right in AROUND:
        r, c = rows + down, columns + right
        inside = (r >= 0) & (c >= 0) & (c < width)
        r, c = np.where(inside, r, 0), np.where(inside, c, 0)
        total += magnitudes[r, c] * (inside & (step[r, c] < step))[..., None]
    return total


class Tables:
    """Maps logits by probabilities at nodes between which it interpolates.

    Args:
      contexts: how many tables.
      last_count: how many decisions an entry is worth at most, however many it has seen.
    """

    def __init__(self, contexts, last_count):
        nodes = SPACING * (np.arange(NODES) - NODES / 2)
        self._probability = np.tile(1 / (1 + np.exp(-nodes)), contexts)
        self._count = np.full(contexts * NODES, float(FIRST_COUNT))
        self._last_count = last_count

    def logits(self, logits, context):
        """Float `[n]` of logits and contexts, int `[n]`."""
        (lower, near), (upper, far) = self._places(logits, context)
        share = near * self._probability[lower] + far * self._probability[upper]
        share = np.clip(share, LEAST, 1 - LEAST)
        return np.log(share / (1 - share))

    def learn(self, logits, context, truth):
        """Takes what became of decisions that were coded together."""
        given = np.zeros_like(self._count), np.zeros_like(self._count)
        for place, share in self._places(logits, context):
            missed = share * (truth - self._probability[place])
            for total, part in zip(given, (missed, share)):
                total += np.bincount(place, part, len(total))
        self._count += given[1]
        self._probability += given[0] / self._count
        np.minimum(self._count, self._last_count, out=self._count)

    def renew(self):
        """Makes what was learned count as little as what was there at first."""
        self._count[:], self._last_count = FIRST_COUNT, LAST_COUNT

    def _places(self, logits, context):
        at = np.clip(logits / SPACING + NODES / 2, 0, NODES - 1.001)
        lower = at.astype(int)
        place = NODES * context + lower
        return (place, 1 - (at - lower)), (place + 1, at - lower)


class Mixed:
    """Several `Tables`, each by its own contexts, as a weighted sum of their logits.

    With one of them the sum is its logits, and learns no weight.

    Args:
      contexts: list of how many contexts each has.
      last_count: as for `Tables`.
    """

    def __init__(self, contexts, last_count=LAST_COUNT):
        self._tables = [Tables(each, last_count) for each in contexts]
        self._weights = np.full(len(contexts), 1 / len(contexts))
        self._seen = np.full(len(contexts), FIRST_WEIGHT)

    def logits(self, logits, *contexts):
        """Float `[n]` of logits and, for each `Tables`, contexts."""
        return self._sum(self._parts(logits, contexts))

    def learn(self, logits, truth, *contexts):
        """Takes what became of decisions that were coded together."""
        parts = self._parts(logits, contexts)
        if len(parts) > 1:
            share = 1 / (1 + np.exp(-self._sum(parts)))
            self._seen += parts**2 @ (share * (1 - share))
            # one step of Newton's method for each weight, of which there are some alike
            self._weights += parts @ (truth - share) / (len(parts) * self._seen)
        for tables, context in zip(self._tables, contexts):
            tables.learn(logits, context, truth)

    def renew(self):
        """As `Tables.renew`."""
        self._seen[:] = FIRST_WEIGHT
        for tables in self._tables:
            tables.renew()

    def _sum(self, parts):
        return np.clip(self._weights @ parts, -LIMIT, LIMIT)

    def _parts(self, logits, contexts):
        return np.stack([t.logits(logits, c) for t, c in zip(self._tables, contexts)])


class Shifts:
    """Adds to logits a number for each context; otherwise as `Mixed` of one."""

    def __init__(self, contexts):
        self._shift, self._seen = np.zeros(contexts), np.full(contexts, FIRST_SHIFT)

    def logits(self, logits, context):
        """As `Mixed.logits`."""
        return np.clip(logits + self._shift[context], -LIMIT, LIMIT)

    def learn(self, logits, truth, context):
        """As `Mixed.learn`."""
        share = 1 / (1 + np.exp(-self.logits(logits, context)))
        self._seen += np.bincount(context, share * (1 - share), len(self._seen))
        self._shift += np.bincount(context, truth - share, len(self._shift)) / self._seen


def make(stage, channels, last_count=LAST_COUNT):
    """A stage by its name, and a function of `Decisions` to its contexts, a list."""
    if stage == "shifts":
        return Shifts(channels), lambda d: [d.channel]
    every = {
        "one": (1, lambda d: np.zeros_like(d.channel)),
        "channels": (channels, lambda d: d.channel),
        "neighbours": (MAGNITUDES, lambda d: d.magnitude),
    }
    counts, contexts = zip(*(every.values() if stage == "mixed" else [every[stage]]))
    return Mixed(counts, last_count), lambda d: [each(d) for each in contexts]


def cost(logits, truth):
    """Bits of decisions, float `[n]`."""
    return np.logaddexp(0, np.where(truth, -logits, logits)) / np.log(2)


def coded(found, stage, contexts, learns=True):
    """Bits of `Decisions` behind a stage, float `[n]`.

    Args:
      found: the `Decisions`.
      stage: as `make` gives it; it goes on learning from where it is.
      contexts: function of `Decisions` to a list.
      learns: whether it does.
    """
    bits, places = np.empty(len(found.truth)), contexts(found)
    for start, end in zip(found.starts, found.starts[1:]):
        logits, truth = found.logits[start:end], found.truth[start:end]
        now = [each[start:end] for each in places]
        bits[start:end] = cost(stage.logits(logits, *now), truth)
        if learns:
            stage.learn(logits, truth, *now)
    return bits


def make_record(codec):
    """A function of an image, float32 `[H, W, 3]` in 0..1, and a quality to what a file has of it.

    That is the bits of the file's string, and a `Recording`.

    Raises:
      errors.ModelError: the entropy model has no exact integer form.
    """
    exact = stored.StoredCodec(codec).coding

    @tf.function(input_signature=[rate_cost.IMAGE, rate_cost.NUMBER], autograph=False)
    def write(image, quality):
        latents = codec.analyse(base.pad_image(image[None]), quality[None])
        (latents, sides), _ = rate_cost.quantized(exact, codec.sources(latents))
        return latents, sides, 8 * tf.strings.length(exact.compress(sides, latents))

    def record(image, quality):
        latents, sides, bits = write(image, tf.constant(quality))
        sources = {**exact.layout.split(sides), LATENTS: latents}
        recording = Recording(exact, tuple(latents.shape[:2]), sources)
        codec.entropy(recording)
        return int(bits), recording

    return record


def learned(record, images, qualities):
    """Stages after coding images at qualities: a dict by name of lists of what `make` gives.

    Args:
      record: `make_record`'s function.
      images: dict of float32 `[H, W, 3]` by name.
      qualities: floats, 0..100.
    """
    result = {}
    for image, quality in itertools.product(images.values(), qualities):
        streams = record(image, quality)[1].found
        for kind in {stage for stage, _ in LEARNED.values()}:
            made = [make(kind, found.channels, np.inf) for found in streams]
            for found, (stage, contexts) in zip(streams, result.setdefault(kind, made)):
                coded(found, stage, contexts)
    return result


def savings(streams, before):
    """How many bits fewer each stage makes of the first decisions of an image, a dict.

    Args:
      streams: list of `Decisions`.
      before: what `learned` made of other images; may be empty.
    """
    result = {}
    for kind in (*STAGES, *(LEARNED if before else ())):
        name, learns = LEARNED.get(kind, (kind, True))
        result[kind] = 0.0
        for number, found in enumerate(streams):
            stage, contexts = make(name, found.channels)
            if kind in LEARNED:
                stage = copy.deepcopy(before[name][number][0])
                stage.renew()
            bits = coded(found, stage, contexts, learns)
            result[kind] += float((cost(found.logits, found.truth) - bits).sum())
    return result


def measure(record, images, quality, before):
    """Dict from the name of each image to its `pixels`, `bits`, those of `first` decisions, and
    what `savings` says.
    """
    found = {}
    for name, image in images.items():
        bits, recording = record(image, quality)
        streams = recording.found
        first = sum(float(cost(each.logits, each.truth).sum()) for each in streams)
        pixels = image.shape[0] * image.shape[1]
        found[name] = {"pixels": pixels, "bits": bits, "first": first, **savings(streams, before)}
    return found


def summary(found):
    """Means over images of `measure`'s result: `bpp`, and all else in percent of the bits."""
    rows = found.values()
    bpp = statistics.mean(row["bits"] / row["pixels"] for row in rows)
    names = [name for name in next(iter(rows)) if name not in ("pixels", "bits")]
    return {
        "bpp": bpp,
        **{n: statistics.mean(100 * row[n] / row["bits"] for row in rows) for n in names},
    }


def row(quality, figures):
    """A row of the table, for `summary`'s result; what is saved is below 0."""
    bpp, first, *saved = figures.values()
    cells = f"{quality:g}", f"{bpp:.4f}", f"{first:.1f}", *(f"{-each:+.2f}" for each in saved)
    return f"| {' | '.join(cells)} |"


def read(paths):
    """The middles of images, as large as a tile at most, a dict by name."""
    return {
        os.path.basename(path): ceiling.middle(images.read(path).pixels, SIDE) for path in paths
    }


def make_parser():
    """The program's argparse parser."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    ceiling.add_arguments(parser)
    parser.add_argument("--learn-from", metavar="FOLDER", help="other images, for fixed tables")
    parser.add_argument(
        "--learn",
        type=ceiling.count,
        default=16,
        metavar="N",
        help="N of these (default: %(default)s)",
    )
    parser.add_argument(
        "--qualities", type=common.qualities,
        metavar="Q,Q,...", default=QUALITIES, help="default: 0,20,50,80",
    )  # fmt: skip
    return parser


def run(args):
    """Prints the table."""
    codec, title, config = ceiling.restore(args.source)
    record = make_record(codec)
    paths = ceiling.image_paths(args.images, args.held_out, config)[: args.first]
    others = evaluate.image_paths(args.learn_from) if args.learn_from else []
    photos, others = read(paths), read(others[:: max(len(others) // args.learn, 1)][: args.learn])
    print(
        f"{title}, {len(photos)} images",
        *([f"tables of {len(others)}"] if others else []),
        sep=", ",
    )
    columns = ["quality", "bpp", "first %", *STAGES, *(LEARNED if others else ())]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)
    before = learned(record, others, args.qualities)
    found, figures = {}, {}
    for quality in args.qualities:
        found[quality] = measure(record, photos, quality, before)
        figures[quality] = summary(found[quality])
        print(row(quality, figures[quality]), flush=True)
    means = {name: statistics.mean(f[name] for f in figures.values()) for name in figures[quality]}
    print(row(quality, means).replace(f"{quality:g}", "mean", 1))
    ceiling.write(args.json, {"model": title, "counts": found})
    return 0


if __name__ == "__main__":
    sys.exit(common.guarded(run, make_parser().parse_args(), "adaptation.py"))
