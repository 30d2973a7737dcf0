"""Training: data, objectives, the step, the loop and its checkpoints."""
