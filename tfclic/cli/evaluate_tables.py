"""What bin/evaluate prints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tfclic.evaluation import curves, perceptual, report

if TYPE_CHECKING:
    from tfclic.evaluation.curves import Curve
    from tfclic.evaluation.evaluate import Verification

# behind the point, where it is not 3
_DIGITS = {name: 4 for name in ("bpp", "ms-ssim-rgb", "flip", "vif", "fsim", "iw-ssim")}
_ROW = "{:<24} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9}"


def print_curves(measured: Iterable[Curve]) -> None:
    """Prints the averages of measured curves, a line per setting."""
    measured = list(measured)
    more = [name for name in perceptual.KNOWN if any(name in c["results"] for c in measured)]
    row = _ROW + " {:>10}" * len(more)
    header = "codec", "setting", "bpp", "PSNR", "MS-SSIM", "FLIP", "encode s", "decode s"
    print(row.format(*header, *(perceptual.KNOWN[name].title for name in more)))
    names = ["bpp", "psnr-rgb", "ms-ssim-rgb", "flip", "encoding_time", "decoding_time", *more]
    for curve in measured:
        results = curve["results"]
        missing = [None] * len(results["quality"])
        columns = [results.get(name, missing) for name in names]
        for setting, *values in zip(results["quality"], *columns):
            cells = [
                "-" if value is None else f"{value:.{_DIGITS.get(name, 3)}f}"
                for name, value in zip(names, values)
            ]
            print(row.format(curve["title"], f"{setting:g}", *cells))


def print_differences(tables: Iterable[report.Table]) -> None:
    """Prints what `report.differences` makes."""
    for table in tables:
        deltas = [_deltas(curves.METRICS[name]) for name in table["metrics"]]
        print("\n" + _line(f"against {table['anchor']}", deltas))
        for row in table["rows"]:
            print(_line(row["title"], report.in_order(row)))


def _line(title: str, cells: Iterable[str]) -> str:
    return f"{title:<32}{''.join(f' {words:<42}' for words in cells)}".rstrip()


def _deltas(axis: curves.Axis) -> str:
    return f"BD-rate and BD-{axis.title}" if axis.unit == "dB" else f"BD-rate by {axis.title}"


def verdict(checks: Sequence[Verification]) -> list[str]:
    """Returns lines that say whether files and encoder agree, for a list of `Verification`s."""

    def line(is_passed: bool, text: str) -> str:
        return f"{'pass' if is_passed else 'FAIL'}: {text}"

    differing = max(check.latents_differ for check in checks)
    size = max(checks, key=lambda check: check.size_excess)
    sizes = f"{size.file_bytes:,} bytes, estimated {size.estimated_bytes:,.0f}"
    gap = max(checks, key=lambda check: check.psnr_difference)
    return [
        f"{len(checks)} files checked against their encoder:",
        line(not differing, f"decoded latents equal, at worst {differing:,} differ"),
        line(size.size_agrees, f"size within 1 % + 24 bytes of the estimate, at worst {sizes}"),
        line(gap.psnr_agrees, f"PSNR within 0.01 dB, at worst {gap.psnr_difference:.4f} dB off"),
    ]
