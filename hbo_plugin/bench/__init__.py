"""The benchmark: the sampler against named peers, measured in one run."""
