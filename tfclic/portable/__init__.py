"""Training elsewhere: a run goes out as a folder, trains with jax alone, and comes back."""
