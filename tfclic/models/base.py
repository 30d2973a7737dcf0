"""What every codec here has: variable rate, padding, noise, and the shape of a forward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import tensorflow as tf
import tensorflow_compression as tfc

from tfclic.entropy import active, mixture, program
from tfclic.entropy.coding import EntropyCoder
from tfclic.entropy.float_runners import Rate, RDORounding, Rounding, Training
from tfclic.format.latents import MULTIPLE
from tfclic.layers import FLOATS, QualityGain

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.layers.composite import Operations, Tensors, Value

CENTRED_SCALE = 4.0  # pixels reach the networks as (x - 0.5) * 4, about unit variance


class Forward(NamedTuple):
    """Result of a forward pass.

    Attributes:
      reconstruction: float32 `[B, H, W, 3]`, nominally 0..1, not clipped.
      bits: float32 `[B]`, all bits of each image.
      parts: dict of float32 `[B]`, the bits of each part.
      auxiliary_losses: dict of float32 `[B]`, what training minimises beside rate and distortion.
      counts: float32 `[B, C]`, how many latents of each channel are not zero as they are coded.
    """

    reconstruction: tf.Tensor
    bits: tf.Tensor
    parts: Tensors
    auxiliary_losses: Tensors
    counts: tf.Tensor


class Coded(NamedTuple):
    """What an entropy model makes of latents.

    Attributes:
      latents: `[B, h, w, C]`, as the synthesis transform gets them.
      side_information: dict of side information, likewise.
      parts, auxiliary_losses, counts: as in `Forward`.
    """

    latents: tf.Tensor
    side_information: Tensors
    parts: Tensors
    auxiliary_losses: Tensors
    counts: tf.Tensor


def pad_image(images: tf.Tensor, multiple: int = MULTIPLE) -> tf.Tensor:
    """Extends images at the bottom and the right to multiples of `multiple`, by reflection.

    Reflection repeats where an image is smaller than the margin. The border pixel itself is
    repeated too (symmetric), so that a height or width of 1 works.

    Args:
      images: `[B, H, W, C]`, H and W at least 1.

    Returns:
      `[B, H', W', C]`.
    """
    for axis in (1, 2):
        size = tf.shape(images)[axis]
        target = -(-size // multiple) * multiple
        period = tf.range(target) % (2 * size)
        mirrored = tf.minimum(period, 2 * size - 1 - period)
        images = tf.gather(images, mirrored, axis=axis)
    return images


def centred(images: tf.Tensor) -> tf.Tensor:
    """Images in 0..1 as the transforms take them, about 0 and of unit variance."""
    return (images - 0.5) * CENTRED_SCALE


def bounded(x: tf.Tensor, low: float, high: float) -> tf.Tensor:
    """Keeps `x` within `low` and `high`; beyond them gradients still lead back."""
    return tfc.upper_bound(tfc.lower_bound(x, float(low)), float(high))


@contextlib.contextmanager
def compute_dtype(config: ConfigDict) -> Iterator[None]:
    """Makes layers compute in `config.compute_dtype` ("float32" or "bfloat16"), float32 if unset.

    Weights stay float32 (Keras' mixed precision). For transforms: entropy models want float32.
    """
    policy = tf.keras.mixed_precision
    before = policy.global_policy()
    is_mixed = config.get("compute_dtype", "float32") == "bfloat16"
    policy.set_global_policy("mixed_bfloat16" if is_mixed else "float32")
    try:
        yield
    finally:
        policy.set_global_policy(before)


class ImageCodec(tf.keras.Model):
    """Base of all codecs: gains for every quality around a subclass's transforms.

    A subclass provides

    - `analysis(images)`: centred images to latents;
    - `reconstruct(ops, latents, side_information)`: latents to centred images;
    - `entropy(code)`: its entropy model, a program (see `tfclic.entropy.program`), which returns
      the latents;
    - `hyper_latents(latents)`: hyper latents of latents after the gain, within what can be coded,
      if it has these; or `sources`, if it has other side information;
    - `transforms()`: the layers that an export keeps in floating point;
    - `encoder()`: those that latents and hyper latents are made by, gains included;
    - `stages`, if training takes several, which `code.stage` then counts;
    - `scales_latents`, false if `synthesis_input` is more than the inverse gain;
    - `moves_latents`, false if latents are codes, which nothing but the encoder can make better;
    - `is_local`, false if what `synthesise` makes of a position depends on all positions.

    Attributes:
      activity: float32 `[L, C]`, not trained: how many of all images have a channel of the latents
        in use, at each lambda; validation measures it, and names of channels are coded by it.

    Args:
      config: ConfigDict with `latent_channels` and `lmbdas` (ascending; a single one makes the
        fixed-rate model of a paper).
      reference_step: step size on the 0..255 scale at which latents need no gain.
    """

    stages = 1
    is_local = True
    scales_latents = True
    moves_latents = True

    def __init__(self, config: ConfigDict, reference_step: float, name: str | None = None) -> None:
        super().__init__(name=name or config.name)
        self.config = config
        self.lmbdas = tuple(float(lmbda) for lmbda in config.lmbdas)
        self.gain = QualityGain(config.latent_channels, self.lmbdas, reference_step, name="gain")
        activity = active.assumed(len(self.lmbdas), config.latent_channels)
        self.activity = tf.Variable(activity, trainable=False, name="activity")

    def quality_of(self, level: int) -> float:
        """The quality (0..100) at which lambda number `level` is trained."""
        return 100.0 * level / (len(self.lmbdas) - 1) if len(self.lmbdas) > 1 else 100.0

    def analyse(self, images: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
        """Latents before rounding, `[B, H/16, W/16, C]`, of images `[B, H, W, 3]` in 0..1."""
        return self.gained(self.analysis(centred(images)), quality)

    def gained(self, latents: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
        """Latents `[B, h, w, C]` after the gain, kept within what can be coded.

        So training knows, and hyper latents follow from the same latents wherever they are made.
        """
        return bounded(self.gain(latents, quality), mixture.LATENT_MIN, mixture.LATENT_MAX)

    def ungained(self, latents: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
        """What `gained` makes latents `[B, h, w, C]` of."""
        return latents / self.gain(tf.ones_like(latents[:, :1, :1]), quality)

    def synthesis_input(self, latents: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
        """Latents `[B, h, w, C]`, of latents as they are coded, as `synthesis` takes them."""
        return self.gain.inverse(latents, quality)

    def hyper_latents(self, latents: tf.Tensor) -> tf.Tensor:
        """Hyper latents `[B, h/4, w/4, 0]`, which means none, of latents `[B, h, w, C]`."""
        return latents[:, ::4, ::4, :0]

    def sources(self, latents: tf.Tensor) -> Tensors:
        """Everything that is coded, of latents `[B, h, w, C]` after the gain, by name."""
        return {"hyper_latents": self.hyper_latents(latents), program.LATENTS: latents}

    def coded(
        self,
        latents: tf.Tensor,
        quality: tf.Tensor,
        seed: tf.Tensor | None = None,
        training: bool = False,
        stage: tf.Tensor | None = None,
        rdo: bool = False,
    ) -> Coded:
        """What becomes of latents `[B, h, w, C]` after the gain: a `Coded`; see `call`."""
        sources = self.sources(latents)
        if rdo:
            choice = RDORounding(sources, quality, stage)
            self.entropy(choice)
            sources = choice.quantized()
        if training:
            inputs = (
                self.config.get("synthesis_input", "round"),
                self.config.get("context_input", "noise"),
            )
            code: Rounding = Training(sources, quality, seed, *inputs, stage=stage)
        else:
            code = Rounding(sources, quality, stage=stage)
        latents = self.entropy(code)
        counts = tf.concat(code.counts, -1)
        return Coded(latents, code.y_hat, code.bits, code.auxiliary_losses, counts)

    def rate(
        self, latents: tf.Tensor, side_information: Tensors, quality: tf.Tensor, floor: float
    ) -> tf.Tensor:
        """The bits `[B]` of what was coded by the float densities.

        Args:
          latents: `[B, h, w, C]`, as the synthesis transform gets them.
          side_information: dict of side information.
          quality: float32 `[B]`, 0..100.
          floor: the least likelihood.
        """
        code = Rate({**side_information, program.LATENTS: latents}, quality, floor)
        self.entropy(code)
        return tf.add_n(list(code.bits.values()))

    def entropy_coder(self) -> EntropyCoder:
        """The exact integer form of the entropy model, for export."""
        return EntropyCoder(self)

    def synthesise(
        self,
        latents: tf.Tensor,
        side_information: Tensors,
        quality: tf.Tensor,
        stage: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Images `[B, H, W, 3]`, nominally 0..1, of what was coded.

        Args:
          latents: `[B, H/16, W/16, C]`, quantised.
          side_information: dict of side information; most systems do not need it here.
          quality: float32 `[B]`, 0..100.
          stage: as for `call`.
        """
        latents = self.synthesis_input(latents, quality)
        images = self.reconstruct(FLOATS, latents, side_information, stage)
        return images / CENTRED_SCALE + 0.5

    def reconstruct(
        self,
        ops: Operations,
        latents: Value,
        side_information: Mapping[str, Value],
        stage: tf.Tensor | None = None,
    ) -> Value:
        """The synthesis transform, once for every kind of arithmetic.

        Args:
          ops: `Operations`.
          latents: `[B, h, w, C]`, after the inverse gain.
          side_information: dict of side information; most systems do not need it here.
          stage: as for `call`; for floats alone.

        Returns:
          Centred images `[B, H, W, 3]`.
        """
        raise NotImplementedError

    def call(
        self,
        images: tf.Tensor,
        quality: tf.Tensor,
        seed: tf.Tensor | None = None,
        training: bool = False,
        stage: tf.Tensor | None = None,
        rdo: bool = False,
    ) -> Forward:
        """Codes images as far as training and evaluation need it.

        Args:
          images: float32 `[B, H, W, 3]` in 0..1, H and W multiples of 64.
          quality: float32 `[B]`, 0..100.
          seed: int32 `[2]`, of the noise that stands for rounding; needed in training.
          training: noise (true) or real rounding (false).
          stage: int32 `[]`, from 0, of training that takes several; None: the last.
          rdo: whether real rounding is that by rate and distortion, as exports do it.

        Returns:
          A `Forward`.
        """
        coded = self.coded(self.analyse(images, quality), quality, seed, training, stage, rdo)
        reconstruction = self.synthesise(coded.latents, coded.side_information, quality, stage)
        bits = tf.add_n(list(coded.parts.values()))
        return Forward(reconstruction, bits, coded.parts, coded.auxiliary_losses, coded.counts)
