"""Measures of what people see, each by a package that somebody else keeps, and none learned here.

They are among those of JPEG AI's common test conditions. The packages come with extras: `metrics`,
and `metrics-torch` for those that PyTorch computes. All but FSIM judge luma, `luma`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import pathlib
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

import numpy as np
import numpy.typing as npt

from tfclic import errors

if TYPE_CHECKING:
    from tfclic.images import Pixels

Measure = Callable[["Pixels", "Pixels"], Optional[float]]

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_BLOCK = 8  # of the cosine transform in PSNR-HVS-M
# Below such a side nothing is left on the coarsest scale.
_LEAST_SIDES = {"vif": 41, "iw-ssim": 161, "vmaf": 17}


class Metric(NamedTuple):
    """A measure.

    Attributes:
      title: of a column.
      measure: function of the original and what was decoded, uint8 [H, W, 3], 0..255, sRGB; None
        if they are too small.
      package: name of the module that computes it.
      extra: the extra of this package that brings it.
      is_similarity: whether 1 is equal, and differences are told in -10 log10(1 - s) dB.
      unit: of its values, or of what they are told in.
    """

    title: str
    measure: Measure
    package: str
    extra: str = "metrics"
    is_similarity: bool = False
    unit: str = ""

    @property
    def axis(self) -> str:
        """What stands beside an axis of its values."""
        return self.title if self.is_similarity or not self.unit else f"{self.title} ({self.unit})"


def luma(pixels: Pixels) -> npt.NDArray[np.float64]:
    """The luma of an image uint8 [H, W, 3] by ITU-R BT.601, float64 [H, W], 0..255."""
    return pixels @ _LUMA


def vif(image: Pixels, other: Pixels) -> float:
    """Visual information fidelity in the domain of pixels (Sheikh and Bovik, 2006).

    Returns:
      1 for equal images, 0 for nothing in common; above 1 if contrasts grow.
    """
    import sewar

    return float(sewar.vifp(luma(image), luma(other)))


def psnr_hvs_m(image: Pixels, other: Pixels) -> float:
    """PSNR of 8x8 cosine transforms, weighted and masked as seen (Ponomarenko et al., 2007).

    Returns:
      dB; 100 for equal images. Edges go on as they are to multiples of 8.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # it says what it could not import
        import psnr_hvsm

    margins = [(0, -side % _BLOCK) for side in image.shape[:2]]
    pair = [np.pad(luma(each) / 255, margins, "edge") for each in (image, other)]
    # it divides by errors of equal images and variances of even blocks, and then does not look
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(psnr_hvsm.psnr_hvs_hvsm(*pair)[1])


def vmaf(image: Pixels, other: Pixels) -> float:
    """Video multimethod assessment fusion of one frame (Netflix, model 0.6.1).

    Returns:
      0 to 100; not quite 100 for equal images.

    Raises:
      errors.TfclicError: FFmpeg fails; says why.
    """
    import imageio_ffmpeg

    height, width = image.shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        paths = [pathlib.Path(folder, name) for name in ("decoded", "original")]
        for path, pixels in zip(paths, (other, image)):
            path.write_bytes(_frame(pixels))
        given = ["-f", "rawvideo", "-pixel_format", "yuv444p", "-video_size", f"{width}x{height}"]
        inputs = [word for path in paths for word in (*given, "-i", path.name)]
        log = pathlib.Path(folder, "log")
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", *inputs]
        command += ["-lavfi", f"libvmaf=log_fmt=json:log_path={log.name}", "-f", "null", "-"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise errors.TfclicError(f"FFmpeg does not compute VMAF: {last}")
        return float(json.loads(log.read_text())["pooled_metrics"]["vmaf"]["mean"])


def _frame(pixels: Pixels) -> bytes:
    """A frame of planes Y, Cb, Cr, whose luma has the range of video, in grey."""
    values = np.round(16 + luma(pixels) * (219 / 255)).astype(np.uint8)
    return values.tobytes() + bytes([128]) * (2 * values.size)


def fsim(image: Pixels, other: Pixels) -> float:
    """Feature similarity of colour images, FSIMc (Zhang et al., 2011); 1 for equal images."""
    import piq

    return float(piq.fsim(*_tensors(image, other), data_range=1.0))


def iw_ssim(image: Pixels, other: Pixels) -> float:
    """SSIM weighted by information content (Wang and Li, 2011); 1 for equal images."""
    import piq

    pair = (luma(each)[..., None] for each in (image, other))
    return float(piq.information_weighted_ssim(*_tensors(*pair), data_range=1.0))


def _tensors(*arrays: np.ndarray) -> list[Any]:
    """Arrays [H, W, C], 0..255, as PyTorch's, [1, C, H, W], 0..1."""
    import torch

    return [
        torch.from_numpy(np.ascontiguousarray(a.transpose(2, 0, 1)[None] / np.float32(255))).float()
        for a in arrays
    ]


KNOWN: dict[str, Metric] = {
    "vif": Metric("VIF", vif, "sewar"),
    "psnr-hvs-m": Metric("PSNR-HVS-M", psnr_hvs_m, "psnr_hvsm", unit="dB"),
    "vmaf": Metric("VMAF", vmaf, "imageio_ffmpeg"),
    "fsim": Metric("FSIM", fsim, "piq", "metrics-torch", is_similarity=True, unit="dB"),
    "iw-ssim": Metric("IW-SSIM", iw_ssim, "piq", "metrics-torch", is_similarity=True, unit="dB"),
}


def check(names: Iterable[str]) -> None:
    """Raises errors.UsageError unless the packages of these measures, of `KNOWN`, are there."""
    for name in names:
        metric = KNOWN[name]
        if importlib.util.find_spec(metric.package) is None:
            raise errors.UsageError(
                f"{metric.title} needs the package {metric.package}; "
                f"pip install 'tfclic[{metric.extra}]' brings it."
            )


def measured(names: Iterable[str], image: Pixels, other: Pixels) -> dict[str, float | None]:
    """What these measures, of `KNOWN`, say of two images, by name; None if they are too small.

    Args:
      names: some of `KNOWN`.
      image, other: uint8 [H, W, 3], 0..255, the original and what was decoded.
    """
    least = min(image.shape[:2])
    return {
        name: KNOWN[name].measure(image, other) if least >= _LEAST_SIDES.get(name, 1) else None
        for name in names
    }
