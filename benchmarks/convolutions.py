"""What convolutions cost here: in float32, in bfloat16, and of bytes, with what goes around them.

    python benchmarks/convolutions.py [--channels 192] [--rounds 5]

The first table has convolutions of the shapes that the transforms of gmm_attention have for an
image of 768x512 pixels; milliseconds, the least of some rounds, and operations a second, 10^12 of
them. The second one has passes over the result of the largest: what leads from sums to the operands
of the next layer, one by one and as a synthesis in integers does it. The third one has how many
operations the transforms of gmm_attention take for such an image, and the seconds of these at the
best rate of the first table: below them no program comes that computes these transforms so. The
last one has the products of a wavefront of latents, as a context model in integers of 16 bits takes
them, two bytes each. Whether sums of bytes are exact here is told first; where there are no such
products there are no figures for them.
"""

import argparse
import time

import numpy as np
import tensorflow as tf
import train_step_ours

from tfclic import configuration, models
from tfclic.exact import octets
from tfclic.export import saving
from tfclic.layers import masked

HEIGHT, WIDTH = 256, 384  # at half the size of the image
# Of a 768x512 image, the positions of the longest wavefronts, and how many wavefronts there are.
POSITIONS, WAVEFRONTS = 16, 141


def shapes(channels):
    """(name, kernel size, strides, image's size through, channels in, channels out)."""
    half = channels // 2
    return [
        ("3x3", 3, 1, 1, channels, channels),
        ("3x3, stride 2", 3, 2, 1, channels, channels),
        ("1x1", 1, 1, 1, channels, channels),
        ("3x3, last", 3, 1, 1, channels, 24),
        ("3x3", 3, 1, 2, channels, channels),
        ("3x3, sub-pixel", 3, 1, 2, channels, 4 * channels),
        ("3x3, bottleneck", 3, 1, 2, half, half),
        ("1x1, bottleneck", 1, 1, 2, channels, half),
        ("3x3", 3, 1, 4, channels, channels),
    ]


def of_floats(dtype, kernel, strides):
    """A function of float32 values to a convolution in `dtype`; the kernel is a variable."""
    weights = tf.Variable(tf.cast(kernel, dtype))
    return lambda x: tf.nn.conv2d(tf.cast(x, dtype), weights, strides, "SAME")


def of_bytes(form, kernel, strides):
    """A function of bytes to a convolution of them."""
    bias = np.zeros(kernel.shape[-1])
    return lambda x: octets.convolved(x, kernel, bias, form, strides)


def convolutions(shape, random):
    """Functions without arguments, traced, by name; and how many operations each is."""
    _, size, strides, through, taken, made = shape
    height, width = HEIGHT // through, WIDTH // through
    kernel = random.integers(-40, 41, [size, size, taken, made])
    values = tf.constant(random.integers(-127, 128, [1, height, width, taken]), tf.float32)
    given = {
        "float32": (of_floats(tf.float32, kernel, strides), values),
        "bfloat16": (of_floats(tf.bfloat16, kernel, strides), tf.cast(values, tf.bfloat16)),
        "bytes": (of_bytes(octets.UNSIGNED, kernel, strides), tf.cast(tf.abs(values), tf.uint8)),
        "with signs": (
            of_bytes(octets.SIGNED, kernel, strides),
            tf.cast(values + octets.SIGNED.offset, tf.uint8),
        ),
    }
    operations = 2 * size**2 * taken * made * height * width / strides**2
    return {name: traced(*each) for name, each in given.items()}, operations


def passes(channels, random):
    """Functions without arguments, traced, by name."""
    shape = [1, HEIGHT, WIDTH, channels]
    sums = tf.constant(random.integers(-(10**6), 10**6, shape), tf.int32)
    floats = tf.cast(sums, tf.float32)
    factors = random.uniform(5e-5, 2e-4, channels)
    times = tf.Variable(tf.cast(factors, tf.float32))
    small = tf.cast(tf.clip_by_value(floats * times, -127, 127), tf.int8)
    shuffled = tf.bitcast(small, tf.uint8)
    exact = [octets.snapped(factors * slope, octets.SIGNED) for slope in (1, 0.2)]

    def one_by_one(x):
        total = tf.nn.leaky_relu(tf.nn.bias_add(tf.cast(x, tf.float32), times) * times)
        return octets.rounded(total, octets.SIGNED)

    def at_once(x):
        found = [octets.scaled(x, each, octets.SIGNED) for each in exact]
        return octets.with_offset(tf.maximum(*found))

    given = {
        "int32 to float32": (lambda x: tf.cast(x, tf.float32), sums),
        "times a factor a channel": (lambda x: x * times, floats),
        "bias": (lambda x: tf.nn.bias_add(x, times), floats),
        "leaky ReLU": (tf.nn.leaky_relu, floats),
        "round": (tf.round, floats),
        "float32 to bytes": (lambda x: octets.rounded(x, octets.UNSIGNED), floats),
        "float32 to bfloat16": (lambda x: tf.cast(x, tf.bfloat16), floats),
        "int32 to bytes, times a factor": (
            lambda x: octets.scaled(x, exact[0], octets.SIGNED),
            sums,
        ),
        "maximum of bytes": (lambda x: tf.maximum(x, x), small),
        "depth to space, float32": (lambda x: tf.nn.depth_to_space(x, 2), floats),
        "depth to space, bytes": (lambda x: octets.depth_to_space(x, 2), shuffled),
        "sums to operands, one by one": (one_by_one, sums),
        "sums to operands, at once": (at_once, sums),
    }
    return {name: traced(*each) for name, each in given.items()}


def wavefront_products(in_use):
    """(name, all rows and columns, those in use) of gmm_attention_small's kernels, each a pair.

    In use are those that go with latents that are not silent, of which there are `in_use`.
    """
    _, config = configuration.load("gmm_attention_small")
    model, taps = config.model, masked.causal_mask(5).sum()
    hidden, parameters = model.parameter_channels, 3 * model.mixtures
    features = 2 * model.feature_channels

    def pair(of_latents, others):
        return tuple(of_latents(count) for count in (model.latent_channels, in_use)), (others,) * 2

    rows, columns = pair(lambda latents: int(taps) * latents, model.feature_channels)
    yield "context", *zip(rows, columns)
    yield "parameters, first layer", (features, hidden), (features, hidden)
    yield "parameters, second layer", (hidden, hidden), (hidden, hidden)
    columns, rows = pair(lambda latents: parameters * latents, hidden)
    yield "parameters, last layer", *zip(rows, columns)


def in_a_loop(product, shape, random):
    """A function without arguments, traced: `product` of the bytes of each wavefront in turn."""
    rows = 2 * POSITIONS
    operands = tf.constant(random.integers(0, 128, [WAVEFRONTS, rows, shape[0]]), tf.float32)

    def loop(operands):
        def body(step, total):
            return step + 1, total + product(operands[step])[0, 0]

        return tf.while_loop(lambda step, _: step < WAVEFRONTS, body, [0, 0.0])[1]

    return traced(loop, operands)


def products(whole, used, random):
    """Functions without arguments, by name: the products of all wavefronts with a kernel.

    In float32 with the part of the kernel that is in use; of bytes with all of it, since kernels of
    bytes have to be constants.
    """
    weights = tf.Variable(tf.cast(random.integers(-127, 128, used), tf.float32))
    kernel = random.integers(-127, 128, whole)[None, None]
    bias = np.zeros(whole[1])

    def of_bytes(x):
        given = octets.rounded(x[None, None], octets.UNSIGNED)
        return tf.cast(octets.convolved(given, kernel, bias, octets.UNSIGNED)[0, 0], tf.float32)

    given = {"float32": (lambda x: x @ weights, used), "bytes": (of_bytes, whole)}
    return {name: in_a_loop(product, shape, random) for name, (product, shape) in given.items()}


def traced(function, x):
    """`function` of `x`, to be called without arguments, as it runs in an exported model."""
    made = tf.function(function, autograph=False).get_concrete_function(
        tf.TensorSpec(x.shape, x.dtype)
    )
    return lambda: made(x)


def milliseconds(functions, rounds):
    """The least of some rounds that take turns, by name; None if it cannot be had here."""
    least = dict.fromkeys(functions, np.inf)
    for number in range(1 + rounds):
        for name, function in functions.items():
            if least[name] is None:
                continue
            start = time.perf_counter()
            try:
                function()
            except (tf.errors.NotFoundError, tf.errors.InvalidArgumentError):
                least[name] = None
                continue
            if number:
                least[name] = min(least[name], 1e3 * (time.perf_counter() - start))
    return least


def operations_of(function, *shape):
    """How many operations the convolutions and products of matrices in a function take."""
    traced = tf.function(function, autograph=False).get_concrete_function(tf.TensorSpec(shape))
    return train_step_ours.count_flops(traced.graph)


def transforms(channels):
    """(name, operations) of what takes the most of coding an image with gmm_attention."""
    _, config = configuration.load("gmm_attention")
    config.model.update(latent_channels=channels, widths=(channels,) * 3)
    codec = models.build(config.model)
    yield "analysis", operations_of(codec.analysis, 1, 2 * HEIGHT, 2 * WIDTH, 3)
    latents = 1, HEIGHT // 8, WIDTH // 8, channels
    yield "synthesis", operations_of(codec.nonlinear_synthesis, *latents)


def cell(spent, operations):
    """Milliseconds and 10^12 operations a second."""
    return "" if spent is None else f"{spent:.1f} ({operations / spent / 1e9:.2f})"


def main():
    """Prints the tables."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--channels", type=int, default=192)
    parser.add_argument(
        "--in-use", type=int, default=325, metavar="N", help="latents that are not silent"
    )
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    random = np.random.default_rng(0)
    with saving.unoptimized():
        try:
            exact = bool(tf.function(octets.sound, autograph=False)())
        except tf.errors.OpError:
            exact = False
        print(f"Sums of bytes are {'' if exact else 'not '}exact here.\n")
        names = "float32", "bfloat16", "bytes", "with signs"
        print("| convolution | size | channels | " + " | ".join(names) + " |")
        print("|---" * (3 + len(names)) + "|")
        best = dict.fromkeys(names, 0.0)
        for shape in shapes(args.channels):
            functions, operations = convolutions(shape, random)
            spent = milliseconds(functions, args.rounds)
            for name in names:
                if spent[name] is not None:
                    best[name] = max(best[name], 1e3 * operations / spent[name])
            size = f"{WIDTH // shape[3]}x{HEIGHT // shape[3]}"
            cells = [cell(spent[name], operations) for name in names]
            row = [shape[0], size, f"{shape[4]} to {shape[5]}", *cells]
            print("| " + " | ".join(row) + " |", flush=True)
        print(f"\n| pass, {args.channels} channels, {WIDTH}x{HEIGHT} | ms |\n|---|---|")
        for name, spent in milliseconds(passes(args.channels, random), args.rounds).items():
            print(f"| {name} | " + ("" if spent is None else f"{spent:.1f}") + " |")
        print(
            f"\n| of a wavefront, {args.in_use} latents in use | kernel | float32, ms | bytes, ms |"
        )
        print("|---" * 4 + "|")
        for name, whole, used in wavefront_products(args.in_use):
            spent = milliseconds(products(whole, used, random), args.rounds)
            cells = ["" if each is None else f"{each / WAVEFRONTS:.2f}" for each in spent.values()]
            print("| " + " | ".join([name, f"{used[0]} to {used[1]}", *cells]) + " |", flush=True)
    heads = ", s | ".join(names)
    print(f"\n| gmm_attention, N = {args.channels} | 10^12 operations | {heads}, s |")
    print("|---" * (2 + len(names)) + "|")
    for transform, operations in transforms(args.channels):
        cells = [f"{operations / best[name]:.2f}" if best[name] else "" for name in names]
        print(f"| {transform} | {operations / 1e12:.3f} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
