"""Validation: held-out images, rounded as exports do it, every trained lambda."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfclic.entropy import active
from tfclic.training import objectives, schedule
from tfclic.training.levels import levels_of

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tfclic.models.base import ImageCodec
    from tfclic.training.quantized import Kernels
    from tfclic.training.state import State

# How latents are rounded: what was measured otherwise cannot be compared. Until results said so, it
# was to the nearest integers.
ROUNDING = "rdo"

Evaluate = Callable[[tf.Tensor], tuple[dict[str, tf.Tensor], tf.Tensor]]


@contextlib.contextmanager
def averaged_weights(state: State) -> Iterator[None]:
    """Puts the moving averages in place of the weights while the context lasts."""
    kept = {path: state.weights[path].numpy() for path in state.ema}
    try:
        for path, average in state.ema.items():
            state.weights[path].assign(average)
        yield
    finally:
        for path, value in kept.items():
            state.weights[path].assign(value)


def make_evaluate(codec: ImageCodec, training: ConfigDict, state: State | None = None) -> Evaluate:
    """Makes the function that measures one image at all lambdas.

    Args:
      codec: the model.
      training: configuration.
      state: whose stage a codec with several is measured in; its last one if None.

    Returns:
      A tf.function of a uint8 image [H, W, 3] to (measures, reconstruction): dict of float32 [L]
      with per lambda bpp, bits per pixel, distortion, psnr in dB, and bpp/NAME of each part of the
      bits, and of codecs that keep it activity [L, C], 1 for channels in use; and uint8
      [L, H, W, 3]; as decoding real files would give them.
    """
    distortion = objectives.get(training.objective)
    count = len(codec.lmbdas)
    qualities, lmbdas = levels_of(codec)

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)], autograph=False)
    def evaluate(image: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        images = tf.repeat(tf.cast(image, tf.float32)[None] / 255.0, count, axis=0)
        stage = schedule.stage_of(codec, state.step, training) if state else {}
        seed = tf.constant([0, 0])
        out = codec(images, qualities, seed=seed, training=False, rdo=True, **stage)
        pixels = tf.round(tf.clip_by_value(out.reconstruction, 0.0, 1.0) * 255.0)
        out = out._replace(reconstruction=pixels / 255.0)
        _, bpp, error = objectives.rate_distortion(out, images, lmbdas, distortion)
        psnr = objectives.psnr(images, out.reconstruction)
        parts = {f"bpp/{name}": part for name, part in objectives.bpp_of_parts(out).items()}
        measures = {"bpp": bpp, "distortion": error, "psnr": psnr, **parts}
        if hasattr(codec, "activity"):
            measures["activity"] = tf.cast(active.in_use(out.counts), tf.float32)
        return measures, tf.cast(pixels, tf.uint8)

    return evaluate


def validate(
    evaluate: Evaluate,
    state: State,
    images: Iterable[npt.NDArray[np.uint8]],
    lmbdas: Sequence[float],
    shown: int = 4,
    stopped: Callable[[], bool] = lambda: False,
    kernels: Kernels | None = None,
) -> tuple[dict[str, Any], list[npt.NDArray[np.uint8]]] | None:
    """Measures the averaged weights on the validation images, and keeps the codec's `activity`.

    Args:
      evaluate: from `make_evaluate`.
      state: `state.State`.
      images: list of uint8 [H, W, 3], sides multiples of 64.
      lmbdas: the codec's.
      shown: how many reconstructions to return.
      stopped: asked before each image; True ends the validation without a result.
      kernels: what is measured rounded, as an export would have it; None: nothing.

    Returns:
      (result, pictures), or None if stopped or without images. result: dict of plain values: loss
      (mean over lambdas and images of bits per pixel + lambda * distortion), `ROUNDING`, and per
      lambda lists lmbda, loss, bpp, distortion, psnr, and bpp/NAME of each part. pictures: list of
      uint8 [H, 3 * W, 3]: the original, and the reconstructions at the lowest and the highest
      lambda.
    """
    measures: list[dict[str, np.ndarray]] = []
    pictures: list[npt.NDArray[np.uint8]] = []
    rounded = kernels.rounded(state.weights) if kernels else contextlib.nullcontext()
    with averaged_weights(state), rounded:
        for image in images:
            if stopped():
                return None
            measured, decoded = evaluate(image)
            measures.append({name: values.numpy() for name, values in measured.items()})
            if len(pictures) < shown:
                pictures.append(np.concatenate([image, decoded[0], decoded[-1]], axis=1))
    if not measures:
        return None
    means = {
        name: np.mean([each[name] for each in measures], axis=0, dtype=np.float64)
        for name in measures[0]
    }
    if "activity" in means:
        activity = active.estimated(means.pop("activity"), len(measures))
        state.weights["activity"].assign(activity)
    losses = means["bpp"] + np.asarray(lmbdas) * means["distortion"]
    columns = {"lmbda": lmbdas, "loss": losses, **means}
    result = {name: [float(v) for v in values] for name, values in columns.items()}
    return {"mean_loss": float(np.mean(losses)), "rounding": ROUNDING, **result}, pictures
