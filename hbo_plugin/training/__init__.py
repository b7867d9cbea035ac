"""One training run: the step, the weights in force, the samplers and the checkpoint."""
