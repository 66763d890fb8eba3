"""Compare training of the reference model with every baseline."""
