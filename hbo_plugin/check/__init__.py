"""The check: what a run will do, said before it trains and without the model's weights."""
