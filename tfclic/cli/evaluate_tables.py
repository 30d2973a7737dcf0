"""What bin/evaluate prints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tfclic.evaluation import report

if TYPE_CHECKING:
    from tfclic.evaluation.curves import Curve
    from tfclic.evaluation.evaluate import Verification

_ROW = "{:<24} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9}"


def print_curves(measured: Iterable[Curve]) -> None:
    """Prints the averages of measured curves, a line per setting."""
    header = "codec", "setting", "bpp", "PSNR", "MS-SSIM", "FLIP", "encode s", "decode s"
    print(_ROW.format(*header))
    for curve in measured:
        results = curve["results"]
        columns = [results[name] for name in ("bpp", "psnr-rgb", "ms-ssim-rgb", "flip")]
        columns += [results[name] for name in ("encoding_time", "decoding_time")]
        for setting, *values in zip(results["quality"], *columns):
            cells = [
                "-" if value is None else f"{value:.{digits}f}"
                for value, digits in zip(values, (4, 3, 4, 4, 3, 3))
            ]
            print(_ROW.format(curve["title"], f"{setting:g}", *cells))


def print_differences(tables: Iterable[report.Table]) -> None:
    """Prints what `report.differences` makes."""
    for table in tables:
        print(f"\nBD-rate and BD-PSNR against {table['anchor']}, BD-rate and BD-MS-SSIM:")
        for row in table["rows"]:
            words = (report.in_words(found) for found in row["metrics"].values())
            print("{:<32} {:<42} {}".format(row["title"], *words).rstrip())


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
