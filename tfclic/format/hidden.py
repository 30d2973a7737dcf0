"""Colours that nobody sees, those below an alpha of 0, replaced by ones that take few bits.

Whatever lies there, mostly black, meets the visible part in an edge that is as dear as any other,
and is coded for nobody. Here it becomes a smooth continuation of what is visible, by pulling means
up a pyramid and pushing them down again where there is nothing (Gortler et al., "The Lumigraph",
SIGGRAPH 1996, section 3.4).
"""

from __future__ import annotations

import numpy as np

BLOCK = 4  # pixels, the side of what has one colour, as far as it is hidden
_ROWS = 256  # at once, a multiple of BLOCK: what is not uint8 is held for so many


def filled(colours: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Pixels with other colours where they are hidden.

    Args:
      colours: uint8 [H, W, C].
      hidden: bool [H, W].

    Returns:
      uint8 [H, W, C]; `colours` itself if nothing is hidden.
    """
    if not hidden.any():
        return colours
    strips = [slice(top, top + _ROWS) for top in range(0, len(colours), _ROWS)]
    parts = [_sums(colours[strip], ~hidden[strip], BLOCK) for strip in strips]
    sums, counts = (np.concatenate(each) for each in zip(*parts))
    means = _continued(sums / np.maximum(counts, 1), np.minimum(counts, 1))
    means = np.round(means).clip(0, 255).astype(np.uint8)
    found = colours.copy()
    for strip in strips:
        rows = means[strip.start // BLOCK : strip.stop // BLOCK]
        inside = hidden[strip]
        found[strip][inside] = _enlarged(rows, BLOCK, *inside.shape)[inside]
    return found


def _continued(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Values float32 [h, w, C] with weights [h, w, 1], 0..1, made whole by their neighbours."""
    height, width = values.shape[:2]
    if height == width == 1:
        return values
    sums, counts = _sums(values * weights, weights[..., 0], 2)
    coarse = _continued(sums / np.maximum(counts, 1e-9), np.minimum(counts, 1))
    return weights * values + (1 - weights) * _enlarged(coarse, 2, height, width)


def _sums(values: np.ndarray, weights: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums over squares, float32 [h, w, C] and [h, w, 1], of values [H, W, C] where weights are."""
    more = [(0, -size % side) for size in weights.shape]
    weighted = np.pad(values * (weights > 0)[..., None], [*more, (0, 0)])
    both = weighted, np.pad(weights, more)[..., None]
    shapes = ((len(each) // side, side, -1, side, each.shape[-1]) for each in both)
    reduced = (each.reshape(shape).sum((1, 3), np.float32) for each, shape in zip(both, shapes))
    sums, counts = reduced
    return sums, counts


def _enlarged(values: np.ndarray, side: int, height: int, width: int) -> np.ndarray:
    """Each value as a square of `side`; [height, width, C] of that."""
    return values.repeat(side, 0).repeat(side, 1)[:height, :width]
