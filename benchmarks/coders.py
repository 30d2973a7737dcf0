"""The range coder and the interleaved one, each with the same decisions.

    python benchmarks/coders.py [--decisions 540000 --calls 1100 --rounds 5]

Seconds to write and to read, on the clock and the processor's, the least of rounds that take turns,
and bytes against the ideal, for the lanes that the bits are worth and for other numbers of them. By
default there are as many decisions, in as many calls of geometrically distributed lengths, as a
768x512 image takes at quality 50. Writing takes one call, as that of known latents takes few.
"""

import argparse
import sys

import numpy as np
import tensorflow as tf
import turns

from tfclic.entropy import coders, interleaved
from tfclic.export import saving

LANES = (None, 16, 32, 128, 256)


def drawn(decisions, calls):
    """Where calls end, probabilities, outcomes, and the ideal number of bytes."""
    random = np.random.default_rng(0)
    ends = np.sort(random.integers(0, decisions, calls - 1))
    probability = np.clip(np.round(4096 * random.beta(0.4, 0.4, decisions)), 1, 4095)
    truth = random.random(decisions) < probability / 4096
    bits = -np.log2(np.where(truth, probability, 4096 - probability) / 4096)
    tensors = [*ends, decisions], probability.astype(np.int32)
    return (*(tf.constant(each, tf.int32) for each in tensors), tf.constant(truth), bits.sum() / 8)


def functions(encoder, decoder):
    """`(write, read)`, as they run in an exported model."""
    integers = tf.TensorSpec([None], tf.int32)

    def write(probability, truth):
        coder = encoder(coders.NO_TABLE)
        return coder.finish(coder.decide(coder.start(), probability, truth)[0])

    def read(string, ends, probability):
        coder = decoder(coders.NO_TABLE, string)

        def body(i, start, state, rights):
            chosen = probability[start : ends[i]]
            state, truth = coder.decide(state, chosen, chosen > 0)
            return i + 1, ends[i], state, rights + tf.reduce_sum(tf.cast(truth, tf.int32))

        first = [0, 0, coder.start(), 0]
        _, _, state, rights = tf.while_loop(lambda i, *_: i < tf.size(ends), body, first)
        return rights, coder.finish(state)

    with saving.unoptimized():
        specs = [integers, tf.TensorSpec([None], tf.bool)], [tf.TensorSpec([], tf.string)]
        specs[1].extend([integers, integers])
        made = (tf.function(f, s, autograph=False) for f, s in zip((write, read), specs))
        return [each.get_concrete_function() for each in made]


def forms():
    """The functions by the name of what they time."""
    made = {"range": functions(coders.RangeEncoder, coders.RangeDecoder)}
    for lanes in LANES:

        def encoder(table, lanes=lanes):
            return interleaved.Encoder(table, lanes)

        name = "interleaved" if lanes is None else f"interleaved, {lanes} lanes"
        made[name] = functions(encoder, interleaved.Decoder)
    return made


def main():
    """Prints the table."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--decisions", type=int, default=540_000)
    parser.add_argument("--calls", type=int, default=1100)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    ends, probability, truth, ideal = drawn(args.decisions, args.calls)
    yes = int(tf.reduce_sum(tf.cast(truth, tf.int32)))
    made, spent, sizes = forms(), {}, {}
    for number in range(args.rounds + 1):
        for name, (write, read) in made.items():
            writing, string = turns.timed(write, probability, truth)
            reading, found = turns.timed(read, string, ends, probability)
            assert [int(each) for each in found] == [yes, 1], name
            sizes[name] = int(tf.strings.length(string))
            if number:  # the first one warms up
                spent.setdefault(name, []).append((*writing, *reading))
    print("| coder | write s | processor s | read s | processor s | bytes against ideal |")
    print("|---|---|---|---|---|---|")
    for name, rounds in spent.items():
        least = " | ".join(f"{seconds:.3f}" for seconds in np.min(rounds, 0))
        print(f"| {name} | {least} | {100 * (sizes[name] / ideal - 1):+.3f} % |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
