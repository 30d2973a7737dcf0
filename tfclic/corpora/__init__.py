"""Whole corpora of images, compressed and decompressed on Apache Beam or Dask."""
