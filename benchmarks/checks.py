"""What it takes to see that a model may be loaded: its graph is read, its files are hashed.

    python benchmarks/checks.py [MODEL ...]

The median of nine, in seconds of the processor, after one that is not counted.
"""

import argparse
import statistics
import time

from tfclic.format import graphs, model
from tfclic.runtime import catalog, checksums


def seconds(work):
    """The median of what a function takes."""
    found = []
    for _ in range(10):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return statistics.median(found[1:])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", metavar="MODEL", nargs="*", default=["gmm_attention_small"])
    models = parser.parse_args().models
    print("| model | graph (MB) | its check (s) | all files (MB) | their checksums (s) |")
    print("|---|---|---|---|---|")
    for name in models:
        found = catalog.find(name)
        graph = (found.path / model.GRAPH).read_bytes()
        size = sum((found.path / file).stat().st_size for file in checksums.of_files(found.path))
        of_graph = seconds(lambda: graphs.check(graph))  # noqa: B023
        of_files = seconds(lambda: checksums.of_files(found.path))  # noqa: B023
        cells = f"{len(graph) / 1e6:.1f} | {of_graph:.3f} | {size / 1e6:.1f} | {of_files:.3f}"
        print(f"| `{found.name}` | {cells} |")


if __name__ == "__main__":
    main()
