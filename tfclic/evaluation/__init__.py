"""Measures of rate and quality, and curves of them."""
