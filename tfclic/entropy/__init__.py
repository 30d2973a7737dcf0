"""Entropy models, their integer forms, and the coders that run them."""
