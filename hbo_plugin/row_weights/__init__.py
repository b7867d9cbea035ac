"""Row weights: how much each row counts in its step, beside any method. It acts on gradients; the drawn rows and the logged loss stay."""
