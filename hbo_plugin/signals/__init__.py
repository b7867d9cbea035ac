"""Signals: the model's state as numbers per dataset and per cell. The only folder that runs the model."""

from hbo_plugin.signals.passes import answer_loss, by_length, pad
from hbo_plugin.signals.probes import BY_GRADIENT, ON_HELD_OUT, Probes
from hbo_plugin.signals.reuse import REUSABLE, Reuse

__all__ = ["BY_GRADIENT", "ON_HELD_OUT", "REUSABLE", "Probes", "Reuse", "answer_loss", "by_length", "pad"]
