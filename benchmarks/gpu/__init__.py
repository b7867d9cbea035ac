"""Whether hbo works on one NVIDIA card, and what it costs there; `make gpu` runs it."""
