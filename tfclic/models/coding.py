"""Entropy models as exported codecs run them: exact, in integers. What they have in common."""

import functools

import tensorflow as tf

from tfclic.entropy import active, coders, compilation, fixed_point, mixture, wavefront

HYPER_LIMIT = 127
HYPER_STRIDE = 4  # latents per hyper latent, each way
TOO_SHORT = "The image is too large for so few bytes."
NOT_OF_THIS_SIZE = "What is coded is not an image of this size."
# Of codings whose strings say which channels are in use. Before it, 1 had the finer table of single
# Gaussians, and 0 a table as coarse as that of mixtures.
ACTIVE_REVISION = 2


class Coding(tf.Module):
    """Codes latents, and what their distributions depend on, into one string, and back.

    A subclass provides

    - `channels` and `hyper_channels`, C and Z, which is 0 if there are no hyper latents;
    - `table`, the added table of the coder (see `tfclic.entropy.coders`), and `least_bits`, the
      least that a position of the hyper latents and the latents that belong to it can take;
    - `code_side(coder, state, hyper_latents, latents, known) -> (state, side)`: codes what comes
      before the latents, the hyper latents or else an array of its own;
    - `order(height, width)`: the `wavefront.Order` of latents;
    - `distributions(side, latents, order, known, used)`: the `distribution_at` that
      `wavefront.traverse` takes, of latents that have the channels `used` alone;
    - `bits(hyper_latents, known, candidates, used)`: what each latent of each of the candidates,
      arrays like `known`, would cost among latents `known` `[h, w, n]`, which have the channels
      `used` alone, all of them if it is None: a list of float32 `[h, w, n]`;
    - `explain(hyper_latents, latents)`: a dict of float32 arrays: what each latent costs,
      `latents_bits` `[h, w, C]`, each hyper latent, `hyper_latents_bits` `[h/4, w/4, Z]`, what
      says which channels are coded, `channels_bits` `[h/4, w/4, 1]`, and whatever tells why.
    """

    # of errors in `chosen`, bits for a squared step (benchmarks/rounding.py); None: errors alone
    distortion_weight = 16.0
    together = 1  # steps to take at once where latents are known
    latent_step = 1.0  # what latents as coded, integers, are multiples of
    # Raised when the same weights begin to give other strings: models must not be taken for others.
    revision = 0

    def restore(self, codec):
        """Gives a codec the entropy networks that this stands for, as far as these are known.

        Args:
          codec: the one of which this was made; since then, variables may have been read into this.

        Returns:
          A list of the codec's variables that were given values.
        """
        layers = (m for m in self.submodules if isinstance(m, fixed_point.FixedPointDense))
        return [variable for layer in layers for variable in layer.restore()]

    def least_of_latents(self):
        """The least that the latents of one position of the hyper latents take, 2**-16 bits."""
        # a latent takes one decision at least, of a probability of 4095 / 4096 at most
        decision = coders.least_cost(((1 << coders.DECISION_BITS) - 1) << 4).numpy()
        return HYPER_STRIDE**2 * self.channels * decision

    def code(self, coder, hyper_latents, latents, known):
        """Walks what comes first, then latents: the one definition of what is in a string.

        Args:
          coder: see `tfclic.entropy.coders`.
          hyper_latents: float32 `[h/4, w/4, Z]`, integers; a decoder needs the shape.
          latents: float32 `[h, w, C]`, integers; a decoder needs the shape.
          known: whether the latents are known, so that all parameters are computed in one pass.

        Returns:
          `(coder.finish(), side, latents)`.
        """
        state, used = self.code_used(coder, coder.start(), latents)
        state, side = self.code_side(coder, state, hyper_latents, latents, known)
        # more than the string can hold shows here, before the networks take time and memory
        with tf.control_dependencies([self.possible(coder, state)]):
            side = tf.identity(side)
        order = self.order(tf.shape(latents)[0], tf.shape(latents)[1])
        latents = latents if used is None else tf.gather(latents, used, axis=-1)
        distribution_at = self.distributions(side, latents, order, known, used)
        together = self.together if known else 1
        state, latents = wavefront.traverse(coder, state, latents, distribution_at, order, together)
        if used is not None:
            latents = active.everywhere(latents, used, self.channels)
        return coder.finish(state), side, latents

    def code_used(self, coder, state, latents):
        """Codes which channels of latents `[h, w, C]` are in use, int32; the others are not coded.

        Returns:
          `(state, used)`; None for the latter: all are coded, and nothing is said of it.
        """
        return active.code(coder, state, self.channels, active.worth_saying(latents))

    @staticmethod
    def possible(coder, state):
        """An operation that fails if the string cannot have held what was read from it so far."""
        return tf.debugging.Assert(~coder.refuses(state), [NOT_OF_THIS_SIZE])

    @compilation.uncompiled
    def compress(self, hyper_latents, latents):
        """The string of integer-valued hyper latents and latents (shapes as in `code`)."""
        encoder = coders.RangeEncoder(self.table)
        return self.code(encoder, hyper_latents, latents, True)[0]

    def can_hold(self, length, rows, columns):
        """Whether strings of so many bytes can hold so many rows and columns of hyper latents."""
        count = tf.cast(rows, tf.float64) * tf.cast(columns, tf.float64)
        bits = 8 * tf.cast(length + coders.SPARE_BYTES, tf.float64)
        return bits >= count * self.least_bits

    @compilation.uncompiled
    def decompress(self, string, height, width):
        """Latents float32 `[height, width, C]` of a string; see `read`."""
        return self.read(string, height, width)[1]

    @compilation.uncompiled
    def read(self, string, height, width):
        """What comes first in a string, and the latents, as `code` has them.

        Args:
          string: of rank 0.
          height, width: int32, of the latents, multiples of 4.

        Raises:
          tf.errors.InvalidArgumentError: the string is too short for so many latents, which is
            found out before memory is taken for them; or it turns out not to hold them.
        """
        return self.judged(string, height, width, tf.constant(True))[1:]

    @compilation.uncompiled
    def judged(self, string, height, width, strict):
        """As `read`, for whoever cannot have it fail.

        Args:
          string, height, width: as for `read`.
          strict: bool; false: what does not hold is told, and time and memory are taken for it.

        Returns:
          `(sound, ...)`: a bool, whether all is well, then what `read` returns.
        """
        rows, columns = height // HYPER_STRIDE, width // HYPER_STRIDE
        possible = self.can_hold(tf.strings.length(string), rows, columns)
        enough = tf.debugging.Assert(possible | ~strict, [TOO_SHORT])
        with tf.control_dependencies([enough]):
            rows, columns = tf.identity(rows), tf.identity(columns)
        decoder = coders.RangeDecoder(self.table, string, strict)
        hyper_latents = tf.zeros([rows, columns, self.hyper_channels])
        latents = tf.zeros([rows * HYPER_STRIDE, columns * HYPER_STRIDE, self.channels])
        sound, *coded = self.code(decoder, hyper_latents, latents, False)
        with tf.control_dependencies([tf.debugging.Assert(sound | ~strict, [NOT_OF_THIS_SIZE])]):
            return [sound & possible] + [tf.identity(array) for array in coded]

    def estimate(self, hyper_latents, latents):
        """The bits, float32, that `compress` should come to."""
        return self.total_bits(self.explain(hyper_latents, latents))

    def total_bits(self, explained):
        """All bits in what `explain` returns, float32."""
        bits = (array for name, array in explained.items() if name.endswith("_bits"))
        return tf.add_n([tf.reduce_sum(array) for array in bits])

    @staticmethod
    def as_coded(bits, latents):
        """What each latent costs where silent channels are not coded.

        Args:
          bits: float32 `[..., C]`, what it would cost.
          latents: `[..., C]`.

        Returns:
          float32 `[..., C]`.
        """
        used = active.worth_saying(latents)
        return active.everywhere(tf.gather(bits, used, axis=-1), used, latents.shape[-1])

    @staticmethod
    def bits_of_channels(*latents):
        """What it takes to say which channels are coded, shared by all positions.

        Args:
          *latents: `[h, w, C]`, each with channels of which something is said.

        Returns:
          float32 `[h/4, w/4, 1]`.
        """
        found = [active.bits(each.shape[-1], active.worth_saying(each)) for each in latents]
        shape = tf.shape(latents[0])[:2] // HYPER_STRIDE
        share = tf.add_n(found) / tf.cast(tf.reduce_prod(shape), tf.float32)
        return tf.fill(tf.concat([shape, [1]], 0), share)

    @compilation.uncompiled
    def round(self, latents, hyper_latents):
        """Makes of float latents and hyper latents what is coded, within the range that can be."""
        limit = float(HYPER_LIMIT)
        hyper_latents = tf.clip_by_value(tf.round(hyper_latents), -limit, limit)
        bits = functools.partial(self.bits, hyper_latents)
        return self.chosen(latents, bits), hyper_latents

    def chosen(self, latents, bits):
        """Rounds latents to what is best by rate and distortion.

        Of the two integers beside a latent it is that with fewer bits + weight * error ** 2, by the
        probabilities that the nearest integers give each other. A decoder does not notice. Channels
        whose nearest integers are all zero stay as they are.

        Args:
          latents: float32 `[..., C]`, or whatever is coded as integers.
          bits: as `Coding.bits`, without its hyper latents.
        """

        def clipped(x):
            return tf.clip_by_value(x, mixture.LATENT_MIN, mixture.LATENT_MAX)

        nearest, channels = clipped(tf.round(latents)), latents.shape[-1]
        if self.distortion_weight is None:
            return nearest
        used = active.of(nearest)
        latents, nearest = (tf.gather(x, used, axis=-1) for x in (latents, nearest))
        second = clipped(nearest + tf.where(latents >= nearest, 1.0, -1.0))
        both = nearest, second
        costs = [
            cost + self.distortion_weight * tf.math.squared_difference(latents, each)
            for each, cost in zip(both, bits(nearest, both, used))
        ]
        better = tf.where(costs[1] < costs[0], second, nearest)
        return active.everywhere(better, used, channels)
