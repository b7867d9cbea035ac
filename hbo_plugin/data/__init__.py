"""Data: the entries of `datasets:` as one training set laid out in cells."""
