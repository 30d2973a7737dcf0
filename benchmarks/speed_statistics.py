"""What both sides of `speed.py` make up alike, so that random weights code like trained ones."""

import numpy as np

BPP = 0.4, 0.6  # what the made models may come to
AIM = 0.5
HEIGHT, WIDTH = 512, 768


def image():
    """uint8 `[512, 768, 3]`, noise whose spectrum falls with the frequency as photographs' do."""
    rows, columns = np.fft.fftfreq(HEIGHT)[:, None], np.fft.fftfreq(WIDTH)
    fall = np.maximum(np.hypot(rows, columns), 1 / WIDTH) ** -1.25
    random = np.random.default_rng(0)
    waves = np.fft.fft2(random.standard_normal([3, HEIGHT, WIDTH])) * fall
    planes = np.fft.ifft2(waves).real
    planes = planes[:1] + 0.2 * planes[1:2] * [[[1]], [[-1]], [[0]]] + 0.1 * planes[2:]
    return np.clip(128 + 50 * planes / planes.std(), 0, 255).astype(np.uint8).transpose(1, 2, 0)


def spreads(channels, largest):
    """Standard deviations of the latents' channels: some are busy, most are nearly silent.

    Args:
      channels: how many.
      largest: the greatest.
    """
    return largest * np.exp(-6 * np.arange(channels) / channels)


def fit(bpp_of, aim=AIM):
    """Finds the largest spread with which a model comes to `aim`.

    Args:
      bpp_of: function of the largest spread to bits per pixel, increasing.
      aim: bits per pixel that it is to give.

    Raises:
      RuntimeError: it is not found.
    """
    low, high = 0.1, 100.0
    for _ in range(12):
        middle = (low * high) ** 0.5
        found = bpp_of(middle)
        if abs(found - aim) < 0.03:
            return middle
        low, high = (middle, high) if found < aim else (low, middle)
    raise RuntimeError(f"The made model comes to {found:.2f} bpp, not to {aim}.")
