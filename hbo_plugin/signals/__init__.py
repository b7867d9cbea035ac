"""Signals: the model's state as numbers per dataset and per cell. The only folder that runs the model."""
