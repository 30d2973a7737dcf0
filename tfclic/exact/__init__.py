"""Arithmetic that gives the same on every machine: integers in floating point."""
