"""Exported models behind TensorFlow Serving's interfaces, from Python."""
