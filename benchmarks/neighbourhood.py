"""The prediction networks of coarse_to_fine: from a window for each position, and without windows.

    python benchmarks/neighbourhood.py [--rounds 9] [--height 32 --width 48]

Milliseconds, medians over rounds that take turns, of the network that predicts the latents of a
768x512 image (by default), forward, and forward with gradients, in float32; the largest difference
between the two forms; and the integer form of an export, which has no windows either.
"""

import argparse
import statistics
import sys

import tensorflow as tf
import turns

from tfclic import configuration
from tfclic.entropy.fixed_point_neighbourhood import FixedPointNeighbourhood
from tfclic.layers import NeighbourhoodNetwork, neighbourhood
from tfclic.models.hyper import ENTROPY_SLOPE, leaky_relu


def windowed(network, x):
    """What a `NeighbourhoodNetwork` makes of `x`, from a window for each position.

    Args:
      network: built.
      x: float32 `[B, h, w, C]`.

    Returns:
      float32 `[B, h, w, outputs]`.
    """
    side = neighbourhood.WINDOW
    windows = tf.image.extract_patches(x, [1, side, side, 1], [1] * 4, [1] * 4, "SAME")
    y = tf.reshape(windows, [-1, side, side, x.shape[-1]])
    for kernel, bias, stride in zip(network.kernels, network.biases, (1, 2, 1)):
        y = network.activation(tf.nn.conv2d(y, kernel, stride, "SAME") + bias)
    dense = network.kernels[-1]
    y = tf.reshape(y, [-1, dense.shape[0]]) @ dense + network.biases[-1]
    return tf.reshape(y, tf.concat([tf.shape(x)[:3], [y.shape[-1]]], 0))


def functions(network, exact):
    """The functions to time, by name; each takes the features."""

    def with_gradients(form):
        def run(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = tf.reduce_sum(tf.square(form(x)))
            return tape.gradient(y, [x, *network.trainable_variables])

        return run

    def integers(x):
        x, (height, width) = tf.round(x[0] * 64), x.shape[1:3]
        return exact.rows(exact.maps(x), height, width, tf.range(height * width))

    forms = {"windows": lambda x: windowed(network, x), "no windows": network.call}
    made = {f"{name}, forward": form for name, form in forms.items()}
    made.update({f"{name}, with gradients": with_gradients(form) for name, form in forms.items()})
    return {name: tf.function(f) for name, f in {**made, "integers": integers}.items()}


def main():
    """Prints a table for each configuration."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--configs", default="coarse_to_fine_small,coarse_to_fine_n192")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--height", type=int, default=32, help="of the latents")
    parser.add_argument("--width", type=int, default=48)
    args = parser.parse_args()
    print("| configuration | form | ms |\n|---|---|---|")
    for stem in args.configs.split(","):
        model = configuration.load(stem)[1].model
        channels = model.latent_channels
        network = NeighbourhoodNetwork(model.prediction_widths, 2 * channels, leaky_relu)
        x = tf.random.stateless_normal([1, args.height, args.width, channels], [1, 2])
        difference = float(tf.reduce_max(tf.abs(network(x) - windowed(network, x))))
        exact = FixedPointNeighbourhood(network, ENTROPY_SLOPE)
        timed = functions(network, exact)
        seconds = {name: [] for name in timed}
        for number in range(args.rounds + 1):
            for name, function in timed.items():
                (took, _), _ = turns.timed(function, x)
                if number:  # the first one traces
                    seconds[name].append(took)
        for name, took in seconds.items():
            print(f"| {stem} | {name} | {1000 * statistics.median(took):.1f} |")
        print(f"| {stem} | largest difference of the first two | {difference:.1e} (no time) |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
