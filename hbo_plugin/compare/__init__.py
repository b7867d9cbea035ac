"""Compare: the user's own run made several ways, with paired seeds, and what can be concluded from it."""
