"""What is written and read again: files, their tiles, and how exported models are called.

Whoever makes a file or a model, and whoever reads it, has it from here. Nothing here needs more
than numpy.
"""
