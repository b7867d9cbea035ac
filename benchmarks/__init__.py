"""Evidence about this repository: what hbo costs a training run, and what it brings."""
