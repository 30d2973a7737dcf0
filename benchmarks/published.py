"""BD-rates of the published curves on Kodak against VTM and BPG, by PSNR.

    python benchmarks/published.py

Negative is fewer bits at equal PSNR, over the PSNR that both curves reach. Curves of models that
were not trained for mean squared error are left out.
"""

import argparse
import sys

from tfclic.evaluation import curves

ANCHORS = {"VTM": "vtm", "BPG": "bpg_444_x265_ycbcr"}


def rows():
    """Titles of the curves, each with its BD-rates against the anchors, percent, in order."""
    anchors = [curves.read(name) for name in ANCHORS.values()]
    found = []
    for name in curves.stored():
        curve = curves.read(name)
        if curves.has(curve, "psnr") and curve["meta"].get("opt_metric", "mse") == "mse":
            rates = [curves.difference(anchor, curve).rate for anchor in anchors]
            found.append((curve["title"], rates))
    return sorted(found, key=lambda row: row[1])


def main():
    print("| curve | " + " | ".join(f"against {name}" for name in ANCHORS) + " |")
    print("|---" * (1 + len(ANCHORS)) + "|")
    for title, rates in rows():
        print(f"| {title} | " + " | ".join(f"{rate:+.1f} %" for rate in rates) + " |")
    return 0


if __name__ == "__main__":
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    sys.exit(main())
